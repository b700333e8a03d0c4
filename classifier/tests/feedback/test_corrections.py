"""People correct, reviewers decide, consent is kept, and nothing that must not train does."""

import io
from typing import Any

import numpy as np
from django.core.files.storage import default_storage
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from cifarsite.test import SiteTestCase, answer
from classifier.feedback import corrections, training_photos
from classifier.feedback.corrections import accept, correct, reopen, set_consent
from classifier.models import Correction, Example, Photo, User
from classifier.operations.sweeper import sweep
from training.data import dataset_versions, withdrawals
from training.engine.data import near_duplicates
from training.engine.data.preprocessing import hash_pixels
from training.jobs import lifecycle
from training.models import DatasetVersion, ModelVersion, Schedule, TrainingJob

State = Correction.State


class CorrectionTestCase(SiteTestCase):
    def answered(self, label: str = "cat", owner: User | None = None, **fields: object) -> Photo:
        colour = fields.pop("colour", "steelblue")
        photo = self.upload(owner, colour=str(colour))
        answer(photo, label, **fields)  # type: ignore[arg-type]
        return photo

    def model(self) -> ModelVersion:
        """A model on plain CIFAR-10, so that the site knows which one it has."""
        base = DatasetVersion.objects.create(
            name="CIFAR-10", sha256="c" * 64, manifest={"cifar10": "c" * 64, "added": []}
        )
        return ModelVersion.objects.create(
            name="plain",
            recipe="fast_cnn",
            sha256="a" * 64,
            size=1,
            preprocessing="squash32-v1",
            dataset=base,
            card={},
        )


class Correcting(CorrectionTestCase):
    def test_a_later_answer_replaces_the_former(self) -> None:
        photo = self.answered("cat")
        correct(photo, self.alice, "dog")
        correction = correct(photo, self.alice, "unknown")
        self.assertEqual(Correction.objects.get(), correction)
        self.assertEqual((correction.label, correction.predicted), ("unknown", "cat"))

    def test_right_is_the_models_own_verdict(self) -> None:
        photo = self.answered("cat", verdict="unknown")
        self.assertEqual(photo.prediction.outcome, "unknown")
        self.assertTrue(correct(photo, self.alice, "unknown").agrees)

    def test_other_answers_are_refused_with_the_list(self) -> None:
        with self.assertRaisesMessage(corrections.UnknownLabel, "airplane"):
            correct(self.answered(), self.alice, "lion")

    def test_the_same_answer_again_keeps_the_review(self) -> None:
        set_consent(self.alice, True)
        photo = self.answered()
        correct(photo, self.alice, "dog")
        accept(photo, "dog", by=self.charlie)
        self.assertEqual(correct(photo, self.alice, "dog").state, State.ACCEPTED)
        self.assertEqual(correct(photo, self.alice, "bird").state, State.PROPOSED)


class Reviewing(CorrectionTestCase):
    def setUp(self) -> None:
        set_consent(self.alice, True)

    def test_only_photos_with_consent_come_to_review(self) -> None:
        mine, other = self.answered(), self.answered(owner=self.bob)
        correct(mine, self.alice, "dog")
        correct(other, self.bob, "dog")
        self.assertEqual([c.photo for c in corrections.waiting()], [mine])
        Photo.objects.filter(pk=mine.pk).update(deleted_at=timezone.now())
        self.assertFalse(corrections.waiting().exists())

    def test_the_most_valuable_comes_first(self) -> None:
        sure_and_right = self.answered("cat", confidence=0.99)
        unsure_and_right = self.answered("cat", confidence=0.3)
        wrong = self.answered("cat", confidence=0.9)
        for photo, label in (
            (sure_and_right, "cat"),
            (unsure_and_right, "cat"),
            (wrong, "dog"),
        ):
            correct(photo, self.alice, label)
        photos = [c.photo for c in corrections.waiting()]
        self.assertEqual(photos, [wrong, unsure_and_right, sure_and_right])

    def test_a_rare_class_comes_before_a_frequent_one(self) -> None:
        for _n in range(2):
            accept(self.answered("dog"), "dog", by=self.charlie)
        frequent, rare = self.answered("cat"), self.answered("cat")
        correct(frequent, self.alice, "dog")
        correct(rare, self.alice, "frog")
        self.assertEqual([c.photo for c in corrections.waiting()], [rare, frequent])

    def test_accepting_decides_the_answer_and_keeps_the_pixels(self) -> None:
        photo, other = self.answered("cat"), self.answered("cat")
        correct(photo, self.alice, "dog")
        correct(other, self.alice, "bird")
        example = accept(photo, "dog", by=self.charlie)
        accept(other, "frog", by=self.charlie)
        states = dict(Correction.objects.values_list("label", "state"))
        self.assertEqual(states, {"dog": State.ACCEPTED, "bird": State.REJECTED})
        with example.image.open("rb") as file, Image.open(file) as image:
            self.assertEqual((image.size, hash_pixels(image.convert("RGB"))), ((32, 32), example.sha256))

    def test_a_review_can_be_undone(self) -> None:
        photo = self.answered("cat")
        correct(photo, self.alice, "dog")
        name = accept(photo, "dog", by=self.charlie).image.name
        with self.captureOnCommitCallbacks(execute=True):
            reopen(photo)
        self.assertEqual(Correction.objects.get().state, State.PROPOSED)
        self.assertFalse(Example.objects.exists())
        self.assertFalse(default_storage.exists(str(name)))

    def test_not_sure_cannot_be_accepted(self) -> None:
        with self.assertRaises(corrections.UnknownLabel):
            accept(self.answered(), "not_sure", by=self.charlie)


class KeepingTestImagesOut(CorrectionTestCase):
    def picture(self, seed: int) -> Image.Image:
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)

    def test_an_enlarged_compressed_copy_is_found(self) -> None:
        pictures = [self.picture(seed) for seed in range(40)]
        hashes = near_duplicates.hash_images(np.stack([np.asarray(p) for p in pictures]))
        for number in (0, 17, 39):
            buffer = io.BytesIO()
            pictures[number].resize((400, 300)).save(buffer, "JPEG", quality=70)
            self.assertEqual(
                near_duplicates.find_near_duplicate(Image.open(buffer).convert("RGB"), hashes), number
            )
        self.assertIsNone(near_duplicates.find_near_duplicate(self.picture(99), hashes))

    def test_the_shipped_hashes_are_of_ten_thousand_images(self) -> None:
        self.assertEqual(near_duplicates.test_hashes().shape, (10_000,))

    def test_a_twin_of_a_test_image_is_never_frozen(self) -> None:
        set_consent(self.alice, True)
        self.model()
        near_duplicate_of, usable = self.answered("cat"), self.answered("cat", colour="tomato")
        for photo in (near_duplicate_of, usable):
            accept(photo, "dog", by=self.charlie)
        Example.objects.filter(photo=near_duplicate_of).update(near_duplicate_of=17)
        Example.objects.filter(photo=usable).update(sha256="f" * 64)
        version = training_photos.freeze(self.charlie, "first")
        self.assertEqual([row["source"] for row in version.manifest["added"]], [str(usable.pk)])


class Freezing(CorrectionTestCase):
    def setUp(self) -> None:
        set_consent(self.alice, True)
        self.model()

    def accepted(self, label: str = "dog", colour: str = "tomato") -> Photo:
        photo = self.answered("cat", colour=colour)
        correct(photo, self.alice, label)
        accept(photo, label, by=self.charlie)
        return photo

    def test_a_version_says_what_is_in_it_and_who_made_it(self) -> None:
        photo = self.accepted()
        version = training_photos.freeze(self.charlie, "first")
        (row,) = version.manifest["added"]
        self.assertEqual((row["source"], row["label"]), (str(photo.pk), "dog"))
        self.assertEqual((version.created_by, version.manifest["cifar10"]), (self.charlie, "c" * 64))
        self.assertEqual(sum(version.manifest["counts"][row["part"]].values()), 1)

    def test_the_same_content_is_the_same_version(self) -> None:
        self.accepted()
        first = training_photos.freeze(self.charlie, "first")
        self.assertEqual(training_photos.freeze(self.charlie, "second"), first)

    def test_there_must_be_something_to_freeze(self) -> None:
        with self.assertRaises(dataset_versions.NothingToFreeze):
            training_photos.freeze(self.charlie, "first")

    def test_none_of_the_ten_does_not_train(self) -> None:
        self.accepted("unknown")
        self.assertFalse(training_photos.trainable().exists())

    def test_a_withdrawn_photo_marks_old_versions_and_is_in_no_new_one(self) -> None:
        photo = self.accepted()
        version = training_photos.freeze(self.charlie, "first")
        set_consent(self.alice, False)
        self.assertIsNotNone(version.images.get(source=photo.pk).withdrawn_at)
        with self.assertRaises(dataset_versions.NothingToFreeze):
            training_photos.freeze(self.charlie, "second")

    def test_a_photos_page_lists_the_models_trained_on_it(self) -> None:
        photo = self.accepted()
        version = training_photos.freeze(self.charlie, "first")
        model = ModelVersion.objects.create(
            name="better",
            recipe="fast_cnn",
            sha256="b" * 64,
            size=1,
            preprocessing="x",
            dataset=version,
            card={},
        )
        self.assertEqual(list(withdrawals.models_trained_on(photo.pk)), [model])
        self.client.force_login(self.alice)
        self.assertContains(self.client.get(photo.get_absolute_url()), "better")

    def test_the_schedule_counts_what_was_accepted_and_trains_on_it(self) -> None:
        job = lifecycle.request_training(recipe="seed_cnn", parameters={}, by=None)
        TrainingJob.objects.update(state="succeeded")
        Schedule.objects.create(pk=1, enabled=True, every_days=0, after_corrections=2, recipe="seed_cnn")
        self.accepted()
        self.assertEqual(sweep()["jobs_scheduled"], 0)
        self.accepted(colour="gold")
        self.assertEqual(sweep()["jobs_scheduled"], 1)
        # No model was trained here yet: the first run is on plain CIFAR-10.
        first = TrainingJob.objects.get(dataset=None, pk__gt=job.pk)
        TrainingJob.objects.update(state="succeeded")
        ModelVersion.objects.update(job=first)
        self.assertEqual(sweep()["jobs_scheduled"], 0)
        for colour in ("orchid", "navy"):
            self.accepted(colour=colour)
        self.assertEqual(sweep()["jobs_scheduled"], 1)
        second = TrainingJob.objects.latest("pk")
        assert second.dataset is not None
        self.assertEqual(len(second.dataset.manifest["added"]), 4)


class CorrectionPages(CorrectionTestCase):
    def setUp(self) -> None:
        self.client.force_login(self.alice)

    def say(self, photo: Photo, label: str, **fields: str) -> Any:
        return self.client.post(
            reverse("classifier:photo-correct", args=[photo.pk]), {"label": label, **fields}
        )

    def test_one_click_on_the_result_page_corrects(self) -> None:
        photo = self.answered("cat")
        self.assertContains(self.client.get(photo.get_absolute_url()), 'data-key="r"')
        self.assertRedirects(self.say(photo, "dog"), photo.get_absolute_url())
        self.assertEqual(Correction.objects.get().label, "dog")
        self.assertContains(self.client.get(photo.get_absolute_url()), "Your correction")

    def test_the_same_button_again_takes_it_back(self) -> None:
        photo = self.answered("cat")
        self.say(photo, "dog", toggle="1")
        self.say(photo, "dog", toggle="1")
        self.assertFalse(Correction.objects.exists())

    def test_history_and_batches_have_a_button_for_each_photo(self) -> None:
        photo = self.answered("cat")
        self.assertContains(
            self.client.get("/history/"), reverse("classifier:photo-correct", args=[photo.pk])
        )

    def test_a_script_gets_json(self) -> None:
        photo = self.answered("cat")
        url = reverse("classifier:photo-correct", args=[photo.pk])
        response = self.client.post(url, {"label": "dog"}, headers={"accept": "application/json"})
        self.assertEqual(response.json(), {"label": "dog", "ask_consent": True})

    def test_a_wrong_label_gets_400(self) -> None:
        self.assertEqual(self.say(self.answered(), "lion").status_code, 400)

    def test_photos_of_others_are_404(self) -> None:
        photo = self.answered()
        self.client.force_login(self.bob)
        self.assertEqual(self.say(photo, "dog").status_code, 404)
        self.client.logout()
        self.assertEqual(self.say(photo, "dog").status_code, 302)

    def test_consent_is_asked_once_and_can_be_taken_back(self) -> None:
        photo = self.answered()
        page = self.client.get(photo.get_absolute_url())
        self.assertNotContains(page, "May the site use the photos")
        self.say(photo, "dog")
        self.assertContains(self.client.get(photo.get_absolute_url()), "May the site use the photos")
        self.client.post(reverse("classifier:consent"), {"given": "yes"})
        self.assertNotContains(self.client.get(photo.get_absolute_url()), "May the site use the photos")
        self.assertIs(corrections.consent(self.alice), True)
        self.client.post(reverse("classifier:consent"), {"given": "no"})
        self.assertIs(corrections.consent(self.alice), False)

    def test_the_history_asks_for_consent_after_the_first_answer(self) -> None:
        photo = self.answered()
        self.assertContains(self.client.get("/history/"), "<div data-ask-consent hidden>")
        correct(photo, self.alice, "dog")
        self.assertContains(self.client.get("/history/"), "<div data-ask-consent >")
        set_consent(self.alice, False)
        self.assertNotContains(self.client.get("/history/"), "data-ask-consent")

    def test_review_is_for_staff(self) -> None:
        photo = self.answered()
        correct(photo, self.alice, "dog")
        urls = [reverse("classifier:review"), reverse("classifier:datasets")]
        for url in urls:
            self.assertEqual(self.client.get(url).status_code, 403)
        for url in (*urls[1:], reverse("classifier:review-photo", args=[photo.pk])):
            self.assertEqual(self.client.post(url, {"label": "dog", "name": "x"}).status_code, 403)
        self.assertFalse(Example.objects.exists() or DatasetVersion.objects.exists())
        self.client.logout()
        self.assertEqual(self.client.get(urls[0]).status_code, 302)

    def test_a_reviewer_decides_photo_by_photo(self) -> None:
        set_consent(self.alice, True)
        first, second = self.answered(confidence=0.4), self.answered(confidence=0.8)
        for photo in (first, second):
            correct(photo, self.alice, "dog")
        self.client.force_login(self.charlie)
        review = reverse("classifier:review")
        self.assertContains(self.client.get(review), str(first.pk))
        self.client.post(reverse("classifier:review-photo", args=[first.pk]), {"act": "skip"})
        self.assertContains(self.client.get(review), str(second.pk))
        self.client.post(reverse("classifier:review-photo", args=[second.pk]), {"label": "dog"})
        self.assertEqual(Example.objects.get().photo, second)
        self.assertContains(self.client.get(review), "Nothing to review")
        self.client.post(reverse("classifier:review-photo", args=[second.pk]), {"act": "undo"})
        self.assertFalse(Example.objects.exists())
        self.client.post(reverse("classifier:review-skipped"))
        self.client.post(reverse("classifier:review-photo", args=[first.pk]), {"act": "reject"})
        self.assertEqual(Correction.objects.get(photo=first).state, State.REJECTED)

    def test_photos_without_consent_cannot_be_reviewed(self) -> None:
        photo = self.answered()
        correct(photo, self.alice, "dog")
        self.client.force_login(self.charlie)
        url = reverse("classifier:review-photo", args=[photo.pk])
        self.assertEqual(self.client.post(url, {"label": "dog"}).status_code, 404)

    def test_staff_freeze_a_version(self) -> None:
        set_consent(self.alice, True)
        self.model()
        photo = self.answered()
        correct(photo, self.alice, "dog")
        accept(photo, "dog", by=self.charlie)
        self.client.force_login(self.charlie)
        url = reverse("classifier:datasets")
        response = self.client.post(url, {"name": "August"}, follow=True)
        self.assertContains(response, "August")
        self.assertEqual(DatasetVersion.objects.get(name="August").created_by, self.charlie)
        self.assertContains(self.client.get(reverse("classifier:review")), "Nothing to review")

    def test_a_tile_costs_no_query(self) -> None:
        counts = []
        for _n in range(2):
            self.answered()
            with CaptureQueriesContext(connection) as queries:
                self.client.get("/history/")
            counts.append(len(queries))
        self.assertEqual(*counts)

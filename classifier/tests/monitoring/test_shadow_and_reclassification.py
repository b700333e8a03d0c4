"""A challenger in a shadow deployment, and the reclassification of everybody's photos: real models."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from classifier.feedback.corrections import correct
from classifier.models import Photo, Prediction, Reclassification, ReclassificationItem, Shadow, ShadowAnswer
from classifier.monitoring import reclassification, shadow_deployment
from classifier.operations.sweeper import sweep
from classifier.predictions import inference, queue
from training.models import ModelVersion
from training.tests.evaluation.report_case import ReportTestCase

COLOURS = ("steelblue", "tomato", "gold", "orchid", "navy")


class SecondLookTestCase(ReportTestCase):
    """``better`` is the champion, ``worse`` a challenger; both are tiny real networks."""

    def setUp(self) -> None:
        super().setUp()
        self.client.force_login(self.charlie)
        self.addCleanup(setattr, shadow_deployment, "_held", None)
        self.addCleanup(setattr, shadow_deployment, "_loader", None)

    def answered(self, count: int = 3) -> list[Photo]:
        photos = [self.upload(colour=colour) for colour in COLOURS[:count]]
        inference.predict_pending("worker")
        return photos

    def make_champion(self, version: ModelVersion) -> None:
        ModelVersion.objects.update(is_champion=False)
        ModelVersion.objects.filter(pk=version.pk).update(is_champion=True)


class ShadowTests(SecondLookTestCase):
    def sweep(self) -> None:
        """What the sweeper and a worker do, some seconds later."""
        past = timezone.now() - timedelta(minutes=1)
        Prediction.objects.update(created_at=past)
        shadow_deployment.feed()
        shadow_deployment.work("worker")
        if shadow_deployment._loader:
            shadow_deployment._loader.join()
            shadow_deployment.work("worker")

    def test_it_is_asked_about_new_photos_alone_and_answers_nobody(self) -> None:
        self.answered(1)
        shadow = shadow_deployment.start(self.worse, by=self.charlie)
        photos = self.answered(4)
        before = list(Prediction.objects.order_by("pk").values("pk", "model", "label", "probabilities"))
        self.sweep()
        rows = list(shadow.answers.select_related("prediction"))
        self.assertEqual({row.prediction.photo_id for row in rows}, {photo.pk for photo in photos})
        self.assertTrue(all(row.status == "done" and row.said and row.confidence for row in rows))
        for row in rows:
            self.assertEqual(row.live, row.prediction.outcome)
            self.assertIs(row.agrees, row.said == row.live)
        after = list(Prediction.objects.order_by("pk").values("pk", "model", "label", "probabilities"))
        self.assertEqual(after, before)

    def test_nothing_is_done_while_a_photo_waits_for_its_answer(self) -> None:
        shadow = shadow_deployment.start(self.worse, by=self.charlie)
        self.answered(2)
        self.sweep()
        self.assertEqual(shadow.answers.filter(status="done").count(), 2)
        for colour in ("black", "white"):
            self.upload(colour=colour)
        inference.predict_pending("worker")
        Prediction.objects.update(created_at=timezone.now() - timedelta(minutes=1))
        self.upload(colour="green")
        shadow_deployment.feed()
        self.assertEqual(shadow_deployment.work("worker"), 0)
        inference.predict_pending("worker")
        self.assertEqual(shadow_deployment.work("worker"), 2)

    def test_the_challenger_is_loaded_beside_the_work_not_before_it(self) -> None:
        shadow_deployment.start(self.worse, by=self.charlie)
        self.answered(1)
        Prediction.objects.update(created_at=timezone.now() - timedelta(minutes=1))
        shadow_deployment.feed()
        self.assertEqual(shadow_deployment.work("worker"), 0)
        assert shadow_deployment._loader is not None
        shadow_deployment._loader.join()
        self.assertEqual(shadow_deployment.work("worker"), 1)

    def test_one_at_a_time_and_never_the_champion(self) -> None:
        with self.assertRaisesMessage(shadow_deployment.ShadowRefused, "is already the champion"):
            shadow_deployment.start(self.better, by=self.charlie)
        shadow_deployment.start(self.worse, by=self.charlie)
        with self.assertRaisesMessage(
            shadow_deployment.ShadowRefused, "tiny-worse already runs as a shadow deployment"
        ):
            shadow_deployment.start(self.worse, by=self.charlie)

    def test_it_ends_by_itself_when_it_has_seen_enough_or_was_promoted(self) -> None:
        shadow_deployment.start(self.worse, by=self.charlie)
        self.answered(2)
        self.sweep()
        with mock.patch.object(shadow_deployment, "MOST", 2):
            shadow_deployment.feed()
        self.assertIsNone(shadow_deployment.running())
        shadow_deployment.start(self.worse, by=self.charlie)
        self.make_champion(self.worse)
        sweep()
        self.assertIsNone(shadow_deployment.running())

    def test_a_late_owner_changes_nothing(self) -> None:
        shadow = shadow_deployment.start(self.worse, by=self.charlie)
        self.answered(1)
        self.sweep()
        row = shadow.answers.get()
        before = row.said
        late = shadow.answers.get()
        ShadowAnswer.objects.update(status="running", claim="6d7a2e0c-8f0b-4f3c-9d1c-0f1f6a9f0c11")
        assert shadow_deployment._held is not None
        shadow_deployment._answer([late], self.worse, shadow_deployment._held[1])
        row.refresh_from_db()
        self.assertEqual((row.status, row.said), ("running", before))

    def test_the_page_shows_agreement_and_what_people_say_where_they_differ(self) -> None:
        url = f"/models/{self.worse.pk}/shadow/"
        self.assertContains(self.client.get(url), "Start a shadow deployment")
        self.assertRedirects(self.client.post(f"{url}start/"), url)
        photos = self.answered(4)
        self.sweep()
        shadow = Shadow.objects.get()
        rows = list(shadow.answers.all())
        # Made up, so that there is something to see whatever the tiny networks say.
        for row, said in zip(rows, ("cat", "dog", "unknown", "frog"), strict=True):
            live = "cat" if said != "frog" else "frog"
            ShadowAnswer.objects.filter(pk=row.pk).update(live=live, said=said, agrees=live == said)
        disputed = shadow.answers.get(said="dog").prediction.photo
        correct(disputed, self.alice, "dog")
        page = self.client.get(url)
        self.assertContains(page, "2 of 4 live photos")
        self.assertContains(page, "1 × this model is right, 0 × the champion, 0 × neither")
        self.assertContains(page, "none of the ten")
        # Photos that staff may not see are closed.
        self.assertNotContains(page, f"/photos/{photos[0].pk}/thumbnail/")
        self.assertContains(page, "open it, giving a reason")
        self.client.post(f"{url}end/")
        self.assertContains(self.client.get(url), "ended")

    def test_the_page_costs_as_many_queries_for_many_rows_as_for_few(self) -> None:
        shadow = shadow_deployment.start(self.worse, by=self.charlie)
        self.answered(2)
        self.sweep()
        ShadowAnswer.objects.update(live="cat", said="dog", agrees=False)
        url = f"/models/{self.worse.pk}/shadow/"
        with CaptureQueriesContext(connection) as few:
            self.client.get(url)
        for photo in self.answered(5):
            ShadowAnswer.objects.create(
                shadow=shadow, prediction=photo.prediction, status="done", live="cat", said="dog",
                agrees=False, confidence=0.5,
            )  # fmt: skip
        with CaptureQueriesContext(connection) as many:
            self.client.get(url)
        self.assertEqual(len(many), len(few))


class ReclassificationTests(SecondLookTestCase):
    def finish(self) -> None:
        for _ in range(4):
            reclassification.feed()
            inference.predict_pending("worker")

    def test_everybodys_photos_are_asked_about_and_keep_both_answers(self) -> None:
        photos = self.answered(3)
        old = {photo.pk: photo.prediction for photo in photos}
        self.make_champion(self.worse)
        run = reclassification.start(by=self.charlie)
        self.finish()
        run.refresh_from_db()
        self.assertEqual(run.state, "done")
        for photo in photos:
            now = photo.prediction
            self.assertEqual(now.model, self.worse)
            self.assertEqual(photo.predictions.count(), 2)
            before = photo.predictions.get(pk=old[photo.pk].pk)
            self.assertEqual((before.label, before.is_current), (old[photo.pk].label, False))
            item = now.reclassification_item
            self.assertEqual((item.before, item.after), (before.outcome, now.outcome))
            self.assertIs(item.changed, before.outcome != now.outcome)
        found = reclassification.summary(run)
        self.assertEqual((found["asked"], found["answered"], found["to_come"]), (3, 3, 0))
        self.assertEqual(found["changed"], sum(pair["n"] for pair in found["pairs"]))

    def test_a_photo_keeps_its_answer_until_the_new_one_is_there(self) -> None:
        (photo,) = self.answered(1)
        old = photo.prediction
        self.make_champion(self.worse)
        reclassification.start(by=self.charlie)
        self.assertEqual(photo.prediction, old)
        self.assertEqual(photo.predictions.filter(status="queued", priority=1).count(), 1)

    def test_what_its_owner_asked_in_between_stays_the_present_answer(self) -> None:
        (photo,) = self.answered(1)
        self.make_champion(self.worse)
        reclassification.start(by=self.charlie)
        asked = queue.ask_again(photo)
        self.finish()
        self.assertEqual(photo.prediction, asked)
        self.assertEqual(photo.predictions.filter(status="done").count(), 3)

    def test_what_its_owner_says_stays(self) -> None:
        (photo,) = self.answered(1)
        correct(photo, self.alice, "dog")
        says = photo.prediction.user_feedback
        self.assertTrue(says)
        self.make_champion(self.worse)
        reclassification.start(by=self.charlie)
        self.finish()
        self.assertEqual(photo.prediction.user_feedback, says)

    def test_uploads_come_first(self) -> None:
        self.answered(3)
        self.make_champion(self.worse)
        reclassification.start(by=self.charlie)
        new = self.upload(colour="green").prediction
        first = queue.claimable().order_by("priority", "id").first()
        self.assertEqual(first, new)

    def test_rows_are_made_in_bounded_pieces(self) -> None:
        self.answered(5)
        self.make_champion(self.worse)
        with (
            mock.patch.object(reclassification, "ROWS_A_PASS", 2),
            mock.patch.object(reclassification, "OPEN_ROWS", 4),
        ):
            run = reclassification.start(by=self.charlie)
            self.assertEqual(ReclassificationItem.objects.count(), 2)
            reclassification.feed()
            self.assertEqual(ReclassificationItem.objects.count(), 2)
            for _ in range(3):
                inference.predict_pending("worker")
                reclassification.feed()
        inference.predict_pending("worker")
        self.finish()
        self.assertEqual(reclassification.summary(run)["answered"], 5)

    def test_cancelling_leaves_what_was_answered(self) -> None:
        photos = self.answered(3)
        self.make_champion(self.worse)
        run = reclassification.start(by=self.charlie)
        self.assertTrue(reclassification.cancel(run))
        self.assertFalse(reclassification.cancel(run))
        self.finish()
        self.assertEqual({photo.prediction.model for photo in photos}, {self.better})
        self.assertFalse(Prediction.objects.filter(status="queued").exists())

    def test_one_at_a_time_and_only_where_there_is_something_to_do(self) -> None:
        with self.assertRaisesMessage(
            reclassification.ReclassificationRefused, "tiny-better has already classified every photo"
        ):
            reclassification.start(by=self.charlie)
        self.answered(1)
        self.make_champion(self.worse)
        reclassification.start(by=self.charlie)
        with self.assertRaisesMessage(reclassification.ReclassificationRefused, "already"):
            reclassification.start(by=self.charlie)
        self.assertEqual(Reclassification.objects.count(), 1)

    def test_staff_start_one_and_read_what_changed(self) -> None:
        self.answered(2)
        self.make_champion(self.worse)
        page = self.client.get("/reclassifications/")
        self.assertContains(page, "has not classified 2 photos")
        answer = self.client.post("/reclassifications/")
        run = Reclassification.objects.get()
        self.assertRedirects(answer, f"/reclassifications/{run.pk}/")
        self.assertContains(self.client.get(f"/reclassifications/{run.pk}/"), 'hx-trigger="every 3s"')
        self.finish()
        ReclassificationItem.objects.update(before="cat", after="unknown", changed=True)
        page = self.client.get(f"/reclassifications/{run.pk}/")
        self.assertContains(page, "2 of 2 predictions changed (100.0&nbsp;%).")
        self.assertNotContains(page, "hx-trigger")
        self.assertContains(page, "none of the ten")

    def test_the_owner_sees_the_difference_on_the_photos_page(self) -> None:
        (photo,) = self.answered(1)
        self.make_champion(self.worse)
        reclassification.start(by=self.charlie)
        self.finish()
        self.client.force_login(self.alice)
        self.assertContains(self.client.get(photo.get_absolute_url()), "Earlier predictions")

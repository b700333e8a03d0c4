from datetime import timedelta
from typing import Any

from django.core.files.storage import default_storage
from django.utils import timezone

from cifarsite.test import SiteTestCase, answer
from classifier.models import Photo, Prediction
from training.models import ModelVersion, Worker

FILES = ("image", "thumbnail", "input")


class PhotoPageTests(SiteTestCase):
    def setUp(self) -> None:
        self.client.force_login(self.alice)
        self.photo = self.upload(name="tom.jpg")
        self.url = self.photo.get_absolute_url()

    def live_worker(self) -> None:
        now = timezone.now()
        Worker.objects.create(name="predict@here", queues=["predict"], started_at=now, seen_at=now)
        ModelVersion.objects.create(
            name="net",
            recipe="fast_cnn",
            sha256="a" * 64,
            size=1,
            preprocessing="squash32-v1",
            card={},
            is_champion=True,
        )

    def test_it_shows_the_answer_and_all_ten_probabilities(self) -> None:
        answer(self.photo, "cat", 0.91)
        response = self.client.get(self.url)
        self.assertContains(response, "Cat")
        self.assertContains(response, '<th scope="row">', 10)
        self.assertContains(response, "91.0&nbsp;%", 2)
        self.assertNotContains(response, "hx-get")

    def test_bars_keep_their_point_in_every_language(self) -> None:
        answer(self.photo, "cat", 0.915)
        response = self.client.get(self.url, headers={"Accept-Language": "vi"})
        self.assertContains(response, 'width="91.50"')
        self.assertContains(response, "91,5&nbsp;%")

    def test_it_says_that_no_worker_lives(self) -> None:
        self.assertContains(self.client.get(self.url), "Waiting for a worker")

    def test_it_says_since_when_no_worker_was_seen(self) -> None:
        self.live_worker()
        Worker.objects.update(seen_at=timezone.now() - timedelta(hours=2))
        self.assertContains(self.client.get(self.url), "No worker has been seen since")

    def test_it_says_that_the_model_is_at_it(self) -> None:
        self.live_worker()
        response = self.client.get(self.url)
        self.assertContains(response, "Classifying your photo")
        self.assertContains(response, "every 2s")
        self.assertRegex(response.content.decode(), r'<noscript>\s*<meta http-equiv="refresh"')

    def test_a_failed_one_says_why_and_what_to_do(self) -> None:
        self.photo.predictions.update(status="failed", error_detail="The stored photo cannot be read.")
        response = self.client.get(self.url)
        self.assertContains(response, "The stored photo cannot be read.")
        self.assertContains(response, "Upload another photo")

    def test_verdicts_are_said_in_words(self) -> None:
        for verdict, words in (
            ("unsure", "Unsure: more than one thing is likely"),
            ("unknown", "Probably none of the ten"),
            ("", "The model's prediction"),
        ):
            answer(self.photo, verdict=verdict)
            self.assertContains(self.client.get(self.url), words)

    def test_neighbours_are_linked_both_ways(self) -> None:
        other = self.upload(name="newer.jpg")
        for here, rel, there in (
            (self.url, "prev", other.get_absolute_url()),
            (other.get_absolute_url(), "next", self.url),
        ):
            page = self.client.get(here).content.decode()
            self.assertRegex(page, rf'rel="{rel}"\s+href="{there}"')

    def test_it_shows_what_an_answer_was_made_with(self) -> None:
        row = answer(self.photo)
        row.provenance = {"temperature": 0.7, "score_threshold": 3.25, "labels": ["cat", "dog"]}
        row.crop = [0.25, 0.1, 0.5, 0.4]
        row.save()
        page = self.client.get(self.url)
        for text in (
            row.input_sha256,
            row.preprocessing,
            "0.7000",
            "3.2500",
            "cat, dog",
            "50.0 × 40.0\u00a0% of the photo",
        ):
            self.assertContains(page, text)

    def test_it_says_that_a_photo_is_dark_or_blurred(self) -> None:
        answer(self.photo)
        self.assertNotContains(self.client.get(self.url), "photo-hint")
        Photo.objects.update(brightness=0.05, sharpness=0.2)
        page = self.client.get(self.url)
        self.assertContains(page, "The photo is dark.")
        self.assertContains(page, "The photo looks blurred.")

    def test_it_suggests_to_point_at_the_object_where_none_was_recognised(self) -> None:
        words = "select it and classify that part"
        answer(self.photo)
        self.assertNotContains(self.client.get(self.url), words)
        for verdict in ("unsure", "unknown"):
            answer(self.photo, verdict=verdict)
            self.assertContains(self.client.get(self.url), words)
        self.photo.predictions.update(crop=[0.1, 0.1, 0.5, 0.5])
        self.assertNotContains(self.client.get(self.url), words)

    def test_the_number_of_queries_is_bounded(self) -> None:
        answer(self.photo)
        with self.assertNumQueries(15):
            self.client.get(self.url)


class StatusTests(SiteTestCase):
    def setUp(self) -> None:
        self.client.force_login(self.alice)
        self.photo = self.upload()
        self.url = f"/photos/{self.photo.pk}/status/"

    def test_it_goes_on_while_the_answer_is_not_there(self) -> None:
        response = self.client.get(self.url)
        self.assertContains(response, "Waiting for a worker")
        self.assertNotContains(response, "<html")

    def test_nothing_is_sent_again_while_nothing_changed(self) -> None:
        self.assertEqual(self.client.get(self.url, {"state": "queued-alone"}).status_code, 204)

    def test_286_ends_it_and_announces_the_answer(self) -> None:
        answer(self.photo, "dog", 0.8)
        response = self.client.get(self.url, {"state": "queued-alone"})
        self.assertContains(response, "Prediction: dog, 80 percent", status_code=286)
        self.assertContains(response, 'hx-swap-oob="innerHTML:#announce"', status_code=286)

    def test_a_failure_ends_it_too(self) -> None:
        self.photo.predictions.update(status="failed", error_detail="Lost.")
        self.assertContains(self.client.get(self.url), "Lost.", status_code=286)

    def test_the_short_form_names_the_three_likeliest(self) -> None:
        answer(self.photo, "dog", 0.8)
        self.assertContains(self.client.get(self.url, {"short": 1}), '<th scope="row">', 3, status_code=286)


class PrivateFilesTests(SiteTestCase):
    def setUp(self) -> None:
        self.photo = self.upload(name='a "b"; c.jpg')

    def test_the_owner_gets_the_files_privately(self) -> None:
        self.client.force_login(self.alice)
        for kind in FILES:
            response = self.client.get(f"/photos/{self.photo.pk}/{kind}/")
            self.assertEqual(response.status_code, 200)
            self.assertIn(response["Content-Type"], ("image/jpeg", "image/png"))
            self.assertIn("private", response["Cache-Control"])
            self.assertEqual(response["X-Content-Type-Options"], "nosniff")
            self.assertTrue(response["Content-Disposition"].startswith('inline; filename="a \\"b\\"; c'))
            self.assertGreater(len(response.getvalue()), 100)

    def test_an_unchanged_file_is_not_sent_again(self) -> None:
        self.client.force_login(self.alice)
        url = f"/photos/{self.photo.pk}/image/"
        etag = self.read(url)["ETag"]
        self.assertEqual(self.client.get(url, headers={"If-None-Match": etag}).status_code, 304)

    def read(self, url: str) -> Any:
        """Get a file to its end, which closes it; ``close`` would close the database as well."""
        response = self.client.get(url)
        response.getvalue()
        return response

    def test_another_person_gets_404_for_everything(self) -> None:
        self.client.force_login(self.bob)
        for path in ("", "status/", "image/", "thumbnail/", "input/"):
            self.assertEqual(self.client.get(f"/photos/{self.photo.pk}/{path}").status_code, 404, path)
        for path in ("delete/", "restore/"):
            self.assertEqual(self.client.post(f"/photos/{self.photo.pk}/{path}").status_code, 404, path)
        self.photo.refresh_from_db()
        self.assertIsNone(self.photo.deleted_at)

    def test_staff_gets_404_too_unless_something_lets_them_look(self) -> None:
        self.client.force_login(self.charlie)
        for path in ("", "status/", "image/", "thumbnail/", "input/"):
            self.assertEqual(self.client.get(f"/photos/{self.photo.pk}/{path}").status_code, 404, path)
        self.assertEqual(self.client.post(f"/photos/{self.photo.pk}/delete/").status_code, 404)

    def test_a_lost_file_is_404_and_not_a_crash(self) -> None:
        default_storage.delete(str(self.photo.display.name))
        self.client.force_login(self.alice)
        self.assertEqual(self.client.get(f"/photos/{self.photo.pk}/image/").status_code, 404)


class DeleteTests(SiteTestCase):
    def setUp(self) -> None:
        self.client.force_login(self.alice)
        self.photo = self.upload()

    def test_a_deleted_photo_can_be_brought_back(self) -> None:
        page = self.client.post(f"/photos/{self.photo.pk}/delete/", follow=True)
        self.assertContains(page, "1 photo was deleted.")
        self.assertContains(page, "Undo")
        self.assertContains(page, f'name="ids" value="{self.photo.pk}"')
        self.assertEqual(self.client.get(f"/photos/{self.photo.pk}/").status_code, 404)
        self.assertEqual(self.client.get(f"/photos/{self.photo.pk}/image/").status_code, 404)
        page = self.client.post("/history/restore/", {"ids": self.photo.pk}, follow=True)
        self.assertContains(page, "1 photo was restored.")
        self.assertTrue(Photo.objects.filter(deleted_at=None).exists())

    def test_restore_leads_back_to_the_photo(self) -> None:
        self.client.post(f"/photos/{self.photo.pk}/delete/")
        response = self.client.post(f"/photos/{self.photo.pk}/restore/")
        self.assertRedirects(response, f"/photos/{self.photo.pk}/")

    def test_get_deletes_nothing(self) -> None:
        self.assertEqual(self.client.get(f"/photos/{self.photo.pk}/delete/").status_code, 405)
        self.assertTrue(Prediction.objects.exists())

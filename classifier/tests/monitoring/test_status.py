"""The health page: what it shows, to whom, and what it costs."""

import json
import tempfile
from datetime import timedelta
from pathlib import Path

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import override_settings
from django.utils import timezone

from cifarsite.test import SiteTestCase, answer
from classifier.models import Prediction
from classifier.monitoring import status
from training import workers
from training.jobs import lifecycle
from training.models import ModelVersion, Worker

QUERIES = 22


class HealthTests(SiteTestCase):
    def look(self) -> status.Health:
        return status.health()

    def line(self, queue: str) -> status.Line:
        return next(line for line in self.look().lines if line.queue == queue)

    def crown(self) -> ModelVersion:
        model = ModelVersion.objects.create(
            name="m", recipe="r", sha256="a" * 64, size=3, card={}, is_champion=True
        )
        default_storage.save(f"models/{model.sha256}.keras", ContentFile(b"abc"))
        return model

    def be_well(self) -> None:
        self.crown()
        for name, queues in (("p", ["predict", "batch"]), ("t", ["train"]), ("s", [workers.SWEEP])):
            workers.record_heartbeat(name, queues, timezone.now())

    def test_strangers_sign_in_and_ordinary_people_are_refused(self) -> None:
        for path in ("/health/", "/health/live/"):
            self.assertRedirects(self.client.get(path), f"/accounts/login/?next={path}")
            self.client.force_login(self.alice)
            self.assertContains(self.client.get(path), "Not allowed", status_code=403)
            self.client.logout()

    def test_staff_find_it_in_the_menu_and_in_the_administration(self) -> None:
        self.client.force_login(self.charlie)
        self.assertContains(self.client.get("/"), 'href="/health/"')
        self.client.force_login(self.alice)
        self.assertNotContains(self.client.get("/"), 'href="/health/"')

    def test_it_says_that_all_is_well_only_where_it_is(self) -> None:
        self.client.force_login(self.charlie)
        self.assertNotContains(self.client.get("/health/"), "All is well")
        self.be_well()
        response = self.client.get("/health/live/")
        self.assertContains(response, "All is well")
        self.assertContains(response, "a" * 64)

    def test_it_counts_what_waits_and_says_since_when(self) -> None:
        self.upload()
        self.upload(colour="red")
        line = self.line("predict")
        self.assertEqual((line.waiting, line.running), (2, 0))
        self.assertIsNotNone(line.oldest)

    def test_waits_are_taken_from_the_answers_of_the_last_hour(self) -> None:
        now = timezone.now()
        for seconds in (1, 2, 3, 10_000):
            prediction = answer(self.upload(colour=f"#{seconds:06d}"))
            finished = now if seconds < 100 else now - timedelta(hours=2)
            Prediction.objects.filter(pk=prediction.pk).update(
                created_at=finished - timedelta(seconds=seconds), finished_at=finished
            )
        line = self.line("predict")
        self.assertEqual((line.answers, line.p50, line.p95), (3, 2.0, 3.0))

    def test_a_quantile_is_one_of_the_numbers(self) -> None:
        numbers = [float(number) for number in range(1, 101)]
        self.assertEqual(status.quantile(numbers, 0.5), 50)
        self.assertEqual(status.quantile(numbers, 0.95), 95)
        self.assertEqual(status.quantile([7.0], 0.95), 7)
        self.assertIsNone(status.quantile([], 0.95))

    def test_it_names_what_waits_without_a_worker(self) -> None:
        self.be_well()
        self.upload()
        self.assertEqual(self.look().troubles, [])
        Worker.objects.filter(name="p").update(seen_at=timezone.now() - timedelta(minutes=5))
        (trouble,) = self.look().troubles
        self.assertIn("no worker of the queue 'predict' is running", trouble)

    def test_it_names_a_training_job_that_waits_without_a_worker(self) -> None:
        self.be_well()
        lifecycle.request_training(recipe="fast_cnn", parameters={}, by=None)
        Worker.objects.filter(name="t").delete()
        self.assertIn("'train'", self.look().troubles[0])

    def test_it_says_that_the_sweeper_stands_still(self) -> None:
        self.be_well()
        Worker.objects.filter(name="s").update(seen_at=timezone.now() - timedelta(minutes=5))
        self.assertIn("The sweeper is not running", self.look().troubles[0])

    def test_it_says_what_a_worker_complains_of(self) -> None:
        self.be_well()
        workers.report("p", "The file of model 'm' is damaged.")
        self.assertIn("p: The file of model 'm' is damaged.", self.look().troubles)
        workers.report("p", "")
        self.assertEqual(self.look().troubles, [])

    def test_it_says_that_the_champions_file_is_gone_or_cut_short(self) -> None:
        self.be_well()
        name = f"models/{'a' * 64}.keras"
        Path(default_storage.path(name)).write_bytes(b"ab")
        self.assertIn("the wrong size", self.look().troubles[0])
        default_storage.delete(name)
        self.assertIn("not in the storage", self.look().troubles[0])

    def test_it_says_that_the_disk_is_nearly_full(self) -> None:
        full = status.Disk(free=5, total=100)
        self.assertTrue(full.is_nearly_full)
        self.assertEqual(full.percent_free, 5)
        self.assertFalse(status.Disk(free=50, total=100).is_nearly_full)

    def test_it_costs_the_same_however_much_waits(self) -> None:
        self.be_well()
        self.client.force_login(self.charlie)
        with self.assertNumQueries(QUERIES):
            self.client.get("/health/live/")
        for colour in ("red", "green", "blue"):
            answer(self.upload(colour=colour))
            self.upload(colour=f"dark{colour}")
            workers.record_heartbeat(f"more-{colour}", ["predict"], timezone.now())
        with self.assertNumQueries(QUERIES):
            self.client.get("/health/live/")

    def test_rows_are_counted_up_to_a_bound(self) -> None:
        original, status.COUNTED = status.COUNTED, 2
        self.addCleanup(setattr, status, "COUNTED", original)
        for colour in ("red", "green", "blue"):
            self.upload(colour=colour)
        self.assertEqual(self.line("predict").waiting, 2)
        self.assertTrue(self.line("predict").is_long)

    def test_the_page_needs_no_script_to_refresh(self) -> None:
        self.client.force_login(self.charlie)
        response = self.client.get("/health/")
        self.assertContains(response, '<noscript><meta http-equiv="refresh" content="10"></noscript>')
        self.assertContains(response, 'hx-get="/health/live/" hx-trigger="every 5s"')

    def test_readyz_stays_ready_while_an_earlier_model_answers(self) -> None:
        self.be_well()
        workers.report("p", "The file of model 'm' is damaged. Meanwhile 'l' answers.")
        with (
            tempfile.TemporaryDirectory() as folder,
            override_settings(CELERY_BROKER_TRANSPORT_OPTIONS={"data_folder_out": folder}),
        ):
            response = self.client.get("/readyz")
        self.assertEqual(response.status_code, 200)
        self.assertEqual(json.loads(response.content)["ready"], True)

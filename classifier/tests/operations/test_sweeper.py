"""The sweeper: every part has its turn, removal waits out a clock that jumped, old things go."""

import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import override_settings
from django.utils import timezone

from cifarsite.test import SiteTestCase
from classifier.feedback.corrections import set_consent
from classifier.models import Batch, Example, Photo
from classifier.operations import orphaned_files, retention, sweeper
from classifier.photos import history
from training import workers
from training.jobs import lifecycle
from training.models import TrainingJob, Worker

HOUR = 3600


def long_ago(days: float) -> datetime:
    return timezone.now() - timedelta(days=days)


class SweeperTests(SiteTestCase):
    def setUp(self) -> None:
        self.sweeper = sweeper.Sweeper()

    def jump(self, seconds: float) -> None:
        """Put the clock forward, as seen from the last pass."""
        self.sweeper._clock -= seconds

    def wait(self, seconds: float) -> None:
        """Let real time pass."""
        now = time.monotonic() + seconds
        patch = mock.patch.object(time, "monotonic", lambda: now)
        patch.start()
        self.addCleanup(patch.stop)
        self.sweeper._clock -= seconds

    def deleted_photo(self) -> Photo:
        photo = self.upload()
        history.delete_photos(self.alice, [photo.pk])
        Photo.objects.update(deleted_at=long_ago(1))
        return photo

    def test_it_is_seen_as_a_worker_that_takes_no_messages(self) -> None:
        self.sweeper.sweep()
        worker = Worker.objects.get()
        self.assertTrue(worker.name.startswith("sweeper@"))
        self.assertEqual(worker.queues, [workers.SWEEP])

    def test_a_part_that_fails_does_not_keep_the_others_from_their_work(self) -> None:
        photo = self.deleted_photo()

        def broken() -> dict[str, int]:
            raise ValueError("made up")

        with (
            mock.patch.object(sweeper, "RECOVERY", [broken]),
            self.assertLogs("classifier.operations.sweeper", "ERROR"),
        ):
            did = self.sweeper.sweep()
        self.assertEqual(did["photos_purged"], 1)
        self.assertFalse(Photo.objects.filter(pk=photo.pk).exists())
        self.assertEqual(self.sweeper.failed, ["classifier.tests.operations.test_sweeper.broken"])

    def test_the_command_names_the_parts_that_failed(self) -> None:
        def broken() -> dict[str, int]:
            raise ValueError("made up")

        with (
            mock.patch.object(sweeper, "RECOVERY", [broken]),
            self.assertLogs("classifier.operations.sweeper", "ERROR"),
            self.assertRaisesMessage(CommandError, "test_sweeper.broken"),
        ):
            call_command("recover", stdout=mock.Mock())

    def test_a_database_that_is_away_ends_the_pass_at_once(self) -> None:
        away = mock.Mock(side_effect=OperationalError("away"))
        with mock.patch.object(sweeper, "RECOVERY", [away, away]), self.assertRaises(OperationalError):
            self.sweeper.sweep()
        self.assertEqual(away.call_count, 1)

    def test_nothing_is_removed_for_an_hour_after_the_clock_jumped(self) -> None:
        for seconds in (365 * 24 * HOUR, -365 * 24 * HOUR):
            photo = self.deleted_photo()
            self.jump(seconds)
            with self.assertLogs("classifier.operations.sweeper", "WARNING") as said:
                did = self.sweeper.sweep()
            self.assertIn("The clock has jumped", said.output[0])
            self.assertIn("predictions_woken", did)
            self.assertNotIn("photos_purged", did)
            self.assertTrue(Photo.objects.filter(pk=photo.pk).exists())
            self.assertNotIn("photos_purged", self.sweeper.sweep())
            self.sweeper = sweeper.Sweeper()
        self.sweeper.sweep()
        self.assertFalse(Photo.objects.exists())

    def test_removal_goes_on_when_the_hour_is_over(self) -> None:
        self.deleted_photo()
        self.jump(HOUR)
        with self.assertLogs("classifier.operations.sweeper", "WARNING"):
            self.sweeper.sweep()
        self.wait(HOUR + 1)
        self.assertEqual(self.sweeper.sweep()["photos_purged"], 1)

    def test_a_clock_that_is_set_right_by_a_second_is_no_jump(self) -> None:
        self.jump(1)
        self.assertIn("photos_purged", self.sweeper.sweep())

    def test_what_is_old_is_looked_at_once_an_hour(self) -> None:
        self.assertIn("photos_expired", self.sweeper.sweep())
        self.assertNotIn("photos_expired", self.sweeper.sweep())
        self.wait(HOUR + 1)
        self.assertIn("photos_expired", self.sweeper.sweep())

    def test_files_that_are_gone_are_told_on_the_sweepers_row(self) -> None:
        photo = self.upload()
        Photo.objects.update(created_at=long_ago(2))
        photo.display.delete(save=False)
        with mock.patch.object(orphaned_files, "part_of", lambda now: photo.pk.hex[:2]):
            self.sweeper.sweep()
        self.assertIn("1 files of photos are missing", Worker.objects.get().problem)


class RetentionTests(SiteTestCase):
    def old_photo(self, days: float, colour: str = "steelblue") -> Photo:
        photo = self.upload(colour=colour)
        Photo.objects.filter(pk=photo.pk).update(created_at=long_ago(days))
        return photo

    def test_photos_are_kept_for_ever_unless_a_number_of_days_is_set(self) -> None:
        self.old_photo(10_000)
        self.assertEqual(retention.expire()["photos_expired"], 0)

    @override_settings(KEEP_PHOTOS_DAYS=30)
    def test_photos_past_their_days_go_with_their_files(self) -> None:
        old, young = self.old_photo(31), self.old_photo(29, "red")
        name = old.display.name
        self.assertEqual(retention.expire()["photos_expired"], 1)
        self.assertEqual(list(Photo.objects.all()), [young])
        self.assertFalse(old.display.storage.exists(str(name)))

    @override_settings(KEEP_PHOTOS_DAYS=30)
    def test_a_photo_that_trains_models_stays(self) -> None:
        photo = self.old_photo(31)
        set_consent(self.alice, True)
        Example.objects.create(photo=photo, label="cat", image="x.png", sha256="0" * 64)
        self.assertEqual(retention.expire()["photos_expired"], 0)

    @override_settings(KEEP_PHOTOS_DAYS=1)
    def test_a_leap_day_is_a_day(self) -> None:
        photo = self.upload()
        Photo.objects.update(created_at=datetime(2028, 2, 28, 12, tzinfo=UTC))
        for now, gone in (
            (datetime(2028, 2, 29, 11, tzinfo=UTC), 0),
            (datetime(2028, 2, 29, 13, tzinfo=UTC), 1),
        ):
            with mock.patch.object(timezone, "now", lambda now=now: now):
                self.assertEqual(retention.expire()["photos_expired"], gone)
        self.assertFalse(Photo.objects.filter(pk=photo.pk).exists())

    def test_archives_that_could_still_be_retried_go_after_three_days(self) -> None:
        batch = Batch(owner=self.alice, filename="a.zip", sha256="0" * 64, size=1, state="done")
        batch.archive.save("", ContentFile(b"x"), save=False)
        batch.finished_at = long_ago(2)
        batch.save()
        self.assertEqual(retention.expire()["archives_expired"], 0)
        Batch.objects.update(finished_at=long_ago(4))
        self.assertEqual(retention.expire()["archives_expired"], 1)
        batch.refresh_from_db()
        self.assertEqual(batch.archive.name, "")

    def test_a_worker_that_was_not_seen_for_a_week_is_forgotten(self) -> None:
        workers.record_heartbeat("gone", ["predict"], long_ago(30))
        workers.record_heartbeat("here", ["predict"], long_ago(30))
        Worker.objects.filter(name="gone").update(seen_at=long_ago(8))
        self.assertEqual(retention.expire()["workers_forgotten"], 1)
        self.assertEqual(Worker.objects.get().name, "here")

    def test_folders_of_runs_that_ended_long_ago_go_and_those_that_may_go_on_stay(self) -> None:
        with tempfile.TemporaryDirectory() as folder, override_settings(RUNS_DIR=Path(folder)):
            made = {}
            for state, days in (("succeeded", 40), ("failed", 1), ("queued", 40)):
                job = lifecycle.request_training(recipe="fast_cnn", parameters={}, by=None)
                over = state != "queued"
                TrainingJob.objects.filter(pk=job.pk).update(
                    state=state, finished_at=long_ago(days) if over else None
                )
                made[state] = lifecycle.run_folder(job)
                (made[state] / "checkpoints").mkdir(parents=True)
            self.assertEqual(retention.expire()["runs_expired"], 1)
            self.assertEqual([s for s, place in made.items() if place.exists()], ["failed", "queued"])

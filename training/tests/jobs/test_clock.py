"""Leases, heartbeats and the schedule under a clock that jumps, in leap years and in other zones."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from unittest import mock

from django.test import override_settings
from django.utils import timezone

from cifarsite.test import SiteTestCase
from classifier.models import Photo, Prediction
from classifier.photos.history import history
from classifier.predictions import queue
from training import workers
from training.jobs import lifecycle, ownership
from training.jobs.schedule import run_schedule, schedule
from training.models import Schedule, TrainingJob

DAY = timedelta(days=1)


@contextmanager
def clock(now: datetime) -> Iterator[None]:
    with mock.patch.object(timezone, "now", lambda: now):
        yield


class JumpTests(SiteTestCase):
    def running(self) -> TrainingJob:
        lifecycle.request_training(recipe="fast_cnn", parameters={}, by=None)
        job = ownership.claim_next("w")
        assert job is not None
        return job

    def test_a_lease_from_before_the_clock_was_put_back_is_over_at_once(self) -> None:
        job = self.running()
        self.assertIsNone(ownership.claim_next("other"))
        with clock(timezone.now() - DAY):
            again = ownership.claim_next("other")
        assert again is not None
        self.assertEqual(again.pk, job.pk)
        with self.assertRaises(ownership.ClaimLost):
            ownership.owner_writes(job, step=1)

    def test_a_clock_that_is_put_back_by_less_than_the_farthest_lease_ends_none(self) -> None:
        self.running()
        with clock(timezone.now() - timedelta(seconds=30)):
            self.assertIsNone(ownership.claim_next("other"))

    def test_a_clock_that_is_put_forward_ends_leases_and_the_fence_holds(self) -> None:
        job = self.running()
        with clock(timezone.now() + DAY):
            self.assertIsNotNone(ownership.claim_next("other"))
        with self.assertRaises(ownership.ClaimLost):
            ownership.fail(job, "error", "too late")

    def test_a_worker_seen_before_the_clock_was_put_back_is_not_alive_for_a_day(self) -> None:
        workers.record_heartbeat("w", ["predict"], timezone.now())
        with clock(timezone.now() - DAY):
            self.assertFalse(workers.is_alive("predict"))
            workers.record_heartbeat("other", ["predict"], timezone.now())
            self.assertTrue(workers.is_alive("predict"))
            self.assertEqual(workers.last_seen("predict"), timezone.now())

    def test_what_was_asked_for_before_the_clock_was_put_back_is_still_woken_for(self) -> None:
        self.upload()
        lifecycle.request_training(recipe="fast_cnn", parameters={}, by=None)
        workers.record_heartbeat("t", ["train"], timezone.now())
        with clock(timezone.now() - DAY):
            workers.record_heartbeat("t", ["train"], timezone.now())
            self.assertEqual(queue.QUEUE.recover()["predictions_woken"], 1)
            self.assertEqual(ownership.QUEUE.recover()["jobs_woken"], 1)

    def test_a_wait_is_never_shown_as_negative(self) -> None:
        from classifier.monitoring.status import health

        photo = self.upload()
        now = timezone.now()
        Prediction.objects.filter(photo=photo).update(
            status="done", created_at=now + DAY, finished_at=now - timedelta(seconds=1)
        )
        self.assertEqual(health().lines[0].p95, 0)


class CalendarTests(SiteTestCase):
    def uploaded(self, at: datetime, colour: str) -> Photo:
        photo = self.upload(colour=colour)
        Photo.objects.filter(pk=photo.pk).update(created_at=at)
        Prediction.objects.filter(photo=photo).update(photo_created_at=at)
        return photo

    def test_the_29th_of_february_is_a_day_of_the_history(self) -> None:
        photo = self.uploaded(datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC), "red")
        self.uploaded(datetime(2028, 3, 1, tzinfo=UTC), "green")
        leap = date(2028, 2, 29)
        self.assertEqual([row.photo for row in history(self.alice, date_from=leap, date_to=leap)], [photo])

    def test_a_29th_of_february_that_does_not_exist_is_an_error_with_a_sentence(self) -> None:
        self.client.force_login(self.alice)
        self.assertEqual(self.client.get("/history/?date_from=2028-02-29").status_code, 200)
        self.assertEqual(self.client.get("/history/?date_from=2027-02-29").status_code, 200)
        response = self.client.get("/api/v1/photos?from=2027-02-29")
        self.assertEqual(response.status_code, 422)
        self.assertIn("from", response.json()["detail"])

    def test_days_of_the_history_are_those_of_the_sites_zone(self) -> None:
        evening = datetime(2028, 2, 29, 18, tzinfo=UTC)
        photo = self.uploaded(evening, "red")
        for zone, day in (("UTC", date(2028, 2, 29)), ("Asia/Ho_Chi_Minh", date(2028, 3, 1))):
            with override_settings(TIME_ZONE=zone), timezone.override(zone):
                rows = history(self.alice, date_from=day, date_to=day)
                self.assertEqual([row.photo for row in rows], [photo], zone)

    def test_times_are_stored_in_utc_whatever_zone_the_site_shows(self) -> None:
        with timezone.override("America/St_Johns"):
            photo = self.upload()
        photo.refresh_from_db()
        self.assertEqual(photo.created_at.tzinfo, UTC)
        self.assertLess(abs(timezone.now() - photo.created_at), timedelta(minutes=5))

    def test_an_hour_that_comes_twice_orders_photos_by_when_they_came(self) -> None:
        """In New York 01:30 comes twice on the first Sunday of November 2028."""
        first = self.uploaded(datetime(2028, 11, 5, 5, 30, tzinfo=UTC), "red")
        second = self.uploaded(datetime(2028, 11, 5, 6, 30, tzinfo=UTC), "green")
        with timezone.override("America/New_York"):
            day = date(2028, 11, 5)
            rows = history(self.alice, date_from=day, date_to=day)
            self.assertEqual([row.photo for row in rows], [second, first])

    def test_a_schedule_of_days_goes_over_the_29th_of_february(self) -> None:
        with clock(datetime(2028, 2, 28, 12, tzinfo=UTC)):
            row = schedule()
            row.save()
            Schedule.objects.filter(pk=row.pk).update(
                enabled=True, every_days=1, last_run_at=timezone.now() - 2 * DAY
            )
            run_schedule()
        TrainingJob.objects.update(state="succeeded")
        for hour, jobs_by_then in ((11, 1), (13, 2)):
            with clock(datetime(2028, 2, 29, hour, tzinfo=UTC)):
                run_schedule()
            self.assertEqual(TrainingJob.objects.count(), jobs_by_then, hour)

"""The life of a job: every transition, and every one that is refused."""

from datetime import timedelta

from django.core import mail
from django.test import override_settings
from django.utils import timezone
from django.utils.translation import gettext, override

from cifarsite.core import leases
from cifarsite.test import SiteTestCase
from training import workers
from training.engine.training.recipe import ParameterError
from training.jobs import lifecycle, notifications, ownership
from training.jobs.schedule import run_schedule, schedule
from training.models import DatasetVersion, Epoch, JobEvent, ModelVersion, Schedule, TrainingJob

State = TrainingJob.State


class JobTestCase(SiteTestCase):
    def request(self, **parameters) -> TrainingJob:
        return lifecycle.request_training(recipe="seed_cnn", parameters=parameters, by=self.charlie)

    def claim(self, worker: str = "worker") -> TrainingJob:
        job = ownership.claim_next(worker)
        assert job is not None
        return job

    def running(self, **parameters) -> TrainingJob:
        self.request(**parameters)
        return self.claim()

    def add_epochs(self, job: TrainingJob, count: int) -> None:
        for number in range(1, count + 1):
            Epoch.objects.create(
                job=job,
                number=number,
                loss=2.0 / number,
                accuracy=0.1 * number,
                val_loss=2.1 / number,
                val_accuracy=0.09 * number,
                learning_rate=0.001,
                seconds=10,
                images_per_second=400,
            )

    def expire(self, job: TrainingJob) -> None:
        TrainingJob.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))

    def state(self, job: TrainingJob) -> str:
        job.refresh_from_db()
        return job.state

    def events(self, job: TrainingJob) -> list[str]:
        return list(job.events.values_list("what", flat=True))


class TestRequest(JobTestCase):
    def test_it_fills_in_defaults_and_keeps_who_asked(self) -> None:
        job = self.request(epochs=3)
        self.assertEqual(job.parameters["epochs"], 3)
        self.assertEqual(job.parameters["batch_size"], 300)
        self.assertEqual(job.requested_by, self.charlie)
        self.assertEqual(self.events(job), ["requested"])

    def test_an_unknown_recipe_is_a_sentence_that_names_those_there_are(self) -> None:
        with self.assertRaisesMessage(ParameterError, "There is no recipe 'resnet': choose one of"):
            lifecycle.request_training(recipe="resnet", parameters={}, by=self.charlie)

    def test_a_value_out_of_range_makes_no_row(self) -> None:
        with self.assertRaisesMessage(ParameterError, "epochs must lie between 1 and 1000."):
            self.request(epochs=0)
        self.assertFalse(TrainingJob.objects.exists())

    def test_a_double_click_is_one_job(self) -> None:
        made = [
            lifecycle.request_training(
                recipe="seed_cnn", parameters={}, by=self.charlie, request_key="form-1"
            )
            for _ in range(2)
        ]
        self.assertEqual(made[0], made[1])
        self.assertEqual(TrainingJob.objects.count(), 1)

    def test_the_same_key_of_another_person_is_another_job(self) -> None:
        for person in (self.alice, self.charlie):
            lifecycle.request_training(recipe="seed_cnn", parameters={}, by=person, request_key="form-1")
        self.assertEqual(TrainingJob.objects.count(), 2)

    def test_the_queue_is_first_come_first_served(self) -> None:
        first, second = self.request(), self.request()
        self.assertEqual([lifecycle.queue_position(job) for job in (first, second)], [1, 2])
        claimed = self.claim()
        self.assertEqual(claimed, first)
        self.assertEqual(lifecycle.queue_position(second), 1)
        self.assertIsNone(lifecycle.queue_position(claimed))


class TestClaim(JobTestCase):
    def test_a_job_is_claimed_once(self) -> None:
        job = self.running()
        self.assertEqual((job.state, job.attempt, job.worker), (State.RUNNING, 1, "worker"))
        self.assertIsNone(ownership.claim_next("another"))

    def test_a_job_whose_owner_is_gone_is_claimed_again(self) -> None:
        job = self.running()
        self.expire(job)
        again = self.claim("another")
        self.assertEqual(again, job)
        self.assertEqual(again.attempt, 2)

    def test_an_owner_that_comes_back_late_changes_nothing(self) -> None:
        late = self.running()
        self.expire(late)
        ownership.claim_next("another")
        for write in (
            lambda: ownership.owner_writes(late, step=99),
            lambda: ownership.finish(late, State.SUCCEEDED),
            lambda: ownership.fail(late, "error", "late"),
            lambda: ownership.release(late, "late"),
            lambda: ownership.crashed(late, "late"),
        ):
            with self.assertRaises(ownership.ClaimLost):
                write()
        self.assertFalse(leases.renew(late))
        late.refresh_from_db()
        self.assertEqual(
            (late.state, late.step, late.worker, late.error_code), (State.RUNNING, 0, "another", "")
        )

    def test_a_crash_is_charged_and_the_third_one_fails_the_job(self) -> None:
        self.request()
        for attempt in (1, 2, 3):
            job = self.claim()
            self.assertEqual(job.attempt, attempt)
            ownership.crashed(job, "Killed by SIGKILL.", "the last words")
        self.assertIsNone(ownership.claim_next("worker"))
        self.assertEqual(self.state(job), State.FAILED)
        self.assertEqual(job.error_code, "crashed")
        self.assertEqual(job.traceback, "the last words")

    def test_a_polite_end_is_not_charged(self) -> None:
        for _ in range(5):
            job = self.running() if not TrainingJob.objects.exists() else self.claim()
            self.assertEqual(job.attempt, 1)
            ownership.release(job, "Asked to end.")
            self.assertEqual(self.state(job), State.QUEUED)


class TestCancel(JobTestCase):
    def test_a_queued_job_is_cancelled_at_once_and_never_runs(self) -> None:
        job = self.request()
        lifecycle.cancel(job, by=self.charlie)
        self.assertEqual(self.state(job), State.CANCELLED)
        self.assertIsNone(ownership.claim_next("worker"))

    def test_a_running_job_is_asked_to_end(self) -> None:
        job = self.running()
        lifecycle.cancel(job)
        self.assertEqual(self.state(job), State.RUNNING)
        self.assertTrue(job.cancel_requested)

    def test_twice_is_once(self) -> None:
        job = self.running()
        lifecycle.cancel(job)
        lifecycle.cancel(job)
        ownership.finish(job, State.CANCELLED)
        lifecycle.cancel(job)
        self.assertEqual(self.events(job), ["requested", "started", "cancel requested", "cancelled"])

    def test_a_job_whose_worker_is_gone_is_cancelled_at_once(self) -> None:
        job = self.running()
        self.expire(job)
        lifecycle.cancel(job)
        self.assertEqual(self.state(job), State.CANCELLED)
        with self.assertRaises(ownership.ClaimLost):
            ownership.owner_writes(leased(job), step=1)

    def test_what_is_over_stays_as_it_is(self) -> None:
        job = self.running()
        ownership.finish(job, State.SUCCEEDED)
        with self.assertRaisesMessage(lifecycle.InvalidTransition, f"Job #{job.pk} is succeeded"):
            lifecycle.cancel(job)
        self.assertEqual(self.state(job), State.SUCCEEDED)


def leased(job: TrainingJob) -> TrainingJob:
    """The job as its late owner remembers it."""
    import uuid

    job.claim = uuid.uuid4()
    return job


class TestStopResumeRetry(JobTestCase):
    def test_only_a_running_job_is_stopped(self) -> None:
        job = self.request()
        with self.assertRaisesMessage(lifecycle.InvalidTransition, "only a running job can be stopped"):
            lifecycle.stop(job)
        job = self.claim()
        lifecycle.stop(job)
        lifecycle.stop(job)
        self.assertTrue(job.stop_requested)
        self.assertEqual(self.events(job).count("stop requested"), 1)

    def test_a_stopped_job_goes_on_with_all_attempts(self) -> None:
        job = self.running(epochs=5)
        self.add_epochs(job, 2)
        lifecycle.stop(job)
        ownership.finish(job, State.STOPPED)
        job.refresh_from_db()
        self.assertTrue(lifecycle.is_resumable(job))
        lifecycle.resume(job)
        self.assertEqual(
            (job.state, job.attempt, job.stop_requested, job.error_code), (State.QUEUED, 0, False, "")
        )

    def test_without_a_whole_epoch_there_is_nothing_to_resume(self) -> None:
        job = self.running()
        ownership.fail(job, "disk_full", "The disk is full.")
        job.refresh_from_db()
        self.assertFalse(lifecycle.is_resumable(job))
        with self.assertRaisesMessage(lifecycle.InvalidTransition, "it has no checkpoint to resume from"):
            lifecycle.resume(job)

    def test_a_run_that_diverged_would_diverge_again(self) -> None:
        job = self.running()
        self.add_epochs(job, 2)
        ownership.fail(job, "diverged", "The loss became nan.")
        job.refresh_from_db()
        self.assertFalse(lifecycle.is_resumable(job))

    def test_retry_is_a_new_job_and_a_second_click_the_same_one(self) -> None:
        job = self.running(epochs=7)
        ownership.fail(job, "diverged", "The loss became nan.")
        again = lifecycle.retry(job, by=self.charlie)
        self.assertNotEqual(again, job)
        self.assertEqual(again.parameters, job.parameters)
        self.assertEqual(lifecycle.retry(job, by=self.charlie), again)
        self.assertEqual(self.state(job), State.FAILED)

    def test_a_running_job_is_not_tried_again(self) -> None:
        with self.assertRaises(lifecycle.InvalidTransition):
            lifecycle.retry(self.running())

    def test_clone_leaves_out_what_the_recipe_has_dropped(self) -> None:
        job = self.request(epochs=7)
        job.parameters["forgotten"] = 1
        self.assertEqual(lifecycle.clone_values(job)["epochs"], 7)
        self.assertNotIn("forgotten", lifecycle.clone_values(job))

    def test_the_process_that_resumes_owns_the_job_at_once(self) -> None:
        job = self.running(epochs=5)
        self.add_epochs(job, 2)
        ownership.fail(job, "interrupted", "Interrupted.")
        mine = ownership.own_again(TrainingJob.objects.get(pk=job.pk), worker="foreground")
        self.assertEqual((mine.state, mine.worker, mine.error_code), (State.RUNNING, "foreground", ""))
        with self.assertRaisesMessage(lifecycle.InvalidTransition, "foreground is training it"):
            ownership.own_again(TrainingJob.objects.get(pk=job.pk), worker="another")


class TestRecovery(JobTestCase):
    def test_a_lost_job_is_failed_after_three_attempts(self) -> None:
        self.request()
        for _ in range(3):
            job = self.claim()
            self.expire(job)
        self.assertEqual(ownership.QUEUE.recover()["jobs_lost"], 1)
        self.assertEqual(self.state(job), State.FAILED)
        self.assertEqual(job.error_code, "worker_lost")

    def test_a_lost_job_that_was_being_cancelled_is_cancelled(self) -> None:
        job = self.running()
        lifecycle.cancel(job)
        self.expire(job)
        ownership.QUEUE.recover()
        self.assertEqual(self.state(job), State.CANCELLED)

    def test_it_wakes_a_worker_only_where_one_is_idle(self) -> None:
        self.request()
        TrainingJob.objects.update(created_at=timezone.now() - timedelta(minutes=1))
        self.assertEqual(ownership.QUEUE.recover()["jobs_woken"], 0)
        workers.record_heartbeat("worker", ["train"], timezone.now())
        self.assertEqual(ownership.QUEUE.recover()["jobs_woken"], 1)
        ownership.claim_next("worker")
        self.request()
        TrainingJob.objects.update(created_at=timezone.now() - timedelta(minutes=1))
        self.assertEqual(ownership.QUEUE.recover()["jobs_woken"], 0)

    def test_the_requester_gets_a_mail(self) -> None:
        job = self.running()
        notifications.tell_requester(job)
        self.assertEqual(mail.outbox, [])
        ownership.fail(job, "diverged", "The loss became nan.")
        notifications.tell_requester(job)
        self.assertEqual(mail.outbox[0].to, ["charlie@example.org"])
        self.assertIn("The loss became nan.", mail.outbox[0].body)
        self.assertIn(f"http://localhost:8000/training/{job.pk}/", mail.outbox[0].body)

    def test_the_mail_is_in_the_requesters_language(self) -> None:
        self.charlie.language = "vi"
        self.charlie.save()
        job = self.running()
        ownership.fail(job, "diverged", "The loss became nan.")
        notifications.tell_requester(job)
        with override("vi"):
            self.assertEqual(
                mail.outbox[0].subject,
                gettext("Training job #%(id)s: %(state)s") % {"id": job.pk, "state": gettext("failed")},
            )

    @override_settings(EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend", EMAIL_PORT=9)
    def test_a_dead_mail_server_is_only_logged(self) -> None:
        job = self.running()
        ownership.finish(job, State.SUCCEEDED)
        with self.assertLogs("training.jobs.notifications", "WARNING"):
            notifications.tell_requester(job)


class TestRecord(JobTestCase):
    def test_it_can_only_be_added_to(self) -> None:
        from django.core.exceptions import ValidationError

        job = self.request()
        event = JobEvent.objects.get(job=job)
        for change in (event.save, event.delete):
            with self.assertRaises(ValidationError):
                change()


class TestSchedule(JobTestCase):
    def turn_on(self, **fields) -> None:
        schedule().save()
        Schedule.objects.update(enabled=True, recipe="seed_cnn", **fields)

    def test_it_is_off_at_first(self) -> None:
        self.assertEqual(run_schedule(), {"jobs_scheduled": 0})
        self.assertFalse(schedule().enabled)

    def test_it_asks_once_and_again_when_the_days_are_over(self) -> None:
        self.turn_on(every_days=7)
        self.assertEqual(run_schedule()["jobs_scheduled"], 1)
        self.assertEqual(run_schedule()["jobs_scheduled"], 0)
        job = schedule().last_job
        assert job is not None
        lifecycle.cancel(job)
        self.assertEqual(run_schedule()["jobs_scheduled"], 0)
        self.turn_on(last_run_at=timezone.now() - timedelta(days=8))
        self.assertEqual(run_schedule()["jobs_scheduled"], 1)

    def test_it_never_queues_a_second_run_behind_one_that_goes_on(self) -> None:
        self.turn_on(every_days=1)
        run_schedule()
        self.turn_on(last_run_at=timezone.now() - timedelta(days=3))
        self.assertEqual(run_schedule()["jobs_scheduled"], 0)

    def test_it_asks_after_so_many_corrections(self) -> None:
        self.turn_on(every_days=0, after_corrections=10)
        self.assertEqual(run_schedule(lambda since: 9)["jobs_scheduled"], 0)
        self.assertEqual(run_schedule(lambda since: 10)["jobs_scheduled"], 1)

    def test_it_freezes_what_was_accepted_and_trains_on_it(self) -> None:
        self.turn_on(every_days=7)
        frozen = DatasetVersion.objects.create(name="CIFAR-10 and more", sha256="d" * 64, manifest={})
        run_schedule(freeze=lambda: frozen)
        self.assertEqual(TrainingJob.objects.get().dataset, frozen)

    def test_the_gate_decides_about_automatic_promotion(self) -> None:
        self.turn_on(every_days=7, auto_promote=True)
        run_schedule()
        job = self.claim()
        ownership.finish(job, State.SUCCEEDED)
        ModelVersion.objects.create(
            name="unmeasured",
            recipe="seed_cnn",
            sha256="0" * 64,
            size=1,
            preprocessing="squash32-v1",
            job=job,
            card={},
        )
        run_schedule()
        run_schedule()
        self.assertEqual(self.events(job).count("automatic promotion refused"), 1)

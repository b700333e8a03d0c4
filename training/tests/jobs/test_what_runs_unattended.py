"""What nobody watches: the schedule, retries, old runs' folders, a training that cannot begin."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from django.conf import settings
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.test import override_settings
from django.utils import timezone

import training
from cifarsite.test import SiteTestCase
from training.jobs import lifecycle, run_folders
from training.jobs import schedule as schedules
from training.jobs.schedule import run_schedule, schedule
from training.models import ModelVersion, Schedule, TrainingJob
from training.registry import smoke_test
from training.tests.admin.test_admin import TrainingAdminTestCase, make_model

State = TrainingJob.State


class Retries(SiteTestCase):
    def failed(self, job: TrainingJob | None = None) -> TrainingJob:
        """A job, or this one, that has failed."""
        job = job or lifecycle.request_training(recipe="seed_cnn", parameters={}, by=self.charlie)
        TrainingJob.objects.filter(pk=job.pk).update(state=State.FAILED)
        return job

    def test_a_retry_that_failed_too_can_be_tried_again(self) -> None:
        first = self.failed()
        second = lifecycle.retry(first, by=self.charlie)
        self.assertEqual(lifecycle.retry(first, by=self.charlie), second)
        self.failed(second)
        third = lifecycle.retry(first, by=self.charlie)
        self.assertNotIn(third, (first, second))
        self.assertEqual(third.state, State.QUEUED)
        self.assertEqual(lifecycle.retry(first, by=self.charlie), third)

    def test_the_retries_of_a_job_whose_number_begins_alike_do_not_count(self) -> None:
        first = self.failed()
        again = lifecycle.retry(first, by=self.charlie)
        key = f"{self.charlie.pk}:retry-{first.pk}0.0"
        TrainingJob.objects.create(recipe="seed_cnn", state=State.FAILED, request_key=key)
        self.assertEqual(lifecycle.retry(first, by=self.charlie), again)


class TheSchedulesForm(SiteTestCase):
    def keep(self, **values: Any) -> dict[str, Any]:
        self.client.force_login(self.charlie)
        data = {"every_days": 7, "after_corrections": 0, "recipe": "seed_cnn", **values}
        self.client.post("/training/schedule/", data)
        kept: dict[str, Any] = Schedule.objects.get().parameters
        return kept

    def test_it_keeps_the_parameters_of_the_same_recipe_and_drops_those_of_another(self) -> None:
        row = schedule()
        row.recipe, row.parameters = "seed_cnn", {"epochs": 3, "dropout": 0.5}
        row.save()
        self.assertEqual(self.keep(enabled="on", every_days=14), {"epochs": 3, "dropout": 0.5})
        self.assertEqual(Schedule.objects.get().every_days, 14)
        self.assertEqual(self.keep(recipe="fast_cnn"), {})


class AutomaticPromotion(TrainingAdminTestCase):
    def setUp(self) -> None:
        super().setUp()
        schedule().save()
        Schedule.objects.update(enabled=True, every_days=7, auto_promote=True, recipe="seed_cnn")
        run_schedule()
        self.job = TrainingJob.objects.get()
        TrainingJob.objects.update(state=State.SUCCEEDED, finished_at=timezone.now())
        self.model: ModelVersion = make_model("new", job=self.job, folder=self.folder)
        self.asked: list[Any] = []
        self.enterContext(mock.patch.object(schedules, "publish", lambda *words: self.asked.append(words)))

    def events(self) -> list[str]:
        return list(self.job.events.values_list("what", flat=True))

    def test_the_sweeper_loads_no_model_and_asks_a_worker(self) -> None:
        with mock.patch.object(smoke_test, "_run", side_effect=AssertionError("the sweeper loads a model")):
            run_schedule()
            run_schedule()
        self.assertEqual(self.asked, [(smoke_test.TASK, self.model.pk, None)])
        self.assertFalse(ModelVersion.objects.filter(is_champion=True).exists())
        # The worker's part, then the next pass.
        smoke_test.try_here(self.model, None)
        with mock.patch.object(smoke_test, "_run", side_effect=AssertionError("the sweeper loads a model")):
            run_schedule()
        self.assertEqual(ModelVersion.objects.get(is_champion=True), self.model)
        self.assertIn("automatic promotion", self.events())

    def test_a_model_that_does_not_answer_is_refused_once(self) -> None:
        run_schedule()
        smoke_test._keep(self.model, {"error": "cannot be loaded"})
        run_schedule()
        run_schedule()
        self.assertEqual(self.events().count("automatic promotion refused"), 1)
        self.assertFalse(ModelVersion.objects.filter(is_champion=True).exists())

    def test_it_asks_again_where_no_worker_did_it(self) -> None:
        run_schedule()
        with mock.patch.object(timezone, "now", return_value=timezone.now() + timedelta(minutes=6)):
            run_schedule()
        self.assertEqual(len(self.asked), 2)


class Folders(SiteTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(override_settings(RUNS_DIR=self.folder, KEEP_RUNS_DAYS=30))

    def run_of(self, days: float, state: str = State.SUCCEEDED) -> Path:
        job = lifecycle.request_training(recipe="seed_cnn", parameters={}, by=None)
        TrainingJob.objects.filter(pk=job.pk).update(
            state=state, finished_at=timezone.now() - timedelta(days=days)
        )
        folder = self.folder / str(job.pk)
        (folder / "checkpoints").mkdir(parents=True)
        return folder

    def test_a_training_worker_forgets_old_runs_of_its_host(self) -> None:
        from training import workers

        old, young, going_on = self.run_of(31), self.run_of(29), self.run_of(31, State.RUNNING)
        # One record_heartbeat, as in the worker's thread; the test's connection stays open.
        with (
            mock.patch.object(workers._over, "wait", return_value=True),
            mock.patch.object(workers, "connection"),
        ):
            workers._keep_heartbeat("predict@host", ["predict"])
            self.assertTrue(old.exists())
            workers._keep_heartbeat("train@host", ["train"])
        self.assertEqual([folder.exists() for folder in (old, young, going_on)], [False, True, True])

    def test_it_expires_once_an_hour_and_not_after_the_clock_has_jumped(self) -> None:
        hourly = run_folders.Hourly()
        hourly.expire_if_due()
        old = self.run_of(31)
        hourly.expire_if_due()
        self.assertTrue(old.exists())
        hourly._due_at = 0
        with mock.patch.object(time, "time", return_value=time.time() + 90):
            hourly.expire_if_due()
        self.assertTrue(old.exists())
        fresh = run_folders.Hourly()
        fresh.expire_if_due()
        self.assertFalse(old.exists())


class Sweeping(SiteTestCase):
    def test_the_setting_says_how_often(self) -> None:
        parser = load_command_class(get_commands()["recover"], "recover").create_parser(
            "manage.py", "recover"
        )
        self.assertEqual(parser.parse_args(["--every"]).every, settings.SWEEP_SECONDS)
        self.assertEqual(parser.parse_args(["--every", "2"]).every, 2)
        self.assertIsNone(parser.parse_args([]).every)

    def test_nothing_that_starts_it_writes_another_number(self) -> None:
        root = Path(settings.BASE_DIR)
        starts = [
            (root / "cifarsite" / "supervisor.py").read_text(),
            (root / "deploy" / "docker" / "compose.yaml").read_text(),
            (root / "deploy" / "systemd" / "cifarsite-sweeper.service").read_text(),
        ]
        for text in starts:
            self.assertRegex(text, r"recover\W+--every")
            self.assertNotRegex(text, r"--every\W+\d")


class TrainingThatCannotBegin(SiteTestCase):
    def train(self) -> str:
        with self.assertRaises(CommandError) as caught:
            call_command(
                "train", "--recipe", "seed_cnn", "--epochs", "1", stdout=io.StringIO(), stderr=io.StringIO()
            )
        return str(caught.exception)

    def test_without_tensorflow_there_is_no_job(self) -> None:
        with mock.patch.object(importlib.util, "find_spec", return_value=None):
            self.assertIn("TensorFlow is not installed", self.train())
        self.assertFalse(TrainingJob.objects.exists())

    def test_with_one_that_cannot_be_loaded_the_job_has_failed(self) -> None:
        absent: dict[str, Any] = {"training.jobs.trainer": None}
        loaded = training.jobs.__dict__.pop("trainer", None)
        try:
            with (
                mock.patch.dict(sys.modules, absent),
                tempfile.TemporaryDirectory() as folder,
                override_settings(RUNS_DIR=Path(folder)),
                mock.patch.dict(os.environ),
            ):
                self.assertIn("failed", self.train())
        finally:
            if loaded:
                training.jobs.__dict__["trainer"] = loaded
        job = TrainingJob.objects.get()
        self.assertEqual((job.state, job.error_code, job.claim), (State.FAILED, "error", None))

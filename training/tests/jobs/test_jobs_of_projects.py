"""Jobs of several projects in one queue: asked for, tried again, scheduled, told about; each with its own."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from django.core import mail
from django.test import override_settings
from django.utils import timezone

from cifarsite.test import SiteTestCase
from training.data import project_versions
from training.engine.data.cifar10 import DatasetError
from training.engine.training.recipe import ParameterError
from training.jobs import lifecycle, notifications, ownership, run_folders, webhooks
from training.jobs.schedule import run_schedule, schedule
from training.models import DatasetVersion, Project, ProjectImage, Schedule, TrainingJob
from training.projects import images
from training.registry import neighbour_index
from training.tests.data.test_project_versions import make_project
from training.tests.drawn_project import draw_project
from training.tests.test_api_training import make_model

State = TrainingJob.State


class JobsOfProjects(SiteTestCase):
    trees: Project
    birds: Project

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.trees, cls.birds = make_project("trees", oak=6, birch=5), make_project("birds", wren=5, tit=5)

    def request(self, project: str = "trees", **more: Any) -> TrainingJob:
        recipe = "fast_cnn" if project == "cifar10" else "transfer"
        asked = {"recipe": recipe, "parameters": {}, "by": self.charlie, "project": project, **more}
        return lifecycle.request_training(**asked)

    def test_one_queue_serves_all_projects_in_turn(self) -> None:
        jobs = [self.request(slug) for slug in ("trees", "cifar10", "birds")]
        self.assertEqual([lifecycle.queue_position(job) for job in jobs], [1, 2, 3])
        claimed = [ownership.claim_next(f"worker {number}") for number in range(3)]
        self.assertEqual([job.project_id for job in claimed if job], ["trees", "cifar10", "birds"])

    def test_a_retry_stays_in_its_project_with_its_data(self) -> None:
        version = project_versions.freeze("trees")
        job = self.request(dataset=version)
        lifecycle.cancel(job)
        again = lifecycle.retry(job, by=self.charlie)
        self.assertEqual((again.project_id, again.dataset), ("trees", version))

    def test_a_failed_run_is_resumed_and_one_that_made_its_model_is_not(self) -> None:
        job = self.request()
        for state, code, expected in (
            (State.FAILED, "crashed", True),
            (State.FAILED, "parameters", False),
            (State.STOPPED, "", False),
            (State.SUCCEEDED, "", False),
        ):
            TrainingJob.objects.filter(pk=job.pk).update(state=state, error_code=code)
            job.refresh_from_db()
            self.assertEqual(lifecycle.is_resumable(job), expected, state)

    def test_a_retry_says_what_is_missing_by_now(self) -> None:
        job = self.request("birds")
        lifecycle.cancel(job)
        images.remove(ProjectImage.objects.filter(filename="wren-0.jpg"))
        with self.assertRaisesRegex(DatasetError, r"wren \(4\)"):
            lifecycle.retry(job, by=self.charlie)

    def test_transfer_is_for_cifar10_where_it_has_images_of_its_own(self) -> None:
        with self.assertRaisesRegex(ParameterError, "the project 'cifar10' has none"):
            self.request("cifar10", recipe="transfer")
        label = Project.objects.get(pk="cifar10").classes.get(name="cat")
        ProjectImage.objects.filter(project="trees").update(project="cifar10", label=label)
        images.recount()
        with self.assertRaisesRegex(DatasetError, r"airplane \(0\), .* and 4 more"):
            self.request("cifar10", recipe="transfer")

    def test_a_dataset_with_corrections_is_cifar10s(self) -> None:
        corrections = DatasetVersion.objects.create(name="c", sha256="c" * 64, manifest={"added": []})
        self.assertEqual(self.request("cifar10", dataset=corrections).dataset, corrections)
        with self.assertRaisesRegex(ParameterError, "is not for the recipe transfer"):
            self.request(dataset=corrections)
        with self.assertRaisesRegex(ParameterError, "is not for the recipe fast_cnn"):
            self.request("cifar10", dataset=project_versions.freeze("trees"))

    def test_each_project_trains_by_its_own_schedule(self) -> None:
        for slug, days in (("trees", 7), ("birds", 0), ("cifar10", 7)):
            row = schedule(slug)
            row.enabled, row.every_days, row.after_corrections = True, days, 2
            row.save()
        self.assertEqual(run_schedule()["jobs_scheduled"], 2)
        asked = set(TrainingJob.objects.values_list("project", "recipe"))
        self.assertEqual(asked, {("trees", "transfer"), ("cifar10", "fast_cnn")})
        # Corrected photos became images of a project.
        for name in ("wren-0.jpg", "tit-0.jpg"):
            self.assertEqual(run_schedule()["jobs_scheduled"], 0)
            ProjectImage.objects.filter(project="birds", filename=name).update(photo=uuid4())
        self.assertEqual(run_schedule()["jobs_scheduled"], 1)
        self.assertEqual(TrainingJob.objects.first(), Schedule.objects.get(project="birds").last_job)

    def test_a_schedule_of_a_project_that_lacks_images_is_switched_off(self) -> None:
        row = schedule("trees")
        row.enabled = True
        row.save()
        images.remove(ProjectImage.objects.filter(project="trees"))
        self.assertEqual(run_schedule()["jobs_scheduled"], 0)
        self.assertFalse(Schedule.objects.get(project="trees").enabled)

    @override_settings(WEBHOOK_SECRET="known to both")
    def test_whoever_is_told_is_told_the_project(self) -> None:
        job = self.request()
        TrainingJob.objects.filter(pk=job.pk).update(state=State.FAILED, finished_at=timezone.now())
        job.refresh_from_db()
        self.assertEqual(webhooks.content(job)["job"]["project"], "trees")
        self.charlie.email = "charlie@example.org"
        self.charlie.save()
        notifications.tell_requester(job)
        self.assertIn("Project: trees", mail.outbox[-1].body)


class ProgressOfAttempts(SiteTestCase):
    """A run that gets on is not charged for the crashes before; one that does not get on is."""

    def attempt(self, job: TrainingJob, known: int) -> int:
        from training.jobs.recorder import Recorder

        TrainingJob.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - timedelta(hours=1))
        mine = ownership.claim_next("worker")
        assert mine is not None
        Recorder(mine, 0, lambda progress: None, lambda line: None).told(
            {"phase": "features", "done": known, "total": 900}
        )
        job.refresh_from_db()
        return job.attempt

    def test_attempts_are_counted_where_no_more_features_are_known(self) -> None:
        make_project("trees", oak=6, birch=5)
        job = lifecycle.request_training(recipe="transfer", parameters={}, by=None, project="trees")
        with override_settings(RUNS_DIR=self.enterContext(self.folder())):
            attempts = [self.attempt(job, known) for known in (0, 0, 256, 256, 512, 512)]
        self.assertEqual(attempts, [1, 2, 1, 2, 1, 2])

    def test_epochs_that_were_there_before_are_no_progress(self) -> None:
        """Where several epochs share a checkpoint, a run goes on from further back than it came."""
        from training.jobs.learning_curves import NUMBERS
        from training.jobs.recorder import Recorder

        job = lifecycle.request_training(recipe="fast_cnn", parameters={}, by=None)
        numbers = dict.fromkeys(NUMBERS, 0.5)
        with override_settings(RUNS_DIR=self.enterContext(self.folder())):
            for expected in (1, 2):
                TrainingJob.objects.filter(pk=job.pk).update(
                    lease_expires_at=timezone.now() - timedelta(hours=1)
                )
                mine = ownership.claim_next("worker")
                assert mine is not None
                recorder = Recorder(mine, 9, lambda progress: None, lambda line: None)
                recorder.reconcile()
                for epoch in range(3):
                    recorder.on_epoch_end(epoch, {**numbers, "waiting": 0.0})
                job.refresh_from_db()
                self.assertEqual((job.attempt, job.epochs.count()), (expected, 3))
            recorder.on_epoch_end(3, {**numbers, "waiting": 0.0})
        job.refresh_from_db()
        self.assertEqual(job.attempt, 1)

    def folder(self) -> Any:
        from contextlib import contextmanager

        @contextmanager
        def made() -> Any:
            with tempfile.TemporaryDirectory() as name:
                yield Path(name)

        return made()


class KeptFeatures(SiteTestCase):
    def test_features_go_with_their_project_and_when_nothing_is_trained_for_long(self) -> None:
        for slug in ("trains", "rests", "waits"):
            make_project(slug, a=5, b=5)
            job = lifecycle.request_training(recipe="transfer", parameters={}, by=None, project=slug)
            if slug != "waits":
                days = 100 if slug == "rests" else 1
                ended = timezone.now() - timedelta(days=days)
                TrainingJob.objects.filter(pk=job.pk).update(state=State.SUCCEEDED, finished_at=ended)
        with tempfile.TemporaryDirectory() as name, override_settings(RUNS_DIR=Path(name), KEEP_RUNS_DAYS=30):
            for slug in ("trains", "rests", "waits", "gone"):
                run_folders.features_folder(slug).mkdir(parents=True)
            run_folders.expire()
            left = sorted(folder.name for folder in run_folders.features_folder("").iterdir())
        self.assertEqual(left, ["trains", "waits"])

    def test_features_of_a_deleted_project_go_even_where_runs_are_kept_for_good(self) -> None:
        make_project("rests", a=5, b=5)
        with tempfile.TemporaryDirectory() as name, override_settings(RUNS_DIR=Path(name), KEEP_RUNS_DAYS=0):
            for slug in ("rests", "gone"):
                run_folders.features_folder(slug).mkdir(parents=True)
            run_folders.expire()
            left = [folder.name for folder in run_folders.features_folder("").iterdir()]
        self.assertEqual(left, ["rests"])


class NeighboursOfProjects(SiteTestCase):
    def test_training_images_that_nobody_gave_are_shown_and_no_others(self) -> None:
        draw_project("shapes", 10)
        version = make_model(
            "m", project_id="shapes", preprocessing="centre224-v1", dataset=project_versions.freeze("shapes")
        )
        ProjectImage.objects.filter(filename="disc-0.png").update(photo=uuid4())
        ProjectImage.objects.filter(filename="disc-1.png").delete()
        neighbour_index._manifest_rows.cache_clear()
        images, labels, rows = neighbour_index._own_images(version)
        self.assertEqual(len(rows), 3 * 6 - 2)
        self.assertEqual(sorted(np.bincount(labels[rows]).tolist()), [4, 6, 6])
        self.assertTrue(neighbour_index.are_at_hand(version))
        shown = neighbour_index.pictures(version, rows[:3].tolist())
        assert shown is not None
        self.assertEqual([picture.shape for picture in shown], 3 * [(96, 96, 3)])
        self.assertEqual(len(images[rows[:2]]), 2)

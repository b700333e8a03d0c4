"""The admin of training: opens, stays small, steers jobs, promotes, and changes no history."""

from __future__ import annotations

import hashlib
import re
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models import Model
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from cifarsite.test import SiteTestCase, make_user
from classifier.models import User
from training.engine.data.cifar10 import CLASS_NAMES
from training.jobs import lifecycle
from training.models import (
    DatasetVersion,
    Epoch,
    EvaluationReport,
    JobEvent,
    ModelVersion,
    Promotion,
    Refusal,
    Schedule,
    TrainingJob,
    Worker,
)
from training.registry import smoke_test
from training.registry.model_store import TEST_SET

INLINE = re.compile(r"<style|<script(?![^>]*(src=|application/json))|\s(style|on[a-z]+)=[\"']", re.IGNORECASE)
LISTED = (
    Promotion,
    Refusal,
    EvaluationReport,
    ModelVersion,
    DatasetVersion,
    TrainingJob,
    Epoch,
    JobEvent,
    Worker,
)
TRUTH = "0123456789" * 10


def changelist(model: type[Model]) -> str:
    return reverse(f"admin:training_{model._meta.model_name}_changelist")


def change(row: Model) -> str:
    return reverse(f"admin:training_{row._meta.model_name}_change", args=[row.pk])


def make_job(**fields: Any) -> TrainingJob:
    job = lifecycle.request_training(recipe="fast_cnn", parameters={"epochs": 3}, by=None)
    TrainingJob.objects.filter(pk=job.pk).update(**fields)
    job.refresh_from_db()
    return job


def make_model(
    name: str, *, wrong: int = 5, job: TrainingJob | None = None, folder: Path | None = None
) -> ModelVersion:
    """A model with a file and a report, as a run leaves them; ``wrong`` of 100 test images missed."""
    content = name.encode()
    digest = hashlib.sha256(content).hexdigest()
    if folder:
        (folder / f"{digest}.keras").write_bytes(content)
    held_out = {"sha256": "a" * 64, "n": 2_500, "ece": 0.01}
    held_out |= {"truth": 25 * TRUTH, "predicted": 25 * ("9" * wrong + TRUTH[wrong:])}
    card = {"held_out": held_out}
    model = ModelVersion.objects.create(
        name=name, recipe="fast_cnn", sha256=digest, size=len(content), card=card, job=job, test_accuracy=0.95
    )
    figures = {
        "n": 100,
        "accuracy": 1 - wrong / 100,
        "ece": 0.01,
        "classes": [{"name": c, "recall": 0.9} for c in CLASS_NAMES],
        "truth": TRUTH,
        "predicted": "9" * wrong + TRUTH[wrong:],
    }
    EvaluationReport.objects.create(
        model=model,
        dataset=TEST_SET,
        dataset_sha256="a" * 64,
        n=100,
        accuracy=1 - wrong / 100,
        figures=figures,
    )
    return model


def make_lines(count: int, by: User) -> None:
    """``count`` rows of every table."""
    now = timezone.now()
    for _ in range(count):
        n = TrainingJob.objects.count()
        job = make_job(requested_by=by)
        model = make_model(f"m{n}", job=job)
        Epoch.objects.create(
            job=job,
            number=1,
            loss=1.0,
            accuracy=0.5,
            val_loss=1.0,
            val_accuracy=0.5,
            learning_rate=0.01,
            seconds=2.0,
            images_per_second=100.0,
        )
        DatasetVersion.objects.create(name=f"d{n}", sha256=f"{n:064}", manifest={"added": []}, created_by=by)
        Promotion.objects.create(
            action="promote",
            promoted=model,
            previous=model,
            report=model.reports.get(),
            by=by,
            reason="Better.",
        )
        Refusal.objects.create(model=model, by=by, reason="Better.", detail="It is not.")
        Worker.objects.create(name=f"w{n}@host", queues=["train"], started_at=now, seen_at=now)


class TrainingAdminTestCase(SiteTestCase):
    root: User
    folder: Path

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.root = make_user("root", is_staff=True, is_superuser=True)

    def setUp(self) -> None:
        self.client.force_login(self.root)
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(override_settings(MODELS_DIR=self.folder, RUNS_DIR=self.folder))
        # These files are no models; that real ones are loaded is seen in test_trial.
        answers = {"seconds": [0.004, 0.004]}
        self.enterContext(mock.patch.object(smoke_test, "_run", lambda files: answers))

    def act(self, action: str, *rows: Model, **more: str) -> Any:
        data = {"action": action, "_selected_action": [row.pk for row in rows], **more}
        return self.client.post(changelist(type(rows[0])), data, follow=True)

    def may(self, *codenames: str) -> None:
        self.charlie.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        self.client.force_login(self.charlie)


class Pages(TrainingAdminTestCase):
    def test_every_list_and_inner_page_opens_without_inline_script_or_style(self) -> None:
        make_lines(2, self.alice)
        Schedule.objects.create()
        for model in (*LISTED, Schedule):
            for url in (changelist(model), change(model._default_manager.all()[0])):
                with self.subTest(url=url):
                    answered = self.client.get(url)
                    self.assertEqual(answered.status_code, 200)
                    self.assertIsNone(INLINE.search(answered.content.decode()))

    def test_the_number_of_queries_of_a_list_does_not_grow_with_the_rows(self) -> None:
        counts: dict[int, list[int]] = {}
        for rows in (5, 95):
            make_lines(rows, self.alice)
            counts[rows] = []
            for model in LISTED:
                self.client.get(changelist(model))
                with CaptureQueriesContext(connection) as captured:
                    self.client.get(changelist(model))
                counts[rows].append(len(captured))
        self.assertEqual(counts[5], counts[95])
        self.assertLessEqual(max(counts[5]), 9)

    def test_no_list_reads_cards_figures_or_tracebacks(self) -> None:
        make_lines(2, self.alice)
        for model in LISTED:
            with CaptureQueriesContext(connection) as captured:
                self.client.get(changelist(model))
            for query in captured.captured_queries:
                for column in ('"card"', '"figures"', '"traceback"', '"manifest"'):
                    self.assertNotIn(column, query["sql"], model)

    def test_a_search_for_a_number_finds_the_job_and_its_model(self) -> None:
        make_lines(3, self.alice)
        job = TrainingJob.objects.all()[1]
        self.assertContains(self.client.get(changelist(TrainingJob), {"q": f"#{job.pk}"}), change(job))
        page = self.client.get(changelist(ModelVersion), {"q": str(job.pk)})
        self.assertContains(page, "1 model version")
        self.assertContains(page, change(job.models.get()))

    def test_job_model_report_and_promotion_link_to_each_other(self) -> None:
        make_lines(1, self.alice)
        job, model = TrainingJob.objects.get(), ModelVersion.objects.get()
        report, promotion = EvaluationReport.objects.get(), Promotion.objects.get()
        self.assertContains(self.client.get(change(job)), change(model))
        page = self.client.get(change(model))
        self.assertContains(page, change(job))
        for name, field in (
            ("training_evaluationreport", "model"),
            ("training_promotion", "promoted"),
            ("classifier_prediction", "model"),
        ):
            url = reverse(f"admin:{name}_changelist")
            self.assertContains(page, f"{url}?{field}__id__exact={model.pk}")
            self.assertEqual(self.client.get(url, {f"{field}__id__exact": model.pk}).status_code, 200)
        self.assertContains(self.client.get(change(report)), change(model))
        page = self.client.get(change(promotion))
        self.assertContains(page, change(report))
        self.assertContains(page, change(model))

    def test_a_silent_worker_is_told_from_a_living_one(self) -> None:
        now = timezone.now()
        Worker.objects.create(
            name="old@host", queues=["train"], started_at=now, seen_at=now.replace(year=2020)
        )
        self.assertContains(self.client.get(changelist(Worker)), "state-bad")

    def test_staff_without_permissions_sees_no_table(self) -> None:
        self.may()
        for model in (*LISTED, Schedule):
            self.assertEqual(self.client.get(changelist(model)).status_code, 403)


class History(TrainingAdminTestCase):
    def test_nobody_adds_changes_or_deletes_it(self) -> None:
        make_lines(1, self.alice)
        for model in (Promotion, EvaluationReport, Epoch, JobEvent, Worker, DatasetVersion):
            row = model._default_manager.all()[0]
            with self.subTest(model=model.__name__):
                self.assertEqual(self.client.get(f"{changelist(model)}add/").status_code, 403)
                self.assertEqual(self.client.post(change(row), {"reason": "x"}).status_code, 403)
                url = reverse(f"admin:training_{model._meta.model_name}_delete", args=[row.pk])
                self.assertEqual(self.client.post(url, {"post": "yes"}).status_code, 403)
                self.act("delete_selected", row, post="yes")
                self.assertTrue(model._default_manager.filter(pk=row.pk).exists())

    def test_of_a_model_only_the_notes_change(self) -> None:
        model = make_model("m")
        self.client.post(change(model), {"notes": "Good at night.", "name": "other", "sha256": "0" * 64})
        model.refresh_from_db()
        self.assertEqual((model.notes, model.name), ("Good at night.", "m"))
        url = reverse("admin:training_modelversion_delete", args=[model.pk])
        self.assertEqual(self.client.post(url, {"post": "yes"}).status_code, 403)
        self.assertEqual(self.client.get(f"{changelist(ModelVersion)}add/").status_code, 403)


class Promoting(TrainingAdminTestCase):
    def url(self, model: ModelVersion) -> str:
        return reverse("admin:training_modelversion_promote", args=[model.pk])

    def crown(self, model: ModelVersion) -> None:
        self.client.post(self.url(model), {"reason": "The first."})

    def champion(self) -> ModelVersion:
        return ModelVersion.objects.get(is_champion=True)

    def test_the_action_leads_to_a_page_that_shows_the_gate_and_asks_why(self) -> None:
        model = make_model("m", folder=self.folder)
        page = self.act("promote_selected", model)
        self.assertContains(page, "The gate has no objection")
        self.assertContains(page, 'name="reason"')
        self.assertFalse(ModelVersion.objects.filter(is_champion=True).exists())
        self.assertIsNone(INLINE.search(page.content.decode()))

    def test_it_takes_exactly_one_model(self) -> None:
        page = self.act("promote_selected", make_model("a"), make_model("b"))
        self.assertContains(page, "Choose exactly one model version.")

    def test_with_a_reason_the_model_goes_live_and_the_promotion_history_says_who(self) -> None:
        model = make_model("m", folder=self.folder)
        self.client.post(self.url(model), {"reason": "Better on dogs."})
        self.assertEqual(self.champion(), model)
        line = Promotion.objects.get()
        self.assertEqual((line.by, line.reason, line.overridden), (self.root, "Better on dogs.", False))

    def test_without_a_reason_nothing_happens(self) -> None:
        model = make_model("m", folder=self.folder)
        self.assertContains(self.client.post(self.url(model), {"reason": " "}), "This field is required")
        self.assertFalse(Promotion.objects.exists())

    def test_a_worse_model_is_refused_and_what_was_typed_stays(self) -> None:
        self.crown(make_model("good", folder=self.folder))
        worse = make_model("worse", wrong=60, folder=self.folder)
        page = self.client.post(self.url(worse), {"reason": "I like it."})
        self.assertContains(page, "may be less accurate than good by more than the margin", status_code=409)
        self.assertContains(page, "I like it.", status_code=409)
        self.assertEqual(self.champion().name, "good")

    def test_a_superuser_may_overrule_the_gate_and_other_staff_may_not(self) -> None:
        self.crown(make_model("good", folder=self.folder))
        worse = make_model("worse", wrong=60, folder=self.folder)
        data = {"reason": "For a test.", "override": "on"}
        self.may("view_modelversion", "change_modelversion")
        self.assertEqual(self.client.post(self.url(worse), data).status_code, 409)
        self.client.force_login(self.root)
        self.client.post(self.url(worse), data)
        self.assertEqual(self.champion(), worse)
        self.assertTrue(Promotion.objects.all()[0].overridden)

    def test_a_roll_back_brings_the_model_before_back(self) -> None:
        first, second = make_model("a", folder=self.folder), make_model("b", wrong=5, folder=self.folder)
        self.crown(first)
        self.crown(second)
        self.assertEqual(self.champion(), second)
        url = reverse("admin:training_modelversion_rollback")
        self.assertContains(self.client.get(changelist(ModelVersion)), url)
        self.client.post(url, {"reason": "It was slow."})
        self.assertEqual(self.champion(), first)

    def test_a_roll_back_with_nothing_before_is_refused(self) -> None:
        page = self.client.post(reverse("admin:training_modelversion_rollback"), {"reason": "Why not."})
        self.assertContains(page, "no earlier champion", status_code=409)

    def test_staff_who_may_only_look_promotes_nothing(self) -> None:
        model = make_model("m", folder=self.folder)
        self.may("view_modelversion")
        self.assertEqual(self.client.get(self.url(model)).status_code, 403)
        self.assertEqual(self.client.post(self.url(model), {"reason": "x"}).status_code, 403)
        url = reverse("admin:training_modelversion_rollback")
        self.assertEqual(self.client.post(url, {"reason": "x"}).status_code, 403)
        self.assertNotContains(self.client.get(changelist(ModelVersion)), url)

    def test_a_model_that_is_not_there_is_404(self) -> None:
        self.assertEqual(
            self.client.get(reverse("admin:training_modelversion_promote", args=[99])).status_code, 404
        )


class Jobs(TrainingAdminTestCase):
    add = "/admin/training/trainingjob/add/"

    def test_the_form_asks_for_a_run(self) -> None:
        page = self.client.get(self.add)
        self.assertContains(page, "fast_cnn")
        self.assertIsNone(INLINE.search(page.content.decode()))
        data = {"recipe": "seed_cnn", "parameters": '{"epochs": 2, "seed": 7}', "dataset": ""}
        self.assertEqual(self.client.post(self.add, data).status_code, 302)
        job = TrainingJob.objects.get()
        self.assertEqual((job.recipe, job.state, job.requested_by), ("seed_cnn", "queued", self.root))
        self.assertEqual((job.parameters["epochs"], job.parameters["seed"]), (2, 7))
        self.assertEqual(list(job.events.values_list("what", flat=True)), ["requested"])

    def test_what_is_left_out_takes_the_recipes_default(self) -> None:
        self.client.post(self.add, {"recipe": "fast_cnn", "parameters": "", "dataset": ""})
        self.assertIn("epochs", TrainingJob.objects.get().parameters)

    def test_a_wrong_parameter_is_said_beside_the_field(self) -> None:
        for text, sentence in (
            ('{"epochs": 0}', "epochs must lie between 1 and 1000"),
            ('{"wings": 2}', "has no parameter wings"),
            ("[1]", "Write names and numbers in braces"),
            ("{", "Enter a valid JSON"),
        ):
            with self.subTest(text=text):
                data = {"recipe": "fast_cnn", "parameters": text, "dataset": ""}
                self.assertContains(self.client.post(self.add, data), sentence)
        self.assertFalse(TrainingJob.objects.exists())

    def test_cancel_asks_first(self) -> None:
        job = make_job()
        page = self.act("cancel_selected", job)
        self.assertContains(page, "nothing of them is kept")
        self.assertIsNone(INLINE.search(page.content.decode()))
        job.refresh_from_db()
        self.assertEqual(job.state, "queued")
        self.act("cancel_selected", job, confirmed="yes")
        job.refresh_from_db()
        self.assertEqual(job.state, "cancelled")
        self.assertEqual(job.events.latest("id").by, self.root)

    def test_the_page_that_asks_sends_all_it_needs(self) -> None:
        job, other = make_job(), make_job()
        page = self.act("cancel_selected", job).content.decode()
        hidden = re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]+)"', page)
        data = {name: value for name, value in hidden if name != "csrfmiddlewaretoken"}
        self.client.post(changelist(TrainingJob), data)
        job.refresh_from_db()
        other.refresh_from_db()
        self.assertEqual((job.state, other.state), ("cancelled", "queued"))

    def test_stop_keeps_the_best_epoch_of_a_running_job(self) -> None:
        job = make_job(state="running", lease_expires_at=timezone.now() + timedelta(minutes=1))
        self.act("stop_selected", job, confirmed="yes")
        job.refresh_from_db()
        self.assertTrue(job.stop_requested)

    def test_a_job_in_the_wrong_state_is_said_and_the_others_go_on(self) -> None:
        over, waiting = make_job(state="succeeded"), make_job()
        page = self.act("cancel_selected", over, waiting, confirmed="yes")
        self.assertContains(page, "can no longer be cancelled")
        waiting.refresh_from_db()
        self.assertEqual(waiting.state, "cancelled")

    def test_resume_and_retry_queue_again(self) -> None:
        job = make_job(state="failed")
        self.assertContains(self.act("resume_selected", job), "no checkpoint to resume from")
        self.act("retry_selected", job)
        self.assertEqual(TrainingJob.objects.filter(state="queued").count(), 1)

    def test_a_job_is_neither_changed_nor_deleted(self) -> None:
        job = make_job()
        self.assertEqual(self.client.post(change(job), {"recipe": "seed_cnn"}).status_code, 403)
        url = reverse("admin:training_trainingjob_delete", args=[job.pk])
        self.assertEqual(self.client.post(url, {"post": "yes"}).status_code, 403)

    def test_staff_who_may_only_look_steers_nothing(self) -> None:
        job = make_job()
        self.may("view_trainingjob")
        self.assertEqual(self.client.get(change(job)).status_code, 200)
        self.act("cancel_selected", job, confirmed="yes")
        job.refresh_from_db()
        self.assertEqual(job.state, "queued")
        data = {"recipe": "fast_cnn", "parameters": "", "dataset": ""}
        self.assertEqual(self.client.post(self.add, data).status_code, 403)

    def test_a_traceback_is_text_and_never_markup(self) -> None:
        job = make_job(state="failed", traceback="<script>alert(1)</script>")
        self.assertContains(self.client.get(change(job)), "&lt;script&gt;alert(1)")


class TheSchedule(TrainingAdminTestCase):
    add = "/admin/training/schedule/add/"

    def test_a_project_has_one_and_its_recipe_and_parameters_are_checked(self) -> None:
        data = {
            "every_days": "7",
            "after_corrections": "0",
            "recipe": "fast_cnn",
            "parameters": '{"epochs": 0}',
        }
        self.assertContains(self.client.post(self.add, data), "must lie between")
        self.client.post(self.add, {**data, "parameters": '{"epochs": 5}'})
        self.assertEqual(Schedule.objects.get().parameters, {"epochs": 5})
        self.assertContains(self.client.post(self.add, data), "already exists")
        self.assertEqual(Schedule.objects.count(), 1)

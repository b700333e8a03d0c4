"""The pages of training, models and reports with several projects: shown, filtered, kept from others."""

from __future__ import annotations

import re
from typing import Any

from django.urls import reverse

from cifarsite.test import SiteTestCase
from training.data import project_versions
from training.jobs import lifecycle
from training.models import Epoch, EvaluationReport, ModelVersion, Project, Promotion, Schedule, TrainingJob
from training.models.jobs import SAME_MODEL
from training.registry import model_store
from training.tests.data.test_project_versions import make_project
from training.tests.test_api_training import make_model

ODD = '<b>Ł "x" & y|z'


def make_report(version: ModelVersion, predicted: str = "0101011001") -> EvaluationReport:
    """A report on ten images of the model's own classes."""
    names = version.classes
    truth = "01" * 5
    rows = [
        {"name": name, "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 5 if number < 2 else 0}
        for number, name in enumerate(names)
    ]
    matrix = [[0] * len(names) for _name in names]
    for right, said in zip(truth, predicted, strict=True):
        matrix[int(right)][int(said)] += 1
    bins = [{"low": 0.0, "high": 1.0, "n": 10, "confidence": 0.7, "accuracy": 0.7}]
    figures = {
        "n": 10,
        "accuracy": 0.7,
        "interval": [0.4, 0.9],
        "top2": 1.0,
        "log_loss": 0.5,
        "brier": 0.3,
        "ece": 0.1,
        "ece_before": 0.2,
        "reliability": bins,
        "reliability_before": bins,
        "truth": truth,
        "predicted": predicted,
        "confusion": matrix,
        "classes": rows,
    }
    return EvaluationReport.objects.create(
        model=version,
        dataset=model_store.test_set(version.project_id),
        dataset_sha256="7" * 64,
        n=10,
        accuracy=0.7,
        figures=figures,
    )


class ProjectPagesTestCase(SiteTestCase):
    trees: Project
    secret: Project

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.trees = make_project("trees", oak=6, birch=5)
        cls.secret = make_project("secret", a=5, b=5)
        Project.objects.filter(pk="secret").update(is_open=False)
        cls.secret.members.add(cls.bob)

    def setUp(self) -> None:
        self.client.force_login(self.charlie)

    def job(self, project: str, **fields: Any) -> TrainingJob:
        recipe = "fast_cnn" if project == "cifar10" else "transfer"
        return TrainingJob.objects.create(
            project_id=project, recipe=recipe, parameters={"epochs": 2}, **fields
        )

    def model(
        self, name: str, project: str = "trees", classes: Any = ("oak", ODD), **fields: Any
    ) -> ModelVersion:
        return make_model(name, project_id=project, classes=list(classes), recipe="transfer", **fields)

    def text(self, address: str) -> str:
        page = self.client.get(address)
        self.assertEqual(page.status_code, 200, address)
        return page.content.decode()


class JobPage(ProjectPagesTestCase):
    def test_fine_tuning_shows_its_epochs(self) -> None:
        job = self.job("trees", state="running", live={"phase": "finetune"}, step=3, steps=9)
        Epoch.objects.create(
            job=job,
            number=1,
            loss=0.5,
            accuracy=0.9,
            val_loss=0.6,
            val_accuracy=0.8,
            learning_rate=0.0001,
            seconds=2,
            images_per_second=40,
        )
        text = self.text(job.get_absolute_url())
        self.assertIn("1 of 2 epochs", text)
        self.assertIn("Epoch 2, step 3 of 9", text)
        self.assertIn(reverse("training:job-epochs", args=[job.pk]), text)

    def test_a_head_alone_has_no_epochs(self) -> None:
        job = self.job("trees", state="running", live={"phase": "features"}, step=3, steps=9)
        TrainingJob.objects.update(parameters={"epochs": 0})
        text = self.text(job.get_absolute_url())
        self.assertNotIn("epochs</span>", text)
        self.assertIn("Computing the features of the images: 3 of 9", text)
        self.assertNotIn(reverse("training:job-epochs", args=[job.pk]), text)

    def test_the_page_says_why_fine_tuning_was_left_out_and_whose_model_came_out(self) -> None:
        self.model("transfer-1")
        few = {"kept": False, "why": "few", "least": 30, "validation": 9, "test": 8}
        job = self.job("trees", state="succeeded", live={"phase": "report", "fine_tuning": few})
        lifecycle.note(job, SAME_MODEL, "transfer-1")
        text = self.text(job.get_absolute_url())
        self.assertIn("needs 30 validation images and 30 test images, and there are 9 and 8", text)
        self.assertIn("gave the same file as an earlier run", text)
        self.assertIn("transfer-1</a>", text)
        self.assertNotIn("The job made a model", text)
        self.assertNotIn('id="curves"', text)
        self.assertNotIn("0 / 2", self.text(reverse("training:jobs") + "?project=trees"))

    def test_the_model_page_says_what_came_of_fine_tuning(self) -> None:
        version = self.model("tuned-1")
        version.card["transfer"] = {"fine_tuning": {"kept": False, "why": "stopped"}}
        version.save()
        self.assertIn("stopped before its first epoch was over", self.text(version.get_absolute_url()))


class TrainingPage(ProjectPagesTestCase):
    page = reverse("training:jobs")

    def jobs(self, query: str = "") -> list[int]:
        return [
            int(n)
            for n in re.findall(r'scope="row"><a href="/training/(\d+)/"', self.text(self.page + query))
        ]

    def test_it_lists_all_jobs_and_those_of_a_project(self) -> None:
        first, second = self.job("cifar10"), self.job("trees")
        self.assertEqual(self.jobs(), [second.pk, first.pk])
        self.assertEqual(self.jobs("?project=trees"), [second.pk])
        self.assertEqual(self.jobs("?project=cifar10"), [first.pk])
        self.assertEqual(self.client.get(self.page + "?project=nothing").status_code, 404)

    def test_more_jobs_cost_no_more_queries(self) -> None:
        def queries(count: int) -> None:
            for _number in range(10):
                self.job("trees")
            with self.assertNumQueries(count):
                self.client.get(self.page + "?project=trees")

        self.client.get(self.page)
        queries(10)
        queries(10)

    def test_the_form_offers_the_recipes_of_the_project_and_makes_its_job(self) -> None:
        text = self.text(self.page + "?project=trees")
        self.assertIn('<option value="transfer" selected>', text)
        self.assertNotIn('<option value="fast_cnn"', text)
        self.assertNotIn('<option value="transfer"', self.text(self.page))
        version = project_versions.freeze("trees")
        data = {"project": "trees", "recipe": "transfer", "request_key": "k", "dataset": version.pk}
        data |= {"epochs": 0, "seed": 0}
        answer = self.client.post(self.page, data)
        job = TrainingJob.objects.get()
        self.assertRedirects(answer, job.get_absolute_url())
        self.assertEqual((job.project, job.dataset, job.recipe), (self.trees, version, "transfer"))

    def test_it_says_what_is_missing_before_there_is_a_job(self) -> None:
        make_project("few", oak=4, birch=9)
        text = self.text(self.page + "?project=few")
        self.assertIn("oak (4)", text)
        self.assertIn("disabled", text)
        data: dict[str, Any] = {"project": "few", "recipe": "transfer", "request_key": "k"}
        data |= {"epochs": 0, "seed": 0}
        self.assertContains(self.client.post(self.page, data, follow=True), "oak (4)")
        self.assertFalse(TrainingJob.objects.exists())

    def test_each_project_has_its_schedule(self) -> None:
        data = {"enabled": "on", "every_days": 3, "after_corrections": 0, "recipe": "transfer"}
        self.client.post(reverse("training:schedule"), {**data, "project": "trees"})
        self.client.post(reverse("training:schedule"), {**data, "recipe": "fast_cnn", "every_days": 5})
        days = dict(Schedule.objects.values_list("project", "every_days"))
        self.assertEqual(days, {"trees": 3, "cifar10": 5})
        self.client.post(reverse("training:schedule"), {**data, "project": "secret", "recipe": "fast_cnn"})
        self.assertFalse(Schedule.objects.filter(project="secret").exists())

    def test_a_job_shows_the_phase_that_it_is_in(self) -> None:
        live = {"phase": "features", "images_per_second": 20.0, "log": []}
        job = self.job("trees", state="running", step=1_200, steps=20_000, live=live)
        text = self.text(job.get_absolute_url())
        self.assertIn("Computing the features of the images: 1,200 of 20,000", " ".join(text.split()))
        self.assertIn('value="6.00"', text)
        self.assertIn("Stop, keep what there is", text)
        self.assertNotIn("epochs</span>", text)


class ModelPages(ProjectPagesTestCase):
    def test_models_are_listed_for_all_projects_and_for_one(self) -> None:
        make_model("cifar")
        self.model("oak-1")
        text = self.text("/models/")
        self.assertTrue("cifar" in text and "oak-1" in text)
        text = self.text("/models/?project=trees")
        self.assertIn("oak-1", text)
        self.assertNotIn(">cifar<", text)
        self.assertEqual(self.client.get("/models/?project=nothing").status_code, 404)

    def test_the_speed_is_that_of_the_report_on_the_set_that_it_was_made_on(self) -> None:
        report = make_report(self.model("oak-1"))
        report.figures["panels"] = {"speed": {"seconds": 0.25}}
        report.save()
        for number, name in enumerate(("trees, cross-validated", "trees test", "others")):
            EvaluationReport.objects.update(dataset=name)
            self.assertEqual("250" in self.text("/models/?project=trees"), number < 2, name)

    def test_more_models_cost_no_more_queries(self) -> None:
        counted = []
        for _round in range(2):
            for _number in range(8):
                made = self.model(
                    f"m{ModelVersion.objects.count()}", dataset=project_versions.freeze("trees")
                )
                make_report(made)
            self.client.get("/models/")
            with self.assertNumQueries(9) as queries:
                self.client.get("/models/?project=trees")
            counted.append(len(queries))
            self.assertFalse([q for q in queries.captured_queries if '"manifest"' in q["sql"]])

    def test_a_members_only_project_is_not_there_for_others(self) -> None:
        version = self.model("veiled", "secret", is_champion=True)
        make_report(version)
        shown = self.model("shown", "trees", is_champion=True)
        make_report(shown)
        Promotion.objects.create(action="promote", promoted=version, reason="A veiled reason.")
        pages = [
            version.get_absolute_url(),
            f"{version.get_absolute_url()}report/",
            f"/models/{version.pk}/curve.json",
        ]
        report = f"/models/{version.pk}/report/"
        pages += [
            report + part for part in ("images/", "images/0/", "report.json", "predictions.csv", "card.md")
        ]
        pages += ["/models/?project=secret", f"/models/{shown.pk}/compare/{version.pk}/"]
        for page in pages:
            self.client.force_login(self.alice)
            self.assertEqual(self.client.get(page).status_code, 404, page)
            self.client.force_login(self.bob)
            self.assertEqual(self.client.get(page).status_code, 200, page)
        self.client.force_login(self.alice)
        text = self.text("/models/")
        for word in ("veiled", "Secret", "A veiled reason."):
            self.assertNotIn(word, text)

    def test_a_roll_back_says_of_which_project(self) -> None:
        first, second = self.model("first"), self.model("second", is_champion=True)
        for version in (first, second):
            Promotion.objects.create(action="promote", promoted=version, reason="A try.")
        self.assertIn('name="project"', self.text("/models/?project=trees"))
        answer = self.client.post("/models/rollback/", {"reason": "Back.", "project": "secret"}, follow=True)
        self.assertContains(answer, "no earlier champion")
        self.assertEqual(model_store.champion("trees"), second)

    def test_any_number_of_classes_and_odd_names_are_shown_as_they_are(self) -> None:
        for count in (2, 3, 37, 100):
            classes = [ODD, *(f"class {number}" for number in range(count - 1))]
            version = self.model(f"of-{count}", classes=classes)
            make_report(version)
            address = version.get_absolute_url()
            escaped = "&lt;b&gt;Ł &quot;x&quot; &amp; y|z"
            for page in ("", "report/", "report/images/", "report/images/0/"):
                text = self.text(address + page)
                self.assertIn(escaped, text, (count, page))
                self.assertNotIn("<b>Ł", text, (count, page))
            card = self.text(address + "report/card.md")
            self.assertIn('| <b>Ł "x" & y\\|z |', card)
            csv = self.client.get(address + "report/predictions.csv").getvalue().decode()
            self.assertEqual(len(csv.splitlines()), 11)
            self.assertIn('"<b>Ł ""x"" & y|z"', csv)
            filtered = self.client.get(address + "report/images/", {"true": ODD, "outcome": "wrong"})
            self.assertEqual(filtered.context["page"].paginator.count, 1)

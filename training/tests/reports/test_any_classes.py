"""Reports of models with 2, 3, 37 and 100 classes: pages, charts, files, comparison."""

from __future__ import annotations

import csv
import io
from typing import Any
from xml.etree import ElementTree

import numpy as np
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from cifarsite.test import SiteTestCase
from training.engine.data.image_set import ImageSet
from training.engine.evaluation.report import measure
from training.engine.tests.evaluation.answering import Answering, answers
from training.evaluation import comparison, reports
from training.models import EvaluationReport, ModelVersion, Project
from training.reports import narrative
from training.reports.class_tables import folded_note, matrix, shown_classes
from training.reports.figures import CHART_NAMES, chart
from training.reports.page import parts_of
from training.reports.svg_charts import Chart
from training.reports.tables import comparison_context
from training.reports.trust import good_for, not_for, trust_context
from training.reports.verdict_facts import verdict_facts
from training.tests.test_api_training import make_model

N = 400
ODD = "<b>\"Ł\" & 'x'"
CURVE = {
    "judged_on": "cross-validation",
    "n": 90,
    "steps": [
        {"share": share, "images": int(72 * share), "accuracy": accuracy, "interval": [accuracy - 0.1, 0.99]}
        for share, accuracy in ((0.25, 0.7), (0.5, 0.8), (0.75, 0.85), (1.0, 0.9))
    ],
    "gain": {"difference": 0.1, "interval": [0.04, 0.16]},
    "helps": True,
    "classes": [{"name": ODD, "images": 12, "recall": 0.6, "n": 12}],
}
VERDICTS = {
    "coverage_goal": 0.95,
    "false_alarm_goal": 0.05,
    "test": {
        "n": 90,
        "counts": {"recognised": 80, "unsure": 6, "unknown": 4},
        "recognised_right": 0.95,
        "set_coverage": 0.96,
        "set_coverage_interval": [0.9, 0.98],
        "set_size": 1.1,
    },
    "made_up": {},
}
JUDGED = {"n": 90, "cross_validated": 80, "validation": 10}


def charts(report: EvaluationReport) -> dict[str, Chart]:
    """Every chart that the report has figures for, by name."""
    found = {name: chart(report, name) for name in CHART_NAMES}
    return {name: made for name, made in found.items() if made}


def named(classes: int) -> tuple[str, ...]:
    return (ODD, *(f"class {number}" for number in range(1, classes)))


@override_settings(REPORT_DISTORTED_IMAGES=0)
class AnyClassesTest(SiteTestCase):
    def setUp(self) -> None:
        self.project = Project.objects.create(slug="pets", name="Pets")
        self.client.force_login(self.charlie)

    def report(self, classes: int, name: str = "pets-1", seed: int = 0, **figures: Any) -> EvaluationReport:
        names = named(classes)
        logits, labels = answers(classes, N)
        logits = logits + np.random.default_rng(seed).normal(0, 1, logits.shape).astype(np.float32)
        sha256 = f"{classes:064x}"
        pictures = ImageSet("pets test", sha256, np.zeros((N, 8, 8, 3), np.uint8), labels, classes=names)
        features = np.random.default_rng(0).normal(0, 1, (N, 6)).astype(np.float32)
        measured = measure(
            Answering(names),
            pictures,
            "squash32-v1",
            distorted=0,
            outputs=(features, logits),
        )
        measured.figures.update(figures)
        version = make_model(name, project_id="pets", classes=list(names), recipe="transfer")
        return reports.keep(version, pictures, measured)

    def test_the_page_its_charts_and_files_hold_any_number_of_classes(self) -> None:
        for classes in (2, 3, 37, 100):
            with self.subTest(classes=classes):
                found = self.report(classes, f"pets-{classes}", measured_by="test", advice=CURVE)
                url = f"/models/{found.model_id}/report/"
                for part in parts_of(found):
                    self.assertEqual(self.client.get(f"{url}{part}/" if part else url).status_code, 200, part)
                page = self.client.get(f"{url}all/").content.decode()
                self.assertNotIn(ODD, page)
                self.assertIn(escape(ODD), page)
                self.assertNotIn("nimal", page)
                for name in charts(found):
                    answer = self.client.get(f"{url}figures/{name}.svg")
                    self.assertEqual(answer.status_code, 200, name)
                    ElementTree.fromstring(answer.content)
                for name in ("map", "confusion"):
                    ElementTree.fromstring(self.client.get(f"{url}figures/{name}.svg").content)
                text = self.client.get(f"{url}predictions.csv").getvalue().decode()
                rows = list(csv.DictReader(io.StringIO(text)))
                self.assertEqual(len(rows), N)
                self.assertEqual(sum(row["right"] == "1" for row in rows), round(found.accuracy * N))
                self.assertEqual(self.client.get(f"{url}card.md").status_code, 200)

    def test_above_twenty_classes_the_matrix_shows_the_most_confused_alone(self) -> None:
        for classes in (2, 3, 20):
            counts = reports.confusion(self.report(classes, f"pets-{classes}"))
            self.assertEqual(shown_classes(counts), list(range(classes)))
            self.assertEqual(folded_note(counts), "")
        hundred = np.zeros((100, 100), int)
        hundred[range(100), range(100)] = 30
        hundred[7, 80] = 9
        hundred[80, 7], hundred[3, 4] = 2, 1
        rows = matrix(hundred.tolist(), "count", named(100))
        self.assertEqual([row["true"] for row in rows], ["class 3", "class 4", "class 7", "class 80"])
        self.assertEqual([cell["count"] for cell in rows[2]["cells"]], [0, 0, 30, 9])
        self.assertIn(
            "the 4 that are confused most are shown: 12 of 12 mistakes", folded_note(hundred.tolist())
        )
        full = np.ones((37, 37), int)
        full[5, 6] = 50
        self.assertEqual(len(shown_classes(full.tolist())), 20)
        self.assertTrue({5, 6} <= set(shown_classes(full.tolist())))
        perfect = np.eye(37, dtype=int).tolist()
        self.assertEqual(matrix(perfect, "row", named(37)), [])
        self.assertIn("confuses none of the 37 classes", folded_note(perfect))

    def test_of_a_thousand_classes_the_matrix_follows_from_the_answers(self) -> None:
        found = self.report(1_000, "pets-1000")
        self.assertNotIn("confusion", found.figures)
        counts = np.array(reports.confusion(found))
        self.assertEqual(counts.shape, (1_000, 1_000))
        self.assertEqual(counts.trace(), round(found.accuracy * N))
        for part in ("", "all/"):
            self.assertEqual(self.client.get(f"/models/{found.model_id}/report/{part}").status_code, 200)

    def test_many_classes_have_curves_of_the_hardest_alone_and_say_so(self) -> None:
        roc = charts(self.report(37))["roc"]
        self.assertEqual(len(roc.rows), 10)
        self.assertIn("Of 37 classes, the 10 with the least average precision are shown.", roc.note)
        self.assertEqual(len(charts(self.report(3, "pets-2"))["roc"].rows), 3)

    def test_a_learning_curve_is_a_chart_and_sentences(self) -> None:
        found = self.report(3, advice=CURVE)
        drawn = charts(found)["learning_curve"]
        self.assertEqual([row.cells[0] for row in drawn.rows], ["18", "36", "54", "72"])
        self.assertIn("90 training images, cross-validated: each fit uses four fifths", drawn.measured_on)
        self.assertIn("at most 72", drawn.measured_on)
        self.assertEqual([entry["name"] for entry in drawn.legend], ["accuracy", "95\u00a0% interval"])
        page = self.client.get(f"/models/{found.model_id}/report/training/")
        self.assertContains(page, "<p>More images would probably help: from 36 to 72 training images")
        self.assertContains(page, "There are no training curves")
        self.assertEqual(len(CHART_NAMES), len(set(CHART_NAMES)))
        words = " ".join(narrative.sentences(found.figures, found.dataset))
        self.assertIn("More images would probably help: from 36 to 72 training images", words)
        self.assertIn("from 80.0\u00a0% to 90.0\u00a0%", words)
        self.assertIn(
            f"start with these classes: {ODD} (recall 60.0\u00a0%, n = 12; 12 training images)", words
        )
        little = {
            **CURVE,
            "helps": False,
            "gain": {"difference": 0.0, "interval": [-0.01, 0.01]},
            "classes": [],
        }
        words = " ".join(narrative.advice({"advice": little}))
        self.assertIn("would help little", words)
        self.assertNotIn("start with", words)
        few = {**little, "gain": {"difference": 0.03, "interval": [-0.05, 0.11]}}
        self.assertIn("cannot be told from so few", " ".join(narrative.advice({"advice": few})))
        self.assertNotIn("learning_curve", charts(self.report(3, "pets-2")))

    def test_figures_from_cross_validation_say_so(self) -> None:
        found = self.report(3, measured_by="cross-validation", judged_on=JUDGED, verdicts=VERDICTS)
        words = " ".join(narrative.sentences(found.figures, found.dataset))
        self.assertIn("Cross-validated over all 400 images", words)
        self.assertIn("fewer than 30 test images", words)
        self.assertIn("fitted to 90 images: 80 cross-validated, 10 for validation", words)
        self.assertIn(
            "contains the true label for 96.0\u00a0% (goal: 95\u00a0%; 95\u00a0% interval "
            "90.0\u00a0% to 98.0\u00a0%)",
            words,
        )
        self.assertIn("4.4\u00a0% are wrongly classified as none of these (goal: 5\u00a0%)", words)
        plain = " ".join(
            narrative.sentences(self.report(3, "pets-2", measured_by="test").figures, "pets test")
        )
        self.assertNotIn("Cross-validated", plain)
        self.assertNotIn("were fitted to", plain)

    def test_a_model_that_notices_few_synthetic_images_is_said_to(self) -> None:
        def words(texts: int, screens: int) -> str:
            strange = {"noise": 10, "text": texts, "plain": 10, "screen": screens}
            found = {kind: {"n": 10, "noticed": noticed} for kind, noticed in strange.items()}
            verdicts = {**VERDICTS, "made_up": found}
            return " ".join(narrative.thresholds({"judged_on": JUDGED, "verdicts": verdicts}))

        few = {"n": 8, "cross_validated": 6, "validation": 2}
        said = " ".join(narrative.thresholds({"judged_on": few, "verdicts": VERDICTS}))
        self.assertIn("no photo is recognised. Add training images: it takes 14", said)
        self.assertNotIn("no photo is recognised", words(10, 10))
        self.assertIn("of 40 synthetic images, 26 were classified as none of these", words(3, 3))
        self.assertIn("(Text: 3 / 10, Screenshots: 3 / 10)", words(3, 3))
        self.assertNotIn("synthetic", words(6, 6))

    def test_what_a_projects_model_is_for_says_nothing_of_cifar10(self) -> None:
        found = self.report(3)
        card = {"classes": list(named(3)), "judged_on": JUDGED, "verdicts": VERDICTS, "test": found.figures}
        uses = " ".join([*good_for(card, found.figures), *not_for(card, found.figures)])
        self.assertIn("Anything other than its 3 classes", uses)
        for word in ("CIFAR", "the ten", "32 × 32", "PHOTOS_DIR"):
            self.assertNotIn(word, uses)
        self.assertEqual(trust_context(card, found.figures)["gap_rows"], [])
        facts = verdict_facts(card)
        self.assertIn("95\u00a0% of 90 images of the classes", facts["unknown"][0])
        many = self.report(100, "pets-2").figures
        for row in many["classes"]:
            row["recall"] = 0.1
        self.assertEqual(sum("recall" in text for text in not_for(card, many)), 10)

    def test_the_page_on_verdicts_tells_of_a_projects_champion(self) -> None:
        for classes, examples in ((2, 2), (3, 3)):
            found = self.report(classes, f"pets-{classes}")
            card = {"classes": list(named(classes)), "judged_on": JUDGED, "verdicts": VERDICTS}
            ModelVersion.objects.filter(is_champion=True).update(is_champion=False)
            ModelVersion.objects.filter(pk=found.model_id).update(
                card={**card, "test": found.figures}, is_champion=True
            )
            with CaptureQueriesContext(connection) as queries:
                page = self.client.get("/verdicts/?project=pets")
            self.assertLessEqual(len(queries), 8)
            text = page.content.decode()
            self.assertIn(escape(ODD), text)
            self.assertEqual(text.count("of-1"), 2 * 3)  # a dot and a bar for each verdict
            self.assertEqual("of-2" in text, examples == 3)
            self.assertIn("95\u00a0% of 90 images of the classes", text)
            self.assertIn("None of these", text)
            main = text.partition("<main")[2].partition("</main>")[0]
            for word in ("CIFAR", "the ten", "of the ten"):
                self.assertNotIn(word, main.partition("</form>")[2])

    def test_others_do_not_see_what_a_closed_projects_verdicts_mean(self) -> None:
        Project.objects.filter(pk="pets").update(is_open=False)
        self.report(3)
        for user, status in ((None, 404), (self.alice, 404), (self.charlie, 200)):
            self.client.logout()
            if user:
                self.client.force_login(user)
            self.assertEqual(self.client.get("/verdicts/?project=pets").status_code, status)
            self.assertEqual(self.client.get("/verdicts/?project=cifar10").status_code, 200)

    def test_two_models_are_compared_class_by_class(self) -> None:
        for classes in (2, 37):
            new = self.report(classes, f"new-{classes}", seed=1)
            old = self.report(classes, f"old-{classes}", seed=2)
            compared = comparison.compare(new, old)
            self.assertEqual(len(compared["classes"]), classes)
            context = comparison_context(new, old, compared, has_images=False)
            self.assertEqual([row["class_name"] for row in context["classes"]], list(named(classes)))
            self.assertLessEqual(len(context["matrix"]), 20)
            page = self.client.get(f"/models/{new.model_id}/compare/{old.model_id}/")
            self.assertEqual(page.status_code, 200)

    def test_a_champion_with_fewer_classes_can_be_compared(self) -> None:
        new = self.report(3, "new")
        names, known = named(3), ("class 2", ODD, "old class")
        logits, labels = answers(3, N)
        pictures = ImageSet(
            "pets test", new.dataset_sha256, np.zeros((N, 8, 8, 3), np.uint8), labels, classes=names
        )
        measured = measure(
            Answering(known),
            pictures,
            "squash32-v1",
            distorted=0,
            outputs=(np.zeros((N, 2), np.float32), logits),
        )
        version = make_model("old", project_id="pets", classes=list(known), recipe="transfer")
        old = reports.keep(version, pictures, measured)
        compared = comparison.compare(new, old)
        self.assertEqual([row["name"] for row in compared["classes"]], [*names, "old class"])
        self.assertEqual(np.array(compared["matrix"]).shape, (4, 4))
        rows = comparison_context(new, old, compared, has_images=False)["classes"]
        self.assertEqual(rows[1]["old"], "0.00\u00a0%")
        self.assertEqual(ModelVersion.objects.filter(project="pets").count(), 2)

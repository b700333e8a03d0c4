"""A report to take away: JSON, CSV, SVG, Markdown."""

import csv
import io
from xml.etree import ElementTree

from cifarsite.core.spreadsheets import safe_cell
from training.models import EvaluationSet
from training.reports.figures import CHART_NAMES
from training.tests.evaluation.report_case import ReportTestCase


class Downloads(ReportTestCase):
    def test_json_holds_all_figures(self):
        answer = self.client.get(self.url("report.json"))
        self.assertIn("attachment", answer.headers["Content-Disposition"])
        found = answer.json()
        self.assertEqual(found["figures"]["confusion"], self.report.figures["confusion"])
        self.assertEqual(found["model"]["name"], "tiny-better")

    def read_csv(self) -> list[dict[str, str]]:
        answer = self.client.get(self.url("predictions.csv"))
        content = answer.getvalue().decode()
        return list(csv.DictReader(io.StringIO(content)))

    def test_csv_has_a_line_for_every_image(self):
        rows = self.read_csv()
        self.assertEqual(len(rows), 10_000)
        self.assertEqual(sum(int(row["right"]) for row in rows) / 10_000, self.report.accuracy)
        self.assertAlmostEqual(sum(float(rows[3][name]) for name in ("cat", "dog", "bird")), 0.5, delta=0.5)

    def test_a_file_name_cannot_become_a_formula(self):
        manifest = [{"file": "=cmd|'/c calc'!A1", "label": "cat"}] * 10_000
        EvaluationSet.objects.create(name="bad", sha256="c" * 64, n=10_000, manifest=manifest)
        self.assertTrue(self.read_csv()[0]["file"].startswith("'="))
        for start in "=+-@\t\r＝":
            self.assertEqual(safe_cell(f"{start}x"), f"'{start}x")
        self.assertEqual(safe_cell("cat/1.jpg"), "cat/1.jpg")

    def test_each_chart_is_an_svg_file_with_its_own_colours(self):
        # This model has no learning curve.
        for name in (*sorted({*CHART_NAMES} - {"learning_curve"}), "map", "confusion"):
            answer = self.client.get(self.url(f"figures/{name}.svg"))
            self.assertEqual(answer.headers["Content-Type"], "image/svg+xml")
            self.assertIn("attachment", answer.headers["Content-Disposition"])
            drawing = ElementTree.fromstring(answer.content)
            self.assertTrue(drawing.tag.endswith("svg"))
            self.assertIn(b"<style>", answer.content)
            self.assertIn("tiny-better ·", answer.content.decode())
        self.assertEqual(self.client.get(self.url("figures/nothing.svg")).status_code, 404)

    def test_the_model_card_says_what_it_is_and_what_it_is_not_for(self):
        text = self.client.get(self.url("card.md")).content.decode()
        self.assertTrue(text.startswith("# Model card: tiny-better"))
        self.assertIn(self.better.sha256, text)
        self.assertIn("Out-of-scope use", text)
        self.assertNotIn("&#x27;", text)

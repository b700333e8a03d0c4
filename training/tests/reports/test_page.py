"""The report page: everything on it, quickly, for everybody who is signed in."""

import re

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from training.evaluation import measuring
from training.models import EvaluationReport
from training.reports import narrative
from training.reports.page import ALL, PARTS
from training.tests.evaluation.report_case import ReportTestCase, make_version


class ReportPage(ReportTestCase):
    def test_each_page_of_a_report_of_10000_images_takes_300_kb_and_10_queries_at_most(self):
        for part in (*PARTS, ALL):
            with self.subTest(part), CaptureQueriesContext(connection) as queries:
                answer = self.client.get(self.url(f"{part}/" if part else ""))
                self.assertEqual(answer.status_code, 200)
                self.assertEqual(answer.context["report"].n, 10_000)
                self.assertLess(len(answer.content), 300_000)
                self.assertLessEqual(len(queries), 10)

    def test_every_panel_stands_on_its_page_and_on_the_page_of_everything(self):
        everything = self.client.get(self.url("all/")).content.decode()
        for part, wanted in {
            "": ("words", "confusion"),
            "classes/": ("classes", "chart-roc", "chart-pr"),
            "mistakes/": ("images",),
            "calibration/": ("confidence", "chart-sweep", "chart-reliability", "chart-histogram"),
            "unknown/": ("photos",),
            "robustness/": ("slices", "chart-robustness"),
            "training/": ("training", "chart-accuracy", "chart-loss"),
            "data/": ("data",),
            "compare/": ("take-away",),
        }.items():
            page = self.client.get(self.url(part)).content.decode()
            self.assertEqual(page.count('aria-current="page"'), 2, part)
            for anchor in wanted:
                self.assertEqual(page.count(f'id="{anchor}"'), 1, (part, anchor))
                self.assertEqual(everything.count(f'id="{anchor}"'), 1, anchor)
        for page in (everything, self.client.get(self.url("mistakes/")).content.decode()):
            self.assertIn("Most confident mistakes", page)
            self.assertIn("data-map", page)

    def test_the_summary_links_to_every_part_and_keeps_the_set_and_the_old_anchors(self):
        page = self.client.get(self.url()).content.decode()
        for part, one in PARTS.items():
            if part:
                self.assertIn(f'href="{self.url(part)}/?set={self.report.pk}"', page)
                for anchor in one.anchors:
                    self.assertEqual(page.count(f'id="{anchor}"'), 1, anchor)
        self.assertIn(f'href="{self.url("all")}/?set={self.report.pk}"', page)

    def test_a_part_that_does_not_exist_is_404_and_one_that_the_report_lacks_says_so(self):
        self.assertEqual(self.client.get(self.url("nonsense/")).status_code, 404)
        figures = {key: value for key, value in self.report.figures.items() if key != "panels"}
        EvaluationReport.objects.filter(pk=self.report.pk).update(figures=figures)
        self.assertContains(self.client.get(self.url("data/")), "no figures for this part")
        self.assertNotContains(self.client.get(self.url()), self.url("data/"))

    def test_behind_each_chart_stands_a_table_with_its_values(self):
        page = self.client.get(self.url("all/")).content.decode()
        figures = re.findall(r'<figure class="chart.*?</figure>', page, re.S)
        self.assertEqual(len(figures), 8)
        for figure in figures:
            self.assertGreater(len(re.findall(r"<tr[ >]", figure)), 2)

    def test_nothing_on_it_is_styled_or_scripted_inline(self):
        page = self.client.get(self.url("all/")).content.decode()
        self.assertNotIn(" style=", page)
        self.assertNotIn("<style", page)
        self.assertNotRegex(page, r"<script(?![^>]* src=)")

    def test_a_stranger_must_sign_in_and_an_ordinary_user_may_read(self):
        self.assertEqual(self.client.get(self.url()).status_code, 200)
        self.client.logout()
        for page in (
            "",
            "classes/",
            "all/",
            "images/",
            "images/3/",
            "sheet.png?i=1",
            "report.json",
            "predictions.csv",
            "card.md",
        ):
            answer = self.client.get(self.url(page))
            self.assertEqual(answer.status_code, 302, page)
            self.assertIn("/accounts/login/", answer.headers["Location"])

    def test_the_table_of_classes_is_sorted_by_its_links(self):
        for sort, falling in (("recall", False), ("-recall", True)):
            rows = self.client.get(self.url(f"classes/?sort={sort}")).context["classes"]
            values = [row["recall"] for row in rows]
            self.assertEqual(values, sorted(values, reverse=falling))

    def test_a_sort_that_does_not_exist_changes_nothing(self):
        answer = self.client.get(self.url("all/?sort=__class__&by=nonsense"))
        self.assertEqual([row["name"] for row in answer.context["classes"]][:2], ["airplane", "automobile"])

    def test_each_cell_of_the_matrix_opens_its_images(self):
        page = self.client.get(self.url()).content.decode()
        matrix = self.report.figures["confusion"]
        a, b = next((a, b) for a in range(10) for b in range(10) if a != b and matrix[a][b])
        names = [row["name"] for row in self.report.figures["classes"]]
        link = f"true={names[a]}&amp;predicted={names[b]}"
        self.assertIn(link, page)
        found = self.client.get(self.url(f"images/?{link.replace('&amp;', '&')}"))
        self.assertEqual(found.context["page"].paginator.count, matrix[a][b])

    def test_the_matrix_by_row_adds_up_to_100(self):
        rows = self.client.get(self.url("?by=row")).context["matrix"]
        for row in rows:
            self.assertAlmostEqual(sum(float(cell["text"] or 0) for cell in row["cells"]), 100, delta=0.6)

    def test_near_duplicates_between_training_and_test_are_found(self):
        data = self.client.get(self.url("data/")).context["data"]
        self.assertIn(7, data["duplicates"]["rows"])

    def test_an_older_report_shows_its_figures_and_says_how_to_get_the_rest(self):
        version = make_version("tiny-old", 1, self.models_dir)
        figures = {key: value for key, value in self.report.figures.items() if key != "panels"}
        EvaluationReport.objects.create(
            model=version,
            dataset="CIFAR-10 test",
            dataset_sha256="c" * 64,
            n=10_000,
            accuracy=0.5,
            figures=figures,
        )
        answer = self.client.get(self.url(version=version))
        self.assertContains(answer, "Ask an administrator to evaluate the model.")
        self.assertContains(answer, "Confusion matrix")
        images = self.client.get(self.url("images/", version))
        self.assertContains(images, "Ask an administrator to evaluate the model.")
        self.assertEqual(self.client.get(self.url("images/3/", version)).status_code, 200)
        self.assertEqual(self.client.get(self.url("figures/map.svg", version)).status_code, 404)
        self.assertEqual(self.client.get(self.url("predictions.csv", version)).status_code, 200)

    def test_a_model_without_a_report_says_how_to_make_one(self):
        version = make_version("tiny-new", 1, self.models_dir)
        page = self.client.get(self.url(version=version))
        self.assertContains(page, "Ask an administrator to evaluate the model.")

    def test_only_staff_read_of_commands_and_settings(self):
        bare = make_version("tiny-bare", 1, self.models_dir)
        figures = {key: value for key, value in self.report.figures.items() if key != "panels"}
        EvaluationReport.objects.create(
            model=bare,
            dataset="CIFAR-10 test",
            dataset_sha256="d" * 64,
            n=10_000,
            accuracy=0.5,
            figures=figures,
        )
        pages = [
            self.url(version=make_version("tiny-none", 3, self.models_dir)),
            self.url(version=bare),
            self.url("all/", bare),
            self.url("unknown/"),
            self.url("images/", bare),
            f"/models/{self.better.pk}/compare/{bare.pk}/",
        ]
        for page in pages:
            self.client.force_login(self.alice)
            answer = self.client.get(page)
            self.assertContains(answer, "Ask an administrator to evaluate")
            self.assertNotContains(answer, "manage.py")
            self.assertNotContains(answer, "_DIR")
            self.client.force_login(self.charlie)
            answer = self.client.get(page)
            self.assertContains(answer, "manage.py evaluate")
            self.assertNotContains(answer, "Ask an administrator")

    def test_files_that_are_gone_do_not_break_the_page(self):
        figures = {
            **self.report.figures,
            "panels": {**self.report.figures["panels"], "answers": "reports/x.npz"},
        }
        EvaluationReport.objects.filter(pk=self.report.pk).update(figures=figures)
        for page in (
            "",
            "all/",
            "mistakes/",
            "images/",
            "images/3/",
            "images/?order=most",
            "predictions.csv",
        ):
            self.assertEqual(self.client.get(self.url(page)).status_code, 200, page)

    def test_addresses_that_make_no_sense_are_404(self):
        for page in (
            "?set=x",
            "?set=99999",
            "?set=" + "9" * 40,
            "images/10000/",
            "sheet.png",
            "sheet.png?i=x",
        ):
            self.assertEqual(self.client.get(self.url(page)).status_code, 404, page)
        self.assertEqual(self.client.get(self.url("sheet.png?i=10000")).status_code, 404)
        many = ",".join(["1"] * 500)
        self.assertEqual(self.client.get(self.url(f"sheet.png?i={many}")).status_code, 404)
        self.assertEqual(self.client.get("/models/999999/report/").status_code, 404)

    def test_the_words_name_best_and_worst_class_and_confusions(self):
        text = " ".join(narrative.sentences(self.report.figures, self.report.dataset))
        rows = self.report.figures["classes"]
        best, worst = (pick(rows, key=lambda row: row["recall"]) for pick in (max, min))
        self.assertIn(f"Best class: {best['name']}", text)
        self.assertIn(f"Hardest class: {worst['name']}", text)
        self.assertIn("distinguishes animals from vehicles", text)
        pairs = narrative.common_confusions(self.report.figures["confusion"])
        self.assertTrue(0 < len(pairs) <= 3)
        together = [there + back for _, _, there, back in pairs]
        self.assertEqual(together, sorted(together, reverse=True))

    def test_what_changed_against_the_champion_is_said(self):
        page = self.client.get(self.url(version=self.worse))
        self.assertContains(page, "Against tiny-better")
        self.assertNotContains(self.client.get(self.url()), "Against tiny-better")

    def test_figures_follow_the_language_but_places_in_drawings_do_not(self):
        with translation.override("vi"):
            self.client.cookies["django_language"] = "vi"
            page = self.client.get(self.url("all/"), headers={"accept-language": "vi"}).content.decode()
        self.assertIn('lang="vi"', page)
        self.assertNotRegex(page, r'(?:x|y|cx|cy|width|height)="\d+,\d')
        self.assertNotRegex(page, r'd="M\d+,\d')

    def test_a_new_evaluation_replaces_the_report_and_keeps_its_row(self):
        again = measuring.evaluate_on_cifar10(self.better, self.cifar)
        self.assertEqual(again.pk, self.report.pk)
        self.assertEqual(again.figures["predicted"], self.report.figures["predicted"])

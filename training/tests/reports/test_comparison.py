"""Two versions side by side: differences, McNemar's p, fixed and regressed images."""

from training.evaluation import comparison
from training.models import EvaluationReport
from training.tests.evaluation.report_case import ReportTestCase, make_version


class Comparison(ReportTestCase):
    def compare_url(self) -> str:
        return f"/models/{self.better.pk}/compare/{self.worse.pk}/"

    def test_repaired_and_broken_add_up_to_the_difference(self):
        found = comparison.compare(self.report, self.other)
        truth = self.report.figures["truth"]
        mine, theirs = self.report.figures["predicted"], self.other.figures["predicted"]
        fixed = sum(m == t != o for t, m, o in zip(truth, mine, theirs, strict=True))
        self.assertEqual(found["fixed"], fixed)
        self.assertAlmostEqual(
            (found["fixed"] - found["regressed"]) / 10_000, self.report.accuracy - self.other.accuracy
        )
        parts = ("fixed", "regressed", "both_right", "both_wrong")
        self.assertEqual(sum(found[part] for part in parts), 10_000)
        low, high = found["accuracy"]["interval"]
        self.assertTrue(low < found["accuracy"]["difference"] < high)
        self.assertLess(found["p"], 0.001)

    def test_the_other_way_round_has_the_opposite_signs(self):
        there, back = comparison.compare(self.report, self.other), comparison.compare(self.other, self.report)
        self.assertAlmostEqual(there["accuracy"]["difference"], -back["accuracy"]["difference"])
        self.assertEqual(there["matrix"], [[-cell for cell in line] for line in back["matrix"]])
        self.assertEqual(there["p"], back["p"])

    def test_rows_of_the_matrix_of_differences_add_up_to_nothing(self):
        for line in comparison.compare(self.report, self.other)["matrix"]:
            self.assertEqual(sum(line), 0)

    def test_the_page_shows_both_and_their_images(self):
        page = self.client.get(self.compare_url())
        for text in ("tiny-better", "tiny-worse", "McNemar", "Fixed", "Regressed", "Matrix of differences"):
            self.assertContains(page, text)
        self.assertLess(len(page.content), 300_000)

    def measured_on(self, *sets: dict[str, str] | None) -> None:
        for version, photo_set, accuracy in zip((self.better, self.worse), sets, (0.9, 0.85), strict=True):
            photos = {"accuracy": accuracy, "interval": [0.8, 0.95], "n_ten": 60, "n_other": 9}
            version.card["photos"] = {**photos, **({"set": photo_set} if photo_set else {})}
            version.save()

    def test_photos_are_compared_only_where_the_set_is_the_same(self):
        one, other = ({"name": "ours", "sha256": letter * 64} for letter in "ab")
        differ = "The two were measured on different photos"
        for sets, are_same in (((one, one), True), ((one, other), False), ((one, None), False)):
            self.measured_on(*sets)
            page = self.client.get(self.compare_url())
            self.assertContains(page, "ours aaaaaaaa")
            listed = self.client.get("/models/")
            self.assertContains(listed, "ours aaaaaaaa")
            if are_same:
                self.assertContains(page, "Difference on the same photos: +5.0 percentage points")
                self.assertNotContains(page, differ)
                self.assertNotContains(listed, "the sets differ, or are not recorded")
            else:
                self.assertNotContains(page, "percentage points.</p>")
                self.assertContains(page, differ)
                self.assertContains(listed, "the sets differ, or are not recorded")
        self.assertContains(page, "set not recorded")

    def test_all_repaired_images_can_be_browsed(self):
        found = self.client.get(self.url(f"images/?against={self.worse.pk}&change=fixed"))
        self.assertEqual(
            found.context["page"].paginator.count, comparison.compare(self.report, self.other)["fixed"]
        )

    def test_other_images_are_not_compared(self):
        version = make_version("tiny-elsewhere", 1, self.models_dir)
        figures = {**self.report.figures, "truth": "0" * 10_000}
        fields = {"dataset": "CIFAR-10 test", "n": 10_000, "accuracy": 0.5}
        EvaluationReport.objects.create(model=version, dataset_sha256="d" * 64, figures=figures, **fields)
        page = self.client.get(f"/models/{self.better.pk}/compare/{version.pk}/")
        self.assertContains(page, "Not measured on the same images")
        with self.assertRaises(comparison.NotComparable):
            comparison.compare(self.report, version.reports.get())

    def test_a_version_against_itself_is_refused_in_words(self):
        page = self.client.get(f"/models/{self.better.pk}/compare/{self.better.pk}/")
        self.assertContains(page, "the same version twice")

    def test_the_form_leads_to_the_comparison(self):
        answer = self.client.get(f"/models/{self.better.pk}/compare/?with={self.worse.pk}")
        self.assertRedirects(answer, self.compare_url(), fetch_redirect_response=False)
        answer = self.client.get(f"/models/{self.better.pk}/compare/?with=x")
        self.assertRedirects(answer, self.url(), fetch_redirect_response=False)

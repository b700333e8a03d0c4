"""Browse the images of a set; one sheet a page, one page an image."""

import io

import numpy as np
from PIL import Image

from training.tests.evaluation.report_case import ReportTestCase


class ReportImages(ReportTestCase):
    def rows(self, query: str) -> list[int]:
        found: list[int] = self.client.get(self.url(f"images/?{query}")).context["page"].paginator.object_list
        return found

    def test_filters_leave_exactly_what_they_say(self):
        truth, said = self.report.figures["truth"], self.report.figures["predicted"]
        every = range(10_000)
        self.assertEqual(self.rows("outcome=wrong"), [i for i in every if truth[i] != said[i]])
        cats = [i for i in every if truth[i] == said[i] == "3"]
        self.assertEqual(self.rows("true=cat&outcome=right"), cats)
        self.assertEqual(self.rows("predicted=ship"), [i for i in every if said[i] == "8"])

    def test_confidence_bounds_and_order_hold(self):
        rows = self.rows("low=20&high=90&order=most")
        pages = self.client.get(self.url("images/?low=20&high=90&order=most"))
        shown = [float(tile.confidence.split()[0]) for tile in pages.context["tiles"].items]
        self.assertEqual(shown, sorted(shown, reverse=True))
        self.assertTrue(all(20 <= value <= 90.1 for value in shown))
        self.assertEqual(sorted(rows), sorted(self.rows("low=20&high=90&order=least")))

    def test_a_filter_that_makes_no_sense_is_said_and_shows_all(self):
        answer = self.client.get(self.url("images/?true=unicorn&low=abc"))
        self.assertEqual(answer.context["page"].paginator.count, 10_000)
        self.assertContains(answer, "field-errors")

    def test_a_page_beyond_the_last_is_the_last(self):
        answer = self.client.get(self.url("images/?page=99999"))
        self.assertEqual(answer.context["page"].number, 100)
        self.assertEqual(len(answer.context["tiles"].items), 100)

    def test_a_sheet_holds_the_images_to_the_pixel(self):
        answer = self.client.get(self.url("sheet.png?i=5,9999,12"))
        self.assertEqual(answer.headers["Content-Type"], "image/png")
        self.assertNotIn("immutable", answer.headers["Cache-Control"])
        self.assertIn("private", answer.headers["Cache-Control"])
        pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
        for place, row in enumerate((5, 9999, 12)):
            tile = pixels[:32, 32 * place : 32 * place + 32]
            np.testing.assert_array_equal(tile, self.cifar.x_test[row])

    def test_a_page_of_images_asks_for_one_sheet(self):
        page = self.client.get(self.url("images/?true=cat")).content.decode()
        self.assertEqual(page.count("sheet.png"), 1)

    def test_an_image_shows_ten_probabilities_and_its_neighbours_under_the_filter(self):
        rows = self.rows("outcome=wrong")
        answer = self.client.get(self.url(f"images/{rows[1]}/?outcome=wrong"))
        self.assertEqual(len(answer.context["ranked"]), 10)
        self.assertAlmostEqual(sum(chance for _, chance in answer.context["ranked"]), 1, delta=0.01)
        self.assertEqual((answer.context["before"], answer.context["after"]), (rows[0], rows[2]))

    def test_points_of_the_map_come_in_the_order_of_the_images(self):
        data = self.client.get(self.url("points.json")).json()
        self.assertEqual(len(data["points"]), 10_000)
        self.assertEqual(data["truth"], self.report.figures["truth"])
        self.assertTrue(all(-1 <= x <= 1 and -1 <= y <= 1 for x, y in data["points"]))

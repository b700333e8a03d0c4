from datetime import timedelta

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cifarsite.test import SiteTestCase, answer
from classifier.models import Photo, Prediction
from training.models import Project


class HistoryPageTests(SiteTestCase):
    def setUp(self) -> None:
        self.client.force_login(self.alice)

    def many(self, count: int) -> None:
        """Rows that share one photo's files."""
        first = self.upload()
        made = answer(first)
        start = timezone.now()
        for number in range(count - 1):
            photo = Photo.objects.create(
                owner=self.alice, filename=f"{number}.jpg", display=first.display, thumbnail=first.thumbnail,
                width=1, height=1, size=1, pixel_sha256=first.pixel_sha256,
            )  # fmt: skip
            made.pk, made.photo, made.photo_created_at = None, photo, start - timedelta(minutes=number + 1)
            made._state.adding = True
            made.save()

    def test_an_empty_history_tells_what_to_do(self) -> None:
        response = self.client.get("/history/")
        self.assertContains(response, "No photos yet")
        self.assertNotContains(response, "filter-form")

    def test_filters_that_match_nothing_can_be_cleared(self) -> None:
        self.upload()
        response = self.client.get("/history/?label=ship")
        self.assertContains(response, "Nothing matches these filters")
        self.assertContains(response, "Clear the filters")

    def test_it_shows_only_ones_own(self) -> None:
        mine, other = self.upload(), self.upload(self.bob)
        response = self.client.get("/history/")
        self.assertContains(response, f"/photos/{mine.pk}/")
        self.assertNotContains(response, f"/photos/{other.pk}/")

    def test_it_filters_by_label_status_verdict_name_and_day(self) -> None:
        cat, waiting = self.upload(name="tom.jpg"), self.upload(name="later.jpg")
        answer(cat)
        today, tomorrow = timezone.now().date(), timezone.now().date() + timedelta(days=1)
        for query, shown in (
            ("label=cat", {cat}),
            ("status=queued", {waiting}),
            ("verdict=recognised", {cat}),
            ("search=TOM", {cat}),
            (f"date_from={today}&date_to={today}", {cat, waiting}),
            (f"date_from={tomorrow}", set()),
        ):
            with self.subTest(query):
                items = self.client.get(f"/history/?{query}").context["page"].items
                self.assertEqual({item.photo for item in items}, shown)

    def test_photos_of_another_project_than_cifar10_name_it_with_no_query_more(self) -> None:
        self.many(3)
        with CaptureQueriesContext(connection) as plain:
            self.assertNotContains(self.client.get("/history/"), "tile-project")
        Project.objects.create(slug="pets", name="Pets & boats")
        Prediction.objects.update(project="pets")
        with self.assertNumQueries(len(plain)):
            page = self.client.get("/history/?")
        self.assertContains(page, '<span class="tile-project">Pets &amp; boats</span>', 3)

    def test_a_wrong_day_is_said_beside_the_field_and_kept(self) -> None:
        self.upload()
        response = self.client.get("/history/?date_from=2026-02-03&date_to=2026-02-01&search=abc")
        self.assertContains(response, "The last day is before the first day.")
        self.assertContains(response, 'value="abc"')

    def test_pages_lead_on_and_back_and_keep_the_filters(self) -> None:
        self.many(60)
        seen, url = [], "/history/?label=cat"
        while url:
            page = self.client.get(url)
            seen += [item.photo_id for item in page.context["page"].items]
            cursor = page.context["page"].next_cursor
            url = cursor and f"/history/?label=cat&cursor={cursor}"
            self.assertContains(page, "label=cat&amp;cursor=")
        self.assertEqual(len(seen), 60)
        self.assertEqual(len(set(seen)), 60)

    def test_a_damaged_link_shows_the_first_page(self) -> None:
        self.upload()
        response = self.client.get("/history/?cursor=%F0%9F%98%80")
        self.assertContains(response, "The link is damaged")
        self.assertEqual(len(response.context["page"].items), 1)

    def test_the_number_of_queries_does_not_grow(self) -> None:
        self.upload()
        with self.assertNumQueries(9):
            self.client.get("/history/")
        self.many(100)
        with self.assertNumQueries(9):
            self.client.get("/history/")

    def test_many_are_deleted_and_brought_back(self) -> None:
        photos = [self.upload() for _ in range(3)]
        ids = [str(photo.pk) for photo in photos[:2]]
        page = self.client.post(
            "/history/delete/", {"ids": [*ids, "not-an-id"], "next": "/history/?label="}, follow=True
        )
        self.assertContains(page, "2 photos were deleted.")
        self.assertEqual(len(page.context["page"].items), 1)
        page = self.client.post("/history/restore/", {"ids": ids}, follow=True)
        self.assertEqual(len(page.context["page"].items), 3)

    def test_ids_of_another_person_are_left_alone(self) -> None:
        theirs = self.upload(self.bob)
        self.client.post("/history/delete/", {"ids": theirs.pk})
        theirs.refresh_from_db()
        self.assertIsNone(theirs.deleted_at)

    def test_it_never_leads_to_another_site(self) -> None:
        response = self.client.post("/history/delete/", {"next": "https://example.com/"})
        self.assertRedirects(response, "/history/")

    def test_a_waiting_photo_is_shown_as_waiting(self) -> None:
        self.upload()
        self.assertContains(self.client.get("/history/"), Prediction.Status.QUEUED.label)

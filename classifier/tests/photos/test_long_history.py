"""A long history: orders, names, days, all that match at once, taking it home."""

import csv
import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from django.urls import reverse
from django.utils import timezone

from cifarsite.core.keyset import BadCursor
from cifarsite.test import SiteTestCase, answer
from classifier.feedback.corrections import NotTheOwner, correct, take_back
from classifier.models import DayCount, Photo, Prediction, User
from classifier.photos import daily_counts, history, search


class HistoryTestCase(SiteTestCase):
    def setUp(self) -> None:
        self.client.force_login(self.alice)

    def photo(self, name: str = "photo.jpg", owner: User | None = None, days: int = 0, **given: Any) -> Photo:
        """An answered photo of ``days`` ago."""
        photo = self.upload(owner, name=name)
        answer(photo, **given)
        if days:
            at = photo.created_at - timedelta(days=days)
            Photo.objects.filter(pk=photo.pk).update(created_at=at)
            Prediction.objects.filter(photo=photo).update(photo_created_at=at)
            daily_counts.mark([(photo.owner_id, photo.project_id, day) for day in (at, photo.created_at)])
            photo.refresh_from_db()
        return photo

    def shown(self, query: str) -> list[Photo]:
        page = self.client.get(f"/history/?{query}").context["page"]
        return [item.photo for item in page.items]

    def content(self, response: Any) -> bytes:
        found: bytes = response.getvalue()
        return found


class Orders(HistoryTestCase):
    def test_each_order_pages_on_and_back_without_gap_or_double(self) -> None:
        for number in range(7):
            self.photo(confidence=0.5 + number // 2 / 10)  # some are equal
        waiting = self.upload()
        for sort, field, descending, count in (
            ("", "created_at", True, 8),
            ("oldest", "created_at", False, 8),
            ("surest", "confidence", True, 7),
            ("least_sure", "confidence", False, 7),
        ):
            with self.subTest(sort), mock.patch.object(history, "PAGE_SIZE", 3):
                rows = history.history(self.alice, sort=sort)
                pages, cursor = [], ""
                while True:
                    shown = history.page(rows, cursor, 3, sort)
                    pages.append(shown.items)
                    if not shown.next_cursor:
                        break
                    cursor = shown.next_cursor
                found = [item for items in pages for item in items]
                self.assertEqual(len({item.pk for item in found}), count)
                keys = [item.confidence if field == "confidence" else item.photo_created_at for item in found]
                self.assertEqual(keys, sorted(keys, reverse=descending))
                back = history.page(rows, shown.previous_cursor, 3, sort)
                self.assertEqual(back.items, pages[-2])
                if field == "confidence":
                    self.assertNotIn(waiting, [item.photo for item in found])

    def test_a_few_days_or_names_keep_the_order_and_its_pages(self) -> None:
        for number in range(5):
            self.photo(f"beach {number}.jpg", confidence=0.5 + number // 2 / 10)
        today = timezone.now().astimezone(UTC).date()
        for sort in history.ORDERS:
            for given in ({"search": "beach"}, {"date_from": today}, {"search": "beach", "date_to": today}):
                with self.subTest(sort=sort, **given):
                    rows = history.history(self.alice, sort=sort, **given)
                    first = history.page(rows, "", 2, sort)
                    second = history.page(rows, first.next_cursor, 2, sort)
                    plain = list(history.history(self.alice, sort=sort)[:4])
                    self.assertEqual(first.items + second.items, plain)
                    self.assertEqual(history.page(rows, second.previous_cursor, 2, sort).items, first.items)

    def test_a_link_of_one_order_is_none_of_another(self) -> None:
        for _n in range(3):
            self.photo()
        rows = history.history(self.alice, sort="surest")
        cursor = history.page(rows, "", 1, "surest").next_cursor
        for sort in ("", "oldest"):
            with self.assertRaises(BadCursor):
                history.page(history.history(self.alice, sort=sort), cursor, 1, sort)
        response = self.client.get(f"/history/?cursor={cursor}")
        self.assertContains(response, "The link is damaged")

    def test_an_order_alone_is_no_filter(self) -> None:
        response = self.client.get("/history/?sort=surest")
        self.assertContains(response, "No photos yet")
        self.photo()
        self.assertEqual(len(self.shown("sort=surest")), 1)
        self.assertEqual(len(self.shown("sort=nonsense")), 1)


class WhatTheOwnerSaid(HistoryTestCase):
    def test_it_filters_by_what_was_said(self) -> None:
        photos = {says: self.photo(label="cat") for says in ("agrees", "differs", "not_sure", "none")}
        correct(photos["agrees"], self.alice, "cat")
        correct(photos["differs"], self.alice, "dog")
        correct(photos["not_sure"], self.alice, "not_sure")
        for says, photo in photos.items():
            self.assertEqual(self.shown(f"correction={says}"), [photo])

    def test_a_later_answer_moves_it_and_taking_it_back_removes_it(self) -> None:
        photo = self.photo(label="cat")
        correct(photo, self.alice, "dog")
        correct(photo, self.alice, "cat")
        self.assertEqual((self.shown("correction=differs"), self.shown("correction=agrees")), ([], [photo]))
        take_back(photo, self.alice)
        self.assertEqual(self.shown("correction=none"), [photo])

    def test_what_a_reviewer_says_is_not_the_owners_word(self) -> None:
        photo = self.photo(label="cat")
        with self.assertRaises(NotTheOwner):
            correct(photo, self.charlie, "dog")
        self.assertEqual(self.shown("correction=none"), [photo])


class Names(HistoryTestCase):
    def test_words_are_what_people_look_for(self) -> None:
        for name, words in (
            ("IMG_2024-beach.JPG", ["img", "2024", "beach", "jpg"]),
            ("DSC01234.jpg", ["dsc01234", "01234", "jpg"]),
            ("Ảnh Mèo.heic", ["ảnh", "mèo", "heic"]),
            ("猫の写真.png", ["猫の写真", "png"]),
            ("___", []),
        ):
            with self.subTest(name):
                self.assertEqual(search.words_of(name), words)

    def test_names_are_found_by_the_beginnings_of_their_words(self) -> None:
        beach = self.photo("IMG_2024 Beach.jpg")
        cat = self.photo("mèo-2024.jpg")
        self.photo("beach.jpg", owner=self.bob)
        for text, found in (
            ("beach", {beach}),
            ("BEA", {beach}),
            ("2024", {beach, cat}),
            ("bea 20", {beach}),
            ("img_2024 beach.jpg", {beach}),
            ("MÈO", {cat}),
            ("each", set()),
            ("beach mèo", set()),
            ("%", set()),
        ):
            for few in (2_000, 0):  # through the words, and along the history
                with self.subTest(text=text, few=few), mock.patch.object(search, "FEW", few):
                    rows = history.history(self.alice, search=text)
                    self.assertEqual({row.photo for row in rows}, found)


class Days(HistoryTestCase):
    def counts(self) -> dict[int, int]:
        today = timezone.now().astimezone(UTC).date()
        return {n.day: c for n, c in daily_counts.of_month(self.alice, today.year, today.month)[0].items()}

    def test_a_day_follows_uploads_answers_deletion_and_undo(self) -> None:
        today = timezone.now().astimezone(UTC).day
        first, second = self.photo(label="cat"), self.photo(label="dog")
        self.photo(owner=self.bob)
        self.assertEqual(self.counts(), {today: 2})
        self.assertEqual(daily_counts.by_class(self.alice), {"cifar10": {"cat": 1, "dog": 1}})
        history.delete_photos(self.alice, [first.pk])
        self.assertEqual((self.counts(), daily_counts.photos(self.alice)), ({today: 1}, 1))
        self.assertEqual(daily_counts.by_class(self.alice), {"cifar10": {"dog": 1}})
        history.restore_photos(self.alice, [first.pk])
        history.delete_photos(self.alice, [second.pk])
        self.assertEqual(daily_counts.by_class(self.alice), {"cifar10": {"cat": 1}})

    def test_what_did_not_change_is_not_counted_again(self) -> None:
        self.photo()
        self.counts()
        with mock.patch.object(daily_counts, "_count") as count:
            self.counts()
        count.assert_not_called()

    def test_a_change_while_a_day_is_counted_is_counted_later(self) -> None:
        self.photo()
        row = DayCount.objects.get()
        daily_counts.mark([(self.alice.pk, "cifar10", timezone.now())])
        daily_counts._count(row)
        self.assertEqual(daily_counts.recount(), 1)
        self.assertEqual(daily_counts.recount(), 0)

    def test_the_quota_is_exact_though_photos_are_rarely_counted(self) -> None:
        for _n in range(3):
            self.photo()
        self.assertEqual(daily_counts.room(self.alice, 5, 9), 2)
        with self.assertNumQueries(1):
            self.assertEqual(daily_counts.room(self.alice, 1_000, 9), 9)
        self.assertEqual(daily_counts.room(self.alice, 3), 0)
        history.delete_photos(self.alice, [Photo.objects.filter(owner=self.alice)[0].pk])
        self.assertEqual(daily_counts.room(self.alice, 3), 1)

    def test_the_calendar_links_each_day_to_its_photos(self) -> None:
        photo = self.photo(days=40)
        self.photo()
        day = photo.created_at.astimezone(UTC).date()
        url = reverse("classifier:calendar")
        page = self.client.get(f"{url}?month={day:%Y-%m}")
        link = f"/history/?date_from={day}&amp;date_to={day}"
        self.assertContains(page, link)
        self.assertContains(page, "1 photo")
        self.assertEqual(self.shown(link.partition("?")[2].replace("&amp;", "&")), [photo])
        newest = self.client.get(url)
        self.assertContains(newest, 'rel="prev"')
        self.assertNotContains(newest, 'rel="next"')

    def test_the_calendar_takes_any_month(self) -> None:
        url = reverse("classifier:calendar")
        for month in ("", "x", "2026-13", "0001-01", "9999-12", "2024-02", "2026-2"):
            self.assertEqual(self.client.get(url, {"month": month}).status_code, 200)

    def test_the_calendar_asks_a_fixed_number_of_questions(self) -> None:
        for number in range(3):
            self.photo(days=number)
        url = reverse("classifier:calendar")
        self.client.get(url)
        with self.assertNumQueries(7):
            self.client.get(url)


class AllThatMatch(HistoryTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.cats = [self.photo(f"cat-{n}.jpg", label="cat") for n in range(30)]
        self.dog = self.photo("dog.jpg", label="dog")

    def test_all_pages_are_deleted_at_once_and_brought_back(self) -> None:
        page = self.client.get("/history/?label=cat")
        self.assertContains(page, "All matching photos, on every page")
        page = self.client.post("/history/delete/?label=cat", {"everything": "1"}, follow=True)
        self.assertContains(page, "30 photos were deleted.")
        self.assertEqual([item.photo for item in page.context["page"].items], [self.dog])
        at = page.context["messages"]._loaded_data[0].extra_tags.removeprefix("undo-at:")
        page = self.client.post("/history/restore/", {"at": at}, follow=True)
        self.assertContains(page, "30 photos were restored.")

    def test_wrong_filters_delete_nothing(self) -> None:
        for query in ("label=lion", "date_from=2026-02-03&date_to=2026-02-01"):
            self.client.post(f"/history/delete/?{query}", {"everything": "1"})
        self.assertFalse(Photo.objects.exclude(deleted_at=None).exists())

    def test_photos_of_others_stay(self) -> None:
        theirs = self.photo(owner=self.bob)
        self.client.post("/history/delete/", {"everything": "1"})
        theirs.refresh_from_db()
        self.assertIsNone(theirs.deleted_at)

    def test_a_wrong_moment_brings_nothing_back(self) -> None:
        for at in ("x", "2026-01-01T00:00:00", "2026-99-99T00:00:00+00:00", datetime.now(UTC).isoformat()):
            response = self.client.post("/history/restore/", {"at": at}, follow=True)
            self.assertContains(response, "cannot be restored")

    def test_the_filtered_history_goes_home_in_each_form(self) -> None:
        names_ = [f"cat-{n}.jpg" for n in range(29, -1, -1)]
        query = "label=cat&sort="
        text = self.content(self.client.get(f"/history/export.csv?{query}")).decode("utf-8-sig")
        self.assertEqual([row["filename"] for row in csv.DictReader(io.StringIO(text))], names_)
        rows = json.loads(self.content(self.client.get(f"/history/export.json?{query}")))
        self.assertEqual([row["filename"] for row in rows], names_)
        lines = self.content(self.client.get(f"/history/export.jsonl?{query}")).splitlines()
        self.assertEqual([json.loads(line)["filename"] for line in lines], names_)
        with zipfile.ZipFile(
            io.BytesIO(self.content(self.client.get(f"/history/export.zip?{query}")))
        ) as made:
            self.assertIsNone(made.testzip())
            images = [name for name in made.namelist() if name.startswith("photos/")]
            table = list(csv.DictReader(io.StringIO(made.read("history.csv").decode("utf-8-sig"))))
        self.assertEqual({f"photos/{photo.pk}.jpg" for photo in self.cats}, set(images))
        self.assertEqual([f"photos/{row['photo']}.jpg" for row in table], images)

    def test_an_empty_history_is_an_empty_array(self) -> None:
        self.assertEqual(json.loads(self.content(self.client.get("/history/export.json?label=ship"))), [])

    def test_the_ticked_ones_go_home_alone_and_only_ones_own(self) -> None:
        ids = [self.dog.pk, self.cats[0].pk, self.photo(owner=self.bob).pk]
        rows = json.loads(self.content(self.client.post("/history/export.json", {"ids": ids})))
        self.assertEqual({row["photo"] for row in rows}, {str(self.dog.pk), str(self.cats[0].pk)})
        everything = self.client.post("/history/export.json?label=dog", {"everything": "1"})
        self.assertEqual([row["filename"] for row in json.loads(self.content(everything))], ["dog.jpg"])

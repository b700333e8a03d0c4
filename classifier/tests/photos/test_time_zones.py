"""Times and days in the person's own zone: kept with the account, used by calendar, history and pages."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime
from unittest import mock

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cifarsite.test import SiteTestCase
from classifier.models import DayCount, Photo, Prediction
from classifier.photos import daily_counts

SAIGON, NEWFOUNDLAND = "Asia/Ho_Chi_Minh", "America/St_Johns"
# 23:30 of 30 November in Saigon, 13:00 in Newfoundland; then half an hour later: 00:00 of 1 December.
BEFORE, MIDNIGHT = datetime(2025, 11, 30, 16, 59, 59, tzinfo=UTC), datetime(2025, 11, 30, 17, 0, tzinfo=UTC)
# 23:29 and 23:30 of 30 November in Newfoundland, UTC-3:30, already 1 December in UTC.
LATE, NEXT = datetime(2025, 12, 1, 3, 29, 59, tzinfo=UTC), datetime(2025, 12, 1, 3, 30, tzinfo=UTC)


class TimeZonesTest(SiteTestCase):
    def setUp(self) -> None:
        self.client.force_login(self.alice)
        for at in (BEFORE, MIDNIGHT, LATE, NEXT):
            photo = self.upload()
            Photo.objects.filter(pk=photo.pk).update(created_at=at)
            Prediction.objects.filter(photo=photo).update(photo_created_at=at)
        DayCount.objects.all().delete()
        daily_counts.mark((self.alice.pk, "cifar10", at) for at in (BEFORE, MIDNIGHT, LATE, NEXT))

    def choose(self, zone: str) -> None:
        self.client.post("/account/time-zone/", {"time_zone": zone})
        self.alice.refresh_from_db()

    def days(self, month: str) -> dict[date, int]:
        page = self.client.get("/history/calendar/", {"month": month})
        self.assertTrue(page.context["exact"])
        cells = [cell for week in page.context["weeks"] for cell in week if cell]
        return {cell["day"]: cell["count"] for cell in cells if cell["count"]}

    def test_calendar_and_history_agree_on_the_day_of_each_photo(self) -> None:
        november, december = date(2025, 11, 30), date(2025, 12, 1)
        for zone, expected in {
            "": {november: 2, december: 2},
            "UTC": {november: 2, december: 2},
            SAIGON: {november: 1, december: 3},
            NEWFOUNDLAND: {november: 3, december: 1},
        }.items():
            with self.subTest(zone):
                self.choose(zone)
                self.assertEqual(self.days("2025-11") | self.days("2025-12"), expected)
                for day, count in expected.items():
                    shown = self.client.get("/history/", {"date_from": str(day), "date_to": str(day)})
                    self.assertEqual(len(shown.context["page"].items), count)

    def test_the_calendar_opens_in_the_month_of_the_newest_photo_there(self) -> None:
        Photo.objects.filter(created_at__gt=MIDNIGHT).delete()
        DayCount.objects.filter(day=date(2025, 12, 1)).delete()
        for zone, month in ((SAIGON, date(2025, 12, 1)), (NEWFOUNDLAND, date(2025, 11, 1))):
            self.choose(zone)
            self.days("2025-11")
            self.assertEqual(self.client.get("/history/calendar/").context["first"], month)

    def test_a_day_not_counted_by_the_quarter_of_an_hour_is_told(self) -> None:
        self.days("2025-11")
        DayCount.objects.update(quarters=None)
        self.assertNotContains(self.client.get("/history/calendar/?month=2025-11"), "still being counted")
        self.choose(SAIGON)
        self.assertContains(self.client.get("/history/calendar/?month=2025-11"), "still being counted")
        DayCount.objects.update(changes=99)
        daily_counts.recount()
        self.assertNotContains(self.client.get("/history/calendar/?month=2025-11"), "still being counted")

    def test_the_calendar_asks_as_many_queries_in_every_zone(self) -> None:
        asked = []
        for zone in ("UTC", SAIGON, NEWFOUNDLAND):
            self.choose(zone)
            self.days("2025-11")
            with CaptureQueriesContext(connection) as queries:
                self.client.get("/history/calendar/?month=2025-11")
            asked.append(len(queries))
        self.assertEqual(len(set(asked)), 1)
        self.assertLessEqual(asked[0], 15)

    def test_times_on_pages_are_in_the_zone_and_the_api_stays_in_utc(self) -> None:
        photo = self.alice.photos.get(created_at=BEFORE)
        Prediction.objects.filter(photo=photo).update(
            status="done",
            label="cat",
            finished_at=BEFORE,
            confidence=0.9,
            verdict="recognised",
            seconds=0.1,
        )
        self.choose(SAIGON)
        page = self.client.get(f"/photos/{photo.pk}/").content.decode()
        self.assertIn("11:59 p.m. +07", page)
        self.assertIn(f'data-time-zone="{SAIGON}"', page)
        answer = self.client.get(f"/api/v1/photos/{photo.pk}").json()
        self.assertEqual(answer["created_at"].replace("Z", "+00:00"), BEFORE.isoformat())
        self.assertEqual(timezone.get_current_timezone_name(), "UTC")

    def test_the_account_page_offers_all_zones_and_says_what_to_do_about_a_wrong_one(self) -> None:
        page = self.client.get("/account/").content.decode()
        for zone in (SAIGON, NEWFOUNDLAND, "Europe/Berlin"):
            self.assertIn(f'<option value="{zone}">', page)
        self.choose(SAIGON)
        wrong = self.client.post("/account/time-zone/", {"time_zone": "Mars/Crater"}, follow=True)
        self.assertContains(wrong, "There is no time zone &#x27;Mars/Crater&#x27;. Choose one from the list")
        self.alice.refresh_from_db()
        self.assertEqual(self.alice.time_zone, SAIGON)
        self.choose("")
        self.assertEqual(self.alice.time_zone, "")

    def test_the_browsers_zone_is_proposed_only_while_none_is_chosen(self) -> None:
        self.assertContains(self.client.get("/account/"), "data-propose-zone")
        self.choose(SAIGON)
        self.assertNotContains(self.client.get("/account/"), "data-propose-zone")

    def test_a_zone_that_left_the_database_and_the_ends_of_the_calendar_break_nothing(self) -> None:
        self.alice.time_zone = "Asia/Atlantis"
        self.alice.save()
        self.assertEqual(self.client.get("/history/").status_code, 200)
        for zone in (SAIGON, NEWFOUNDLAND, "Pacific/Kiritimati"):
            self.choose(zone)
            for days in ({"date_from": "0001-01-01"}, {"date_to": "9999-12-31"}, {"date_from": "9999-12-31"}):
                self.assertEqual(self.client.get("/history/", {**days, "sort": "surest"}).status_code, 200)

    def test_the_site_s_own_and_odd_names_are_no_choice(self) -> None:
        for name in ("localtime", "Factory", "../../etc/passwd", "a\0b", "x" * 5_000):
            self.choose(name)
            self.alice.refresh_from_db()
            self.assertEqual(self.alice.time_zone, "", name)

    def test_a_request_reads_no_list_of_zones(self) -> None:
        self.choose(SAIGON)
        self.client.get("/history/")
        with mock.patch.object(zoneinfo, "available_timezones", side_effect=AssertionError):
            self.assertEqual(self.client.get("/history/").status_code, 200)

    def test_every_zone_is_whole_quarters_of_an_hour_from_utc(self) -> None:
        for name in zoneinfo.available_timezones():
            for at in (BEFORE, datetime(2026, 7, 1, tzinfo=UTC)):
                offset = at.astimezone(zoneinfo.ZoneInfo(name)).utcoffset()
                self.assertFalse((offset or daily_counts.QUARTER) % daily_counts.QUARTER, name)

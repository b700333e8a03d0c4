"""Days become sums, a week is held against the first ones, staff are told once."""

from datetime import UTC, date, datetime, time, timedelta
from unittest import mock

from django.core import mail
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cifarsite.test import SiteTestCase, answer
from classifier.feedback.corrections import correct
from classifier.models import Correction, DriftAlert, DriftDay, Photo, Prediction
from classifier.monitoring import drift, drift_alerts, drift_days
from training.engine.data.cifar10 import CLASS_NAMES
from training.models import ModelVersion, Promotion


def today() -> date:
    return timezone.now().astimezone(UTC).date()


def add_days(first: int, last: int, n: int = 40, **shares: float) -> None:
    """Rows for the days from ``first`` to ``last`` days ago; shares of verdicts, labels, agreement."""
    none, dogs = shares.get("none", 0.1), shares.get("dogs", 0.1)
    agreed, bright = shares.get("agreed", 0.9), shares.get("bright", 0.5)
    for back in range(first, last - 1, -1):
        labels = {name: round(n * (1 - dogs) / 9) for name in CLASS_NAMES if name != "dog"}
        labels["dog"] = n - sum(labels.values())
        verdicts = {"unknown": round(n * none), "unsure": round(n * 0.1)}
        verdicts["recognised"] = n - sum(verdicts.values())
        sums = {"confidence": [n, 0.9 * n, 0.82 * n], "brightness": [n, bright * n, (bright**2 + 0.02) * n]}
        day = today() - timedelta(days=back)
        DriftDay.objects.create(
            day=day, n=n, labels=labels, verdicts=verdicts, sums=sums, opinions=10, agreed=round(10 * agreed)
        )


class DaysTestCase(SiteTestCase):
    def at(self, back: int, label: str, verdict: str = "recognised", confidence: float = 0.8) -> Photo:
        """An answered photo of so many days ago."""
        photo = self.upload()
        answer(photo, label, confidence, verdict)
        moment = datetime.combine(today() - timedelta(days=back), time(12), UTC)
        Prediction.objects.filter(photo=photo).update(finished_at=moment)
        return photo


class Days(DaysTestCase):
    def test_a_day_that_is_over_becomes_one_row_of_sums(self) -> None:
        photos = [self.at(2, "cat"), self.at(2, "dog", "unsure", 0.6), self.at(0, "ship")]
        for photo, label in zip(photos, ("cat", "cat", "ship"), strict=True):
            correct(photo, self.alice, label)
        moment = datetime.combine(today() - timedelta(days=2), time(20), UTC)
        Correction.objects.update(created_at=moment)
        self.assertEqual(drift_days.sum_up_days(), 2)
        self.assertEqual(drift_days.sum_up_days(), 0)
        row = DriftDay.objects.get(day=today() - timedelta(days=2))
        self.assertEqual((row.n, row.labels), (2, {"cat": 1, "dog": 1}))
        self.assertEqual(row.verdicts, {"recognised": 1, "unsure": 1})
        self.assertEqual((row.opinions, row.agreed), (3, 2))
        n, total, squares = row.sums["confidence"]
        self.assertEqual(n, 2)
        self.assertAlmostEqual(total, 1.4)
        self.assertAlmostEqual(squares, 1.0)
        for name in drift_days.QUALITIES:
            self.assertEqual(row.sums[name][0], 2, name)
            self.assertGreater(row.sums[name][1], 0, name)
        self.assertFalse(DriftDay.objects.filter(day=today()).exists())

    def test_questions_about_a_part_and_failures_do_not_count(self) -> None:
        part, failed = self.at(1, "cat"), self.at(1, "cat")
        self.at(1, "dog")
        Prediction.objects.filter(photo=part).update(crop=[0, 0, 0.5, 0.5])
        Prediction.objects.filter(photo=failed).update(status="failed")
        drift_days.sum_up_days()
        self.assertEqual(DriftDay.objects.get().labels, {"dog": 1})

    def test_a_long_absence_is_made_good_in_several_passes(self) -> None:
        self.at(drift_days.CATCH_UP + 5, "cat")
        self.assertEqual(drift_days.sum_up_days(), drift_days.CATCH_UP)
        self.assertEqual(drift_days.sum_up_days(), 5)


class Weeks(SiteTestCase):
    def changed(self) -> set[str]:
        return {finding.name for finding in drift.compare(today()).changed}

    def test_weeks_alike_are_no_drift(self) -> None:
        add_days(40, 1)
        found = drift.compare(today())
        self.assertEqual(found.source, "first_weeks")
        self.assertEqual(found.reference.n, 28 * 40)
        names = {finding.name for finding in found.findings}
        self.assertLessEqual({"class_mix", "unknown", "confidence", "agreement", "brightness"}, names)
        self.assertEqual(found.changed, [])
        self.assertIn("no reason to retrain", drift.advice(found, 500))

    def test_each_kind_of_change_is_found(self) -> None:
        add_days(40, 8)
        for name, share, value in (
            ("unknown", "none", 0.4),
            ("class_mix", "dogs", 0.6),
            ("agreement", "agreed", 0.5),
            ("brightness", "bright", 0.2),
        ):
            add_days(7, 1, 40, **{share: value})
            self.assertEqual(self.changed(), {name})
            DriftDay.objects.filter(day__gte=today() - timedelta(days=7)).delete()

    def test_chance_is_not_called_a_change(self) -> None:
        add_days(40, 8)
        add_days(7, 1, n=10, none=0.2)
        self.assertGreater(drift.compare(today()).week.n, drift.LEAST)
        self.assertNotIn("unknown", self.changed())

    def test_the_advice_depends_on_what_there_is_to_learn_from(self) -> None:
        add_days(40, 8)
        add_days(7, 1, agreed=0.5)
        found = drift.compare(today())
        self.assertIn("Retraining is worthwhile", drift.advice(found, 500))
        self.assertIn("Review corrections first", drift.advice(found, 3))
        DriftDay.objects.filter(day__gte=today() - timedelta(days=7)).delete()
        add_days(7, 1, bright=0.2)
        self.assertIn("not worthwhile yet", drift.advice(drift.compare(today()), 500))

    def test_before_the_first_weeks_are_over_verdicts_are_held_against_validation(self) -> None:
        add_days(7, 1, none=0.4)
        self.assertEqual(drift.compare(today()).source, "")
        counts = {"recognised": 2_200, "unsure": 175, "unknown": 125}
        ModelVersion.objects.create(
            name="live",
            recipe="tiny",
            sha256="1" * 64,
            size=1,
            preprocessing="squash32-v1",
            card={"verdicts": {"validation": {"n": 2_500, "counts": counts}}},
            is_champion=True,
        )
        found = drift.compare(today())
        self.assertEqual(found.source, "validation")
        self.assertEqual({finding.name for finding in found.findings}, {"unknown", "unsure"})
        self.assertEqual({finding.name for finding in found.changed}, {"unknown"})

    def test_too_few_photos_say_nothing(self) -> None:
        add_days(40, 8)
        add_days(2, 1, n=10, none=0.9)
        found = drift.compare(today())
        self.assertEqual(found.findings, [])
        self.assertIn("needs at least", drift.advice(found, 500))


class Alerts(SiteTestCase):
    def look(self) -> dict[str, int]:
        with self.captureOnCommitCallbacks(execute=True):
            return drift_alerts.watch()

    def begin(self) -> None:
        add_days(40, 8)
        add_days(7, 2, none=0.5)
        photo = self.upload()
        answer(photo)
        moment = datetime.combine(today() - timedelta(days=1), time(12), UTC)
        Prediction.objects.update(finished_at=moment)

    def test_staff_get_one_mail_however_often_the_sweeper_looks(self) -> None:
        self.begin()
        self.assertEqual(self.look(), {"drift_days": 1, "drift_alerts": 1})
        self.assertEqual(self.look(), {"drift_days": 0, "drift_alerts": 0})
        (sent,) = mail.outbox
        self.assertEqual(sent.to, ["charlie@example.org"])
        self.assertIn("none of the ten", sent.body)
        self.assertIn("/drift/?until=", sent.body)
        DriftDay.objects.filter(day=today() - timedelta(days=1)).delete()
        self.assertEqual(self.look(), {"drift_days": 1, "drift_alerts": 0})
        self.assertEqual(len(mail.outbox), 1)

    def test_after_a_week_as_before_the_next_change_is_told_again(self) -> None:
        self.begin()
        self.look()
        DriftDay.objects.filter(day__gte=today() - timedelta(days=7)).delete()
        add_days(7, 2)
        self.look()
        self.assertIsNotNone(DriftAlert.objects.get().closed_at)
        DriftDay.objects.filter(day__gte=today() - timedelta(days=7)).delete()
        add_days(7, 2, none=0.5)
        self.assertEqual(self.look()["drift_alerts"], 1)
        self.assertEqual(len(mail.outbox), 2)

    @override_settings(DRIFT_ALERT_POINTS=0)
    def test_the_setting_keeps_mails_away(self) -> None:
        self.begin()
        self.assertEqual(self.look(), {"drift_days": 1, "drift_alerts": 0})
        self.assertEqual(mail.outbox, [])


class DriftPage(SiteTestCase):
    def test_only_staff_see_it(self) -> None:
        self.assertEqual(self.client.get("/drift/").status_code, 302)
        self.client.force_login(self.alice)
        self.assertEqual(self.client.get("/drift/").status_code, 403)

    def test_it_says_in_a_sentence_whether_to_retrain_with_twelve_queries_at_most(self) -> None:
        add_days(100, 8)
        add_days(7, 1, none=0.5)
        self.client.force_login(self.charlie)
        with CaptureQueriesContext(connection) as queries:
            page = self.client.get("/drift/").content.decode()
        self.assertLessEqual(len(queries), 12)
        self.assertIn("Review corrections first", page)
        self.assertIn("50.0\u00a0%", page)
        self.assertIn("+40.0 points", page)
        self.assertIn("Week by week", page)
        self.assertNotRegex(page, r" style=|<style|<script(?![^>]* src=)")

    def test_an_empty_site_and_a_damaged_link_have_a_page(self) -> None:
        self.client.force_login(self.charlie)
        for query in ("", "?until=2026-99-99", "?until=nonsense", "?until=0001-01-01", "?until=9999-12-31"):
            self.assertContains(self.client.get(f"/drift/{query}"), "needs at least")

    def test_one_can_go_to_earlier_weeks_and_back(self) -> None:
        add_days(40, 1)
        self.client.force_login(self.charlie)
        before = (today() - timedelta(days=7)).isoformat()
        self.assertContains(self.client.get("/drift/"), f"?until={before}")
        self.assertContains(self.client.get(f"/drift/?until={before}"), f"?until={today().isoformat()}")


class TheSamePhotoAndTheSameModel(DaysTestCase):
    def version(self, name: str, none: int = 0) -> ModelVersion:
        counts = {"recognised": 2_500 - none, "unsure": 0, "unknown": none}
        return ModelVersion.objects.create(
            name=name,
            recipe="tiny",
            sha256=name[0] * 64,
            size=1,
            preprocessing="squash32-v1",
            card={"verdicts": {"validation": {"n": 2_500, "counts": counts}}} if none else {},
        )

    def switch(self, back: int, to: ModelVersion, previous: ModelVersion | None) -> None:
        moment = datetime.combine(today() - timedelta(days=back), time(12), UTC)
        with mock.patch.object(timezone, "now", return_value=moment):
            Promotion.objects.create(action="promote", promoted=to, previous=previous, reason="x")

    def test_a_photo_that_is_asked_about_again_counts_once(self) -> None:
        photo = self.at(3, "cat")
        for back in (3, 2, 1):
            again = photo.predictions.order_by("id").first()
            assert again is not None
            again.pk = None
            again._state.adding = True
            again.is_current = False
            again.finished_at = datetime.combine(today() - timedelta(days=back), time(13), UTC)
            again.save()
        self.at(1, "dog")
        drift_days.sum_up_days()
        self.assertEqual([row.n for row in DriftDay.objects.order_by("day")], [1, 0, 1])

    def test_photos_called_none_are_in_no_class(self) -> None:
        self.at(1, "bird", "unknown")
        self.at(1, "bird")
        drift_days.sum_up_days()
        row = DriftDay.objects.get()
        self.assertEqual((row.n, row.labels), (2, {"bird": 1}))
        self.assertEqual(row.verdicts, {"unknown": 1, "recognised": 1})

    def test_another_models_answers_are_no_drift(self) -> None:
        first, second = self.version("a"), self.version("b")
        self.switch(60, first, None)
        self.switch(8, second, first)
        add_days(40, 8)
        add_days(7, 1, none=0.5)
        found = drift.compare(today())
        self.assertEqual((found.source, found.changed), ("", []))
        # The photos themselves are compared whoever answers.
        self.assertEqual({finding.name for finding in found.findings}, {"brightness"})
        self.assertIn("There is no reference yet", drift.advice(found, 500))

    def test_a_week_of_two_models_counts_the_last_ones_whole_days(self) -> None:
        first, second = self.version("a"), self.version("b", none=1_250)
        self.switch(60, first, None)
        self.switch(3, second, first)
        add_days(40, 1, none=0.5)
        found = drift.compare(today())
        self.assertEqual((found.week.n, found.answers.n, found.source), (280, 80, "validation"))
        DriftDay.objects.filter(day__gte=today() - timedelta(days=2)).delete()
        self.assertIn("The champion changed this week", drift.advice(drift.compare(today()), 500))

    def test_a_model_that_came_back_is_held_against_its_own_days(self) -> None:
        first, second = self.version("a"), self.version("b")
        self.switch(60, first, None)
        self.switch(30, second, first)
        self.switch(8, first, second)
        add_days(59, 31, none=0.1)
        add_days(30, 8, none=0.9)
        add_days(7, 1, none=0.1)
        found = drift.compare(today())
        self.assertEqual((found.source, found.reference.n, found.changed), ("first_weeks", 28 * 40, []))

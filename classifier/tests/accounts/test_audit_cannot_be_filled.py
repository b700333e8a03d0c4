"""Strangers add few lines to the audit log, and those go one day."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any
from unittest import mock

from django.db import IntegrityError, connection, transaction
from django.test import Client, override_settings
from django.utils import timezone

from cifarsite.test import ApiTestCase
from classifier.accounts import audit
from classifier.models import AuditEntry
from classifier.operations import retention


class FillingTheAuditLogTests(ApiTestCase):
    def lines(self) -> list[str]:
        found = AuditEntry.objects.filter(kind="access_refused").order_by("id")
        return list(found.values_list("detail", flat=True))

    def test_posts_without_a_csrf_token_to_any_address_add_nothing(self) -> None:
        stranger = Client(enforce_csrf_checks=True)
        for path in ("/photos/{}/delete/", "/batches/{}/pause/", "/history/delete/", "/accounts/login/"):
            self.assertEqual(stranger.post(path.format(uuid.uuid4())).status_code, 403)
        self.assertEqual(self.lines(), [])

    def test_wrong_tokens_add_one_line_a_minute_and_address(self) -> None:
        for number in range(5):
            self.call("get", f"photos/{uuid.uuid4()}", token=f"wrong-{number}")
        self.assertEqual(self.lines(), ["401 GET /api/v1/photos/<uuidstr:photo_id>"])
        self.call("get", "photos", token="wrong", REMOTE_ADDR="192.0.2.7")
        self.assertEqual(len(self.lines()), 2)

    def test_from_many_addresses_they_add_no_more_than_so_many(self) -> None:
        with mock.patch.object(audit, "MOST_OF_STRANGERS", 3):
            for number in range(6):
                self.call("get", "photos", token="wrong", REMOTE_ADDR=f"192.0.2.{number}")
        self.assertEqual(len(self.lines()), 3)

    def test_a_person_s_refusals_name_the_route_and_no_address_of_their_choice(self) -> None:
        self.client.force_login(self.bob)
        for _ in range(3):
            self.client.get(f"/review/{uuid.uuid4()}/")
        self.assertEqual(self.lines(), ["403 GET /review/<uuid:pk>/"])

    def test_a_method_of_one_s_own_invention_is_not_written_down(self) -> None:
        self.client.force_login(self.bob)
        self.client.generic("X" * 50, "/training/")
        for line in self.lines():
            self.assertIn(" other ", line)

    @override_settings(API_RATE_BURST=1)
    def test_who_asks_too_often_is_noted_once(self) -> None:
        for _ in range(8):
            self.call("get", f"photos/{uuid.uuid4()}")
        self.assertEqual(self.lines(), ["429 GET /api/v1/photos/<uuidstr:photo_id>"])


class AgeOfRefusalsTests(ApiTestCase):
    def entry(self, kind: str, days: int) -> Any:
        with mock.patch.object(timezone, "now", return_value=timezone.now() - timedelta(days=days)):
            return AuditEntry.objects.create(kind=kind, by=self.alice)

    def delete(self, entry: AuditEntry) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM classifier_auditentry WHERE id = %s", [entry.pk])

    def kinds(self) -> list[str]:
        kept = AuditEntry.objects.exclude(kind="token_made")  # of the people's own tokens
        return sorted(kept.values_list("kind", flat=True))

    @override_settings(KEEP_REFUSALS_DAYS=30)
    def test_old_refusals_go_and_everything_else_stays(self) -> None:
        for kind in AuditEntry.kinds_that_age:
            self.entry(kind, 31)
        self.entry("access_refused", 29)
        self.entry("model_promoted", 4_000)
        removed = retention.expire()["refusals_expired"]
        self.assertEqual(removed, len(AuditEntry.kinds_that_age))
        self.assertEqual(self.kinds(), ["access_refused", "model_promoted"])

    def test_the_database_lets_old_refusals_go_and_no_other_line(self) -> None:
        for kind, days in (("access_refused", 5), ("model_promoted", 400)):
            entry = self.entry(kind, days)
            with self.subTest(kind), self.assertRaises(IntegrityError), transaction.atomic():
                self.delete(entry)
        self.delete(self.entry("access_refused", 8))
        self.assertEqual(self.kinds(), ["access_refused", "model_promoted"])

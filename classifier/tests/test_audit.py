"""The audit log is written once and tells nothing about people who are gone."""

from django.core.exceptions import ValidationError
from django.test import RequestFactory

from cifarsite.test import SiteTestCase
from classifier.audit import client_address, forget_addresses, record
from classifier.models import AuditEntry


class AuditTests(SiteTestCase):
    def test_it_cannot_be_changed_or_deleted(self) -> None:
        record("token_made", by=self.alice, detail="token 1")
        entry = AuditEntry.objects.get()
        entry.kind = "nothing"
        with self.assertRaises(ValidationError):
            entry.save()
        with self.assertRaises(ValidationError):
            entry.delete()

    def test_it_notes_a_sign_in_that_failed(self) -> None:
        self.client.post("/accounts/login/", {"login": "alice", "password": "wrong"})
        entry = AuditEntry.objects.get(kind="sign_in_failed")
        self.assertEqual((entry.by, entry.address), (self.alice, "127.0.0.1"))

    def test_it_stays_without_the_person_when_the_account_goes(self) -> None:
        record("token_made", by=self.alice, request=RequestFactory().get("/"))
        forget_addresses(self.alice)
        self.alice.delete()
        entry = AuditEntry.objects.get()
        self.assertEqual((entry.by, entry.address), (None, None))

    def test_it_believes_forwarded_addresses_from_proxies_of_ones_own_alone(self) -> None:
        request = RequestFactory().get("/", headers={"X-Forwarded-For": "198.51.100.7, 203.0.113.9"})
        self.assertEqual(client_address(request), "127.0.0.1")
        with self.settings(ALLAUTH_TRUSTED_PROXY_COUNT=1):
            self.assertEqual(client_address(request), "203.0.113.9")

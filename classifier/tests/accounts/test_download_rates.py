"""Downloads count on the limits, though they are links."""

from __future__ import annotations

import re
from typing import Any

from django.test import override_settings
from django.urls import URLResolver, get_resolver, reverse

from cifarsite.test import ApiTestCase
from classifier.accounts.rate_limits import DOWNLOAD_COST, DOWNLOADS
from classifier.models import RateCount
from classifier.tests.uploads.archives import photos, zipped
from classifier.uploads.batches import create_batch

# Small: what a chart of one page is drawn from, the page's icon and the API's own schema.
SMALL = {
    *("training:model-curve", "training:job-epochs", "training:job-history", "training:report-points"),
    *("api:openapi-json", "mfa_download_recovery_codes"),
}
# These count by themselves, on the token.
BY_THE_API = {"api:batch-csv", "api:batch-jsonl"}
LOOKS_LIKE_A_DOWNLOAD = re.compile(r"(\.(csv|jsonl?|zip)|(export|download)/)$")


def names_of_downloads(resolver: URLResolver, namespace: str = "", route: str = "") -> set[str]:
    found = set()
    for pattern in resolver.url_patterns:
        whole = route + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            found |= names_of_downloads(pattern, inner, whole)
        elif LOOKS_LIKE_A_DOWNLOAD.search(whole.rstrip("$")) and not whole.startswith("admin/"):
            found.add(f"{namespace}{pattern.name}")
    return found


class DownloadRateTest(ApiTestCase):
    def setUp(self) -> None:
        self.client.force_login(self.alice)

    def counted(self) -> int:
        mine = RateCount.objects.filter(key__startswith=f"rate:user:{self.alice.pk}:60:")
        return sum(mine.values_list("count", flat=True))

    def batch(self) -> Any:
        return create_batch(self.alice, zipped(photos(1)), filename="a.zip")

    def test_every_download_of_the_site_is_counted_or_known_to_be_small(self) -> None:
        found = names_of_downloads(get_resolver())
        self.assertLessEqual(DOWNLOADS, found)
        self.assertEqual(found - DOWNLOADS - SMALL - BY_THE_API, set())

    def test_each_kind_of_export_counts(self) -> None:
        batch = self.batch()
        for name in sorted(DOWNLOADS):
            args = [batch.pk] if "batch" in name else [1] if name.startswith("training:") else []
            with self.subTest(name):
                before = self.counted()
                response = self.client.get(reverse(name, args=args))
                self.assertIn(response.status_code, (200, 403, 404))
                self.assertEqual(self.counted() - before, DOWNLOAD_COST)

    def test_the_api_s_results_count_as_much(self) -> None:
        batch = self.batch()
        for kind in ("csv", "jsonl"):
            before = self.counted()
            self.assertEqual(self.call("get", f"batches/{batch.pk}/results.{kind}").status_code, 200)
            self.assertEqual(self.counted() - before, DOWNLOAD_COST)

    @override_settings(API_RATE_BURST=2 * DOWNLOAD_COST)
    def test_too_many_in_a_minute_are_told_to_wait(self) -> None:
        for _ in range(4):
            self.assertEqual(self.client.get(reverse("classifier:history-csv")).status_code, 200)
        refused = self.client.get(reverse("classifier:account-export"))
        self.assertEqual(refused.status_code, 429)
        self.assertIn(int(refused.headers["Retry-After"]), range(1, 61))

    @override_settings(API_RATE_BURST=1)
    def test_the_first_one_is_never_refused(self) -> None:
        self.assertEqual(self.client.get(reverse("classifier:history-csv")).status_code, 200)

    def test_an_export_of_the_admin_counts(self) -> None:
        self.charlie.is_superuser = True
        self.charlie.save()
        self.client.force_login(self.charlie)
        self.client.get(reverse("admin:classifier_photo_export"))
        mine = RateCount.objects.filter(key__startswith=f"rate:user:{self.charlie.pk}:60:")
        self.assertEqual(sum(mine.values_list("count", flat=True)), DOWNLOAD_COST)

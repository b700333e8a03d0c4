"""Rates: counted for all processes, on token, person and address, atomically."""

import re
import threading
import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError, connection
from django.test import TestCase, TransactionTestCase, override_settings
from django.utils import timezone

from cifarsite.test import ApiTestCase, image_file, make_user
from classifier.accounts import rate_limits
from classifier.accounts.tokens import make_token
from classifier.models import RateCount


def spend_until_refused(most: int, on: dict[str, str]) -> int:
    """How many requests were let through."""
    for count in range(most):
        try:
            rate_limits.consume(on)
        except rate_limits.RateLimitExceeded:
            return count
    return most


@override_settings(API_RATE_BURST=3, API_RATE_SUSTAINED=1_000)
class RateTests(ApiTestCase):
    def test_it_answers_429_with_retry_after(self) -> None:
        for _number in range(3):
            self.assertEqual(self.call("get", "photos").status_code, 200)
        response = self.call("get", "photos")
        self.assert_problem(response, 429, "rate")
        self.assertIn(int(response.headers["Retry-After"]), range(1, 61))

    def limits(self, response: Any) -> list[tuple[str, int, int, int]]:
        """(name, all of it, its window, what is left of it)"""
        policies = re.findall(r'"([a-z-]+)";q=(\d+);w=(\d+)', response.headers["RateLimit-Policy"])
        left = re.findall(r'"([a-z-]+)";r=(\d+);t=(\d+)', response.headers["RateLimit"])
        self.assertEqual([name for name, *_ in policies], [name for name, *_ in left])
        for (_name, _q, window), (_same, _r, seconds) in zip(policies, left, strict=True):
            self.assertIn(int(seconds), range(1, int(window) + 1))
        return [
            (name, int(q), int(w), int(r)) for (name, q, w), (_, r, _t) in zip(policies, left, strict=True)
        ]

    def test_every_answer_tells_what_is_left(self) -> None:
        found = [self.limits(self.call("get", "photos"))[0][3] for _number in range(3)]
        self.assertEqual(found, [2, 1, 0])
        refused = self.call("get", "photos")
        self.assertEqual(refused.status_code, 429)
        self.assertEqual(
            self.limits(refused), [("token-minute", 3, 60, 0), ("token-day", 1_000, 86_400, 996)]
        )
        photo = f"photos/{self.upload(self.bob).pk}"
        for path, status in (("photos?limit=0", 422), (photo, 200), (f"{photo}/image", 200)):
            response = self.call("get", path, token="bob")
            self.assertEqual(response.status_code, status)
            self.assertEqual(self.limits(response)[0][:3], ("token-minute", 3, 60))

    def test_what_is_left_is_that_of_the_nearest_limit(self) -> None:
        for _number in range(3):
            self.call("get", "photos")
        first = self.limits(self.call("get", "photos", token=self.token(self.alice, "read")))
        self.assertEqual(first[0], ("user-minute", 6, 60, 2))
        stranger = self.call("get", "photos", token="guess")
        self.assertEqual(
            (stranger.status_code, self.limits(stranger)[0][:3]), (401, ("address-minute", 12, 60))
        )

    def test_files_are_in_what_is_left(self) -> None:
        response = self.call("post", "photos", {"file": [image_file("a.jpg"), image_file("b.jpg")]})
        self.assertEqual((response.status_code, self.limits(response)[0][3]), (202, 1))

    def test_pages_say_nothing_of_it(self) -> None:
        self.assertNotIn("RateLimit", self.client.get("/").headers)

    def test_it_counts_a_persons_tokens_together(self) -> None:
        codes = []
        for _number in range(3):
            token = self.token(self.alice, "read")
            codes += [self.call("get", "photos", token=token).status_code for _n in range(3)]
        self.assertEqual(codes.count(200), 6)

    def test_it_counts_an_address_of_strangers(self) -> None:
        codes = [self.call("get", "photos", token="guess").status_code for _number in range(13)]
        self.assertEqual(codes, [401] * 12 + [429])

    def test_it_does_not_let_a_made_up_address_through(self) -> None:
        codes = [
            self.call("get", "photos", token=None, headers={"X-Forwarded-For": f"203.0.113.{n}"}).status_code
            for n in range(13)
        ]
        self.assertEqual(codes[-1], 429)

    def test_it_counts_each_file(self) -> None:
        with self.settings(API_RATE_BURST=2):
            files = [image_file(f"{n}.jpg") for n in range(3)]
            self.assert_problem(self.call("post", "photos", {"file": files}), 429, "rate")
            self.assertFalse(self.alice.photos.exists())

    def test_it_limits_the_day_too(self) -> None:
        with self.settings(API_RATE_BURST=100, API_RATE_SUSTAINED=2):
            codes = [self.call("get", "photos").status_code for _number in range(3)]
        self.assertEqual(codes, [200, 200, 429])

    def test_it_forgets_windows_that_are_over(self) -> None:
        rate_limits.consume({"token": "1"})
        RateCount.objects.update(ends_at=timezone.now())
        self.assertEqual(rate_limits.purge(), 2)


@override_settings(API_RATE_BURST=20, API_RATE_SUSTAINED=1_000)
class ManyAtOnceTests(TransactionTestCase):
    """Real threads with connections of their own: none slips through, none is counted twice."""

    def let_through(self) -> int:
        counts: list[int] = []

        def work() -> None:
            counts.append(spend_until_refused(10, {"token": "7", "address": "192.0.2.1"}))
            connection.close()

        threads = [threading.Thread(target=work) for _number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts)

    def test_it_is_exact_in_the_database(self) -> None:
        self.assertEqual(self.let_through(), 20)

    @pytest.fixture(autouse=True)
    def _redis(self, request: pytest.FixtureRequest) -> Iterator[None]:
        if "redis" in request.node.name:
            url = request.getfixturevalue("redis_url")
            backend = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
            with override_settings(CACHES={"default": backend}):
                yield
        else:
            yield

    @pytest.mark.needs_redis
    def test_it_is_exact_in_redis(self) -> None:
        self.assertEqual(self.let_through(), 20)
        self.assertFalse(RateCount.objects.exists())

    def test_it_is_exact_in_one_process_between_two_writes(self) -> None:
        with patch.object(rate_limits, "in_database", rate_limits.DatabaseCounter(seconds=60)):
            self.assertEqual(self.let_through(), 20)

    @override_settings(
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": "redis://127.0.0.1:9/0",
            }
        }
    )
    def test_it_counts_in_the_database_while_the_cache_is_gone(self) -> None:
        self.assertEqual(spend_until_refused(30, {"token": "7"}), 20)


class DatabaseCounterTests(TestCase):
    """Each counter stands for a process."""

    ends = {"rate:user:1:60:9": 2_000_000_000, "rate:address:192.0.2.1:60:9": 2_000_000_000}
    key = "rate:user:1:60:9"

    def add(self, counter: rate_limits.DatabaseCounter, cost: int = 1) -> int:
        return counter.add(self.ends, cost)[self.key]

    def written(self) -> dict[str, int]:
        return dict(RateCount.objects.values_list("key", "count"))

    def test_it_writes_once_in_its_seconds(self) -> None:
        counter = rate_limits.DatabaseCounter(seconds=60)
        with self.assertNumQueries(1):
            self.assertEqual([self.add(counter) for _ in range(9)], list(range(1, 10)))
        self.assertEqual(self.written()[self.key], 1)
        counter.seconds, counter._next = 0, 0
        with self.assertNumQueries(2):
            self.assertEqual([self.add(counter, 2) for _ in range(2)], [11, 13])
        self.assertEqual(self.written()[self.key], 13)

    def test_what_another_process_was_sent_counts_when_it_has_written_it(self) -> None:
        one, other = (rate_limits.DatabaseCounter(seconds=60) for _ in range(2))
        self.assertEqual([self.add(one) for _ in range(5)][-1], 5)
        # It knows of the first, which was written at once.
        self.assertEqual([self.add(other) for _ in range(4)][-1], 5)
        one._next = other._next = 0
        self.add(one)
        self.assertEqual(self.written()[self.key], 7)
        self.assertEqual(self.add(other), 11)
        self.assertEqual(self.written()[self.key], 11)

    def test_what_could_not_be_written_is_kept(self) -> None:
        counter = rate_limits.DatabaseCounter(seconds=0)
        self.add(counter)
        with (
            patch.object(rate_limits, "_add_to_rows", side_effect=OperationalError("database is locked")),
            self.assertRaises(OperationalError),
        ):
            self.add(counter)
        self.assertEqual((self.add(counter), self.written()[self.key]), (3, 3))

    def test_more_keys_than_a_statement_takes(self) -> None:
        counter = rate_limits.DatabaseCounter(seconds=0)
        ends = {f"rate:address:{n}:60:9": 2_000_000_000 for n in range(rate_limits.ROWS_AT_ONCE + 1)}
        with self.assertNumQueries(2):
            self.assertEqual(set(counter.add(ends, 3).values()), {3})
        self.assertEqual(RateCount.objects.count(), len(ends))

    def test_it_forgets_what_is_over_and_what_nobody_uses(self) -> None:
        counter = rate_limits.DatabaseCounter(seconds=0)
        counter.KEPT_SECONDS = 0
        counter.add({"over": int(time.time()) - 1, "unused": 2_000_000_000}, 1)
        self.add(counter)
        self.assertEqual(counter._counts.keys(), self.ends.keys())


def test_it_knows_on_whose_account_a_request_goes(db: None) -> None:
    person = make_user("dora")
    token, _secret = make_token(person, scopes=["read"])
    expected = {"address": "192.0.2.1", "user": str(person.pk), "token": str(token.pk)}
    assert rate_limits.subjects("192.0.2.1", person, token) == expected

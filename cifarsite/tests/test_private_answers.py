"""No answer to somebody signed in may be kept where others could read it: each URL, by session and token."""

from __future__ import annotations

from typing import Any

import pytest

from cifarsite.tests.access_table import TABLE, access
from cifarsite.tests.test_who_gets_in import WalkTestCase, all_routes

PRIVATE = ("private", "no-store", "no-cache")


class CacheTests(WalkTestCase):
    def assert_private(self, name: str, *, by_token: bool = False) -> int:
        wrong, seen = [], 0
        for route in all_routes():
            if by_token and not route.startswith("api/v1/"):
                continue
            rule = access(route)
            assert rule
            for method in ("get", "post"):
                path = self.path(route, rule)
                response: Any = self.ask(name, method, path, json=rule.json, by_token=by_token)
                said = response.headers.get("Cache-Control", "")
                seen += response.status_code == 200
                if not any(word in said for word in PRIVATE):
                    wrong.append(f"{method.upper()} {path}: {response.status_code} {said!r}")
        self.assertFalse(wrong, f"as {name}")
        return seen

    def test_pages_of_a_person_are_private(self) -> None:
        self.assertGreater(self.assert_private("alice"), 40)

    @pytest.mark.slow
    def test_pages_of_staff_and_administrators_are_private(self) -> None:
        self.assertGreater(self.assert_private("root"), len(TABLE) // 2)

    def test_answers_to_a_token_are_private(self) -> None:
        self.assertGreater(self.assert_private("alice", by_token=True), 5)

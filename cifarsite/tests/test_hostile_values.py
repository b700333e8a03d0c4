"""Values that fit no parameter, in each parameter of each URL, end in a refusal and never in an error page.

Which parameters a page has is not listed here: what it reads of the query and of the form is written down
while it answers, and each name found is tried. The API's come from its schema, the admin's from its lists.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote, urlencode

import pytest
from django.contrib import admin
from django.http import QueryDict
from django.test import Client
from django.urls import reverse

from cifarsite.tests.access_table import Access, Who, access
from cifarsite.tests.test_who_gets_in import WalkTestCase, all_routes
from classifier.api.application import api
from conftest import ROOT

HUGE = str(2**63)
# On SQLite the one that it refuses: a number of more than 64 bits. PostgreSQL refuses zero bytes too, and
# what Python makes of the others does not depend on the database.
VALUES: tuple[str, ...] = (HUGE,)
IN_JSON = (2**63, -(2**70), 1.5, None, "a\0b", "x" * 5_000, ["\0"], {"\0": "\0"})
IDS: tuple[str, ...] = (HUGE,)
IN_LISTS: tuple[str, ...] = (HUGE,)
if os.environ.get("DATABASE_URL", "").startswith("postgres"):
    VALUES += (f"-{HUGE}9", "a\0b", "0001-01-01", "9" * 5_000, "nan", "x" * 5_000)
    IDS += ("9" * 5_000, "a\0b", "x" * 5_000)
    IN_LISTS += (f"-{HUGE}9", "99999-01-01")
ENOUGH = 40  # names of one page
# What Django's administration reads of each table's forms alike, and never asks the database for.
DJANGOS = {"_changelist_filters", "_popup", "_to_field"}
PARTS = re.compile(r"\(\?P<(\w+)>|<(?:\w+:)?(\w+)>")


class Reading:
    """Notes what is read of queries and forms."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __enter__(self) -> set[str]:
        self.patches = []
        for method in ("get", "getlist", "__getitem__", "__contains__"):
            real = getattr(QueryDict, method)

            def noting(query: Any, name: Any, *more: Any, _real: Any = real) -> Any:
                self.names.add(name)
                return _real(query, name, *more)

            self.patches.append(mock.patch.object(QueryDict, method, noting))
        for patch in self.patches:
            patch.start()
        return self.names

    def __exit__(self, *error: object) -> None:
        for patch in self.patches:
            patch.stop()


def asker(rule: Access) -> str:
    if rule.who is Who.SIGNING_IN:
        return ""
    return "root" if rule.who in (Who.STAFF, Who.ADMIN) else "alice"


def lists_parameters() -> dict[str, set[str]]:
    """The parameters of each list of the administration, by its path."""
    parameters: dict[str, set[str]] = {}
    for model, options in admin.site._registry.items():
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        names = {"q", "p", "o", "all", "e", "_to_field", f"{model._meta.pk.name}__exact"}
        for chosen in options.list_filter:
            name = chosen[0] if isinstance(chosen, tuple) else chosen
            if not isinstance(name, str):
                names.add(getattr(name, "parameter_name", ""))
                continue
            names |= {f"{name}__{look}" for look in ("exact", "gte", "lt", "isempty", "isnull")}
        for field in model._meta.concrete_fields:
            if field.remote_field:
                names.add(f"{field.name}__id__exact")
        if options.date_hierarchy:
            names |= {f"{options.date_hierarchy}__{part}" for part in ("year", "month", "day")}
        parameters[url] = names
    return parameters


@pytest.mark.slow
class HostileTests(WalkTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.lists = lists_parameters()
        self.wrong: list[str] = []
        self.asked = 0

    def tearDown(self) -> None:
        found = "\n".join(self.wrong)
        self.assertFalse(
            self.wrong, f"{len(self.wrong)} of {self.asked} requests ended in an error page:\n{found}"
        )
        self.assertGreater(self.asked, 100)
        super().tearDown()

    def client_of(self, name: str) -> Client:
        client = super().client_of(name)
        client.raise_request_exception = False
        return client

    def try_it(self, name: str, method: str, path: str, what: str, **more: Any) -> None:
        self.asked += 1
        response = self.ask(name, method, path, **more)
        if response.status_code >= 500 and path != "/readyz":
            fault = getattr(response, "exc_info", None) or (None, "")
            self.wrong.append(f"{method.upper()} {what}: {response.status_code} {fault[1]!r:.200}")

    def routes(self) -> Iterator[tuple[str, Access, str]]:
        for route in all_routes():
            rule = access(route)
            assert rule
            yield route, rule, self.path(route, rule)

    def test_a_number_of_thousands_of_digits_in_the_json_of_a_form(self) -> None:
        for path in ("/accounts/2fa/webauthn/login/", "/accounts/2fa/webauthn/reauthenticate/"):
            for _ in range(60):
                self.try_it("alice", "post", path, path, form={"credential": "9" * 5_000})

    def test_in_the_path(self) -> None:
        for route, rule, _path in self.routes():
            for part in {one or other for one, other in PARTS.findall(route)}:
                for value in IDS:
                    path = self.path(route, rule, **{part: quote(value, safe="")})
                    for method in ("get", "post"):
                        self.try_it(asker(rule), method, path, f"{route} with {part}={value[:30]!r}")

    def test_in_the_query_and_in_forms(self) -> None:
        forms: set[str] = set()
        for route, rule, path in self.routes():
            if route.startswith("api/v1/"):
                continue
            # What the administration's forms are sent, Django's own fields look at.
            methods = ("get",) if rule.who is Who.ADMIN else ("get", "post")
            left_out = {"csrfmiddlewaretoken"} | self.lists.get(path, set())
            if rule.who is Who.ADMIN:
                form = route.rstrip("/").rpartition("/")[2]
                left_out |= DJANGOS if form in forms else set()
                forms.add(form)
            for method in methods:
                self.try_each_name(route, rule, path, method, left_out)

    def try_each_name(self, route: str, rule: Access, path: str, method: str, left_out: set[str]) -> None:
        name, tried = asker(rule), set[str]()
        with Reading() as names:
            self.try_it(name, method, path, route)
        while left := {str(one) for one in names} - tried - left_out:
            for parameter in sorted(left)[:ENOUGH]:
                with Reading() as more:
                    for value in VALUES:
                        what = f"{route} with {parameter}={value[:30]!r}"
                        if method == "get":
                            self.try_it(name, "get", f"{path}?{urlencode({parameter: value})}", what)
                        else:
                            self.try_it(name, "post", path, what, form={parameter: value})
                names |= more
            tried |= left
            if len(tried) > ENOUGH:
                break

    def test_in_the_lists_of_the_administration(self) -> None:
        for number, (url, names) in enumerate(self.lists.items()):
            for name in sorted(names):
                # What is searched for goes to the list's own fields; the rest is read alike of each list.
                for value in VALUES if name == "q" or number == 0 else IN_LISTS:
                    path = f"{url}?{urlencode({name: value})}"
                    self.try_it("root", "get", path, f"{url} with {name}={value[:30]!r}")

    def test_in_the_parameters_and_bodies_of_the_api(self) -> None:
        schema = api.get_openapi_schema()
        spelled = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", f"/{route}"): route for route in all_routes()}
        for template, operations in schema["paths"].items():
            route = spelled[template]
            rule = access(route)
            assert rule
            for method, operation in operations.items():
                for name in [one["name"] for one in operation["parameters"] if one["in"] == "query"]:
                    for value in VALUES:
                        path = f"{self.path(route, rule)}?{urlencode({name: value})}"
                        self.try_it(asker(rule), method, path, f"{route} with {name}={value[:30]!r}")
                for kind, body in operation.get("requestBody", {}).get("content", {}).items():
                    part = body["schema"]
                    if "$ref" in part:
                        part = schema["components"]["schemas"][part["$ref"].rsplit("/")[-1]]
                    for name in part.get("properties", {}):
                        self.try_member(route, rule, method, kind, name)

    def try_member(self, route: str, rule: Access, method: str, kind: str, name: str) -> None:
        in_json = kind == "application/json"
        values: tuple[Any, ...] = IN_JSON if in_json else VALUES
        for value in values:
            sent: Any = {"json": {**rule.json, name: value}} if in_json else {"form": {name: value}}
            what = f"{route} with {name}={str(value)[:30]!r}"
            self.try_it(asker(rule), method, self.path(route, rule), what, **sent)


@pytest.mark.slow
@pytest.mark.needs_postgres
def test_on_postgresql_as_well(postgres_url: str, tmp_path: Path) -> None:
    environment = {**os.environ, "DATABASE_URL": postgres_url, "VAR_DIR": str(tmp_path)}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::HostileTests"]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8_000:]

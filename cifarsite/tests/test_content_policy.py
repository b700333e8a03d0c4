"""Every page of the site, of the administration and of the API's documentation in a real browser.

None breaks the content security policy, has a script or a style in itself, or asks another host.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.conf import settings as django_settings
from django.contrib import admin
from django.test import Client
from playwright.sync_api import Page

from cifarsite.test import make_user
from cifarsite.tests.access_table import Who, access
from cifarsite.tests.test_who_gets_in import all_routes, fill, make_objects

INLINE = re.compile(r"<style|<script(?![^>]*(src=|application/json))|\s(style|on[a-z]+)=[\"']", re.IGNORECASE)
LISTEN = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (e) =>
  window.violations.push(`${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}`));
"""
# They end the visit or the session, or are no pages.
NOT_VISITED = re.compile(
    r"logout|\.(csv|jsonl|json|png|svg|md|webmanifest)$|download|/(image|thumbnail|input)/|inputs/"
)


def paths(objects: dict[str, Any]) -> list[str]:
    found = []
    for route in all_routes():
        rule = access(route)
        if rule is None or rule.who is Who.ADMIN or NOT_VISITED.search(route) or "api/v1" in route:
            continue
        ids = dict.fromkeys(("pk", "photo_id", "batch_id", "model_id", "job_id"), objects.get(rule.what, "0"))
        found.append(fill(route, {**ids, **{k: objects.get(v, v) for k, v in rule.more.items()}}))
    for model in admin.site._registry:
        table = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        row = model._default_manager.first()
        found += [table, f"{table}{row.pk}/change/"] if row else [table]
    return [*found, "/admin/", f"/admin/classifier/photo/{objects['photo']}/staff-access/", "/nothing/"]


def is_page(response: Any) -> bool:
    html = response.headers.get("Content-Type", "").startswith("text/html")
    return html and response.status_code not in (204, 405) and bool(response.content)


@pytest.mark.needs_browser
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_no_page_breaks_the_policy_or_asks_another_host(
    live_server: Any, page: Page, settings: Any, tmp_path: Any
) -> None:
    settings.MEDIA_ROOT, settings.MODELS_DIR = tmp_path / "media", tmp_path / "models"
    root = make_user("root", is_staff=True, is_superuser=True)
    objects = make_objects(root, make_user("dora"), root)
    Authenticator.objects.filter(type="webauthn").delete()  # made up: the pages of keys cannot read it
    outside, complaints = [], []
    page.on("request", lambda request: outside.append(request.url) if elsewhere(request.url) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def elsewhere(url: str) -> bool:
        return not url.startswith((live_server.url, "data:", "blob:"))

    def visit(path: str) -> str:
        response = page.goto(f"{live_server.url}{path}", wait_until="load")
        assert response is not None
        kind = response.headers.get("content-type", "")
        if response.status != 405 and kind.startswith("text/html") and not response.request.redirected_from:
            inline = INLINE.search(response.text())
            assert inline is None, f"{path}: {inline}"
        violations = page.evaluate("window.violations || []")
        assert not violations, f"{path}: {violations}"
        assert not outside and not complaints, f"{path}: {outside} {complaints}"
        return kind

    page.add_init_script(LISTEN)
    for path in ("/", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/api/docs"):
        visit(path)
    client = Client()
    client.force_login(root)
    client.post("/accounts/reauthenticate/", {"password": "correct-horse-battery"})
    cookie = client.cookies[django_settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies(
        [{"name": django_settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}]
    )
    # A browser has nothing to show of a method that is not allowed, or of an answer without content.
    visited = [visit(path) for path in paths(objects) if is_page(client.get(path))]
    assert sum(kind.startswith("text/html") for kind in visited) > 60


def test_a_violation_would_be_seen(page: Page, live_server: Any) -> None:
    """The test above rests on this: an inline script is refused, and counted."""
    page.add_init_script(LISTEN)
    page.goto(f"{live_server.url}/accounts/login/")
    page.evaluate("document.body.appendChild(Object.assign(document.createElement('script'), {text: '1'}))")
    page.wait_for_function("window.violations.length > 0")

"""The health page in a real browser: it refreshes itself, and everybody can use it."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from cifarsite.test import make_user
from cifarsite.tests.accessibility import violations
from training import workers
from training.jobs import lifecycle

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_refreshes_itself_and_is_accessible(page: Page, live_server: Any, theme: Any) -> None:
    client = Client()
    client.force_login(make_user("charlie", is_staff=True))
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}]
    )
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.goto(f"{live_server.url}/health/")
    waiting = page.get_by_role("row", name="Training jobs").get_by_role("cell").first
    expect(waiting).to_have_text("0")
    lifecycle.request_training(recipe="fast_cnn", parameters={}, by=None)
    workers.record_heartbeat("train@host", ["train"], timezone.now())
    # By itself, within its five seconds.
    expect(waiting).to_have_text("1", timeout=30_000)
    expect(page.get_by_role("row", name="train@host")).to_be_visible()
    assert violations(page) == []
    page.set_viewport_size({"width": 390, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert complaints == []

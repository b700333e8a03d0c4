"""What a verdict means, and drift, in a real browser: for everybody, on every screen."""

from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Page, expect

from cifarsite.test import make_user
from cifarsite.tests.accessibility import violations
from classifier.tests.monitoring.test_drift import add_days
from training.registry import pretrained

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]

SCREENS = [(1440, "light"), (390, "dark")]


def check(page: Page) -> None:
    """No breach that axe knows, nothing wider than the screen."""
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.fixture
def complaints(page: Page) -> list[str]:
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    return said


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_what_a_verdict_means_is_readable_without_an_account(
    page: Page, live_server: Any, complaints: list[str], width: int, scheme: Any
) -> None:
    pretrained.install_pretrained()
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto(f"{live_server.url}/")
    page.get_by_role("link", name="What a prediction means").click()
    expect(page.get_by_role("heading", level=1, name="What a prediction means")).to_be_visible()
    expect(page.get_by_text("photo_net-shipped")).to_be_visible()
    expect(page.locator(".strange img")).to_have_count(4)
    page.get_by_text("Table").click()
    expect(page.locator(".calibration tbody tr").first).to_be_visible()
    check(page)
    assert complaints == []


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_staff_see_drift_and_go_through_the_weeks(
    page: Page, live_server: Any, complaints: list[str], width: int, scheme: Any
) -> None:
    add_days(60, 8)
    add_days(7, 1, none=0.5)
    client = Client()
    client.force_login(make_user("charlie", is_staff=True))
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto(f"{live_server.url}/training/")
    page.get_by_role("link", name="Is retraining worthwhile?").click()
    expect(page.get_by_text("Review corrections first")).to_be_visible()
    expect(page.locator(".drift-table .is-warning")).to_have_count(1)
    check(page)
    page.get_by_role("link", name="Week before").click()
    expect(page.get_by_text("no reason to retrain")).to_be_visible()
    page.get_by_role("link", name="Week after").click()
    expect(page.get_by_text("Review corrections first")).to_be_visible()
    assert complaints == []

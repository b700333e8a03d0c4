"""The API's pages in a real browser: no violation of the policy, and the API can be tried there."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from cifarsite.test import image_bytes, make_user
from classifier.models import Photo

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def problems(page: Page, live_server: LiveServer) -> Iterator[list[str]]:
    """What the browser complains about, and each request that leaves the site."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.add_init_script(
        "document.addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective))"
    )

    def note(request: Any) -> None:
        if not request.url.startswith((live_server.url, "data:", "blob:")):
            found.append(request.url)

    page.on("request", note)
    yield found
    assert found == []


@pytest.fixture
def alice(page: Page, live_server: LiveServer) -> Any:
    person = make_user("alice")
    client = Client()
    client.force_login(person)
    cookie = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
    return person


def open_operation(page: Page, live_server: LiveServer, operation: str) -> Any:
    page.goto(f"{live_server.url}/api/docs")
    block = page.locator(f"[id$='-{operation}']")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    return block


def test_it_can_be_tried_by_somebody_who_is_signed_in(
    page: Page, live_server: LiveServer, alice: Any, problems: list[str], settings: Any, tmp_path: Any
) -> None:
    settings.MEDIA_ROOT = tmp_path
    block = open_operation(page, live_server, "listPhotos")
    block.get_by_role("button", name="Execute").click()
    expect(block.locator(".live-responses-table .response-col_status").last).to_contain_text("200")


def test_it_uploads_with_the_csrf_token(
    page: Page, live_server: LiveServer, alice: Any, problems: list[str], settings: Any, tmp_path: Any
) -> None:
    settings.MEDIA_ROOT = tmp_path
    block = open_operation(page, live_server, "uploadPhotos")
    file = {"name": "cat.jpg", "mimeType": "image/jpeg", "buffer": image_bytes()}
    block.locator("input[type=file]").set_input_files(file)
    block.get_by_role("button", name="Execute").click()
    expect(block.locator(".live-responses-table .response-col_status").last).to_contain_text("202")
    assert Photo.objects.get().filename == "cat.jpg"


def test_it_reads_from_top_to_bottom(page: Page, live_server: LiveServer, problems: list[str]) -> None:
    page.goto(f"{live_server.url}/api/reference")
    page.get_by_role("link", name="Upload photos").click()
    expect(page.get_by_role("heading", name="Upload photos")).to_be_in_viewport()

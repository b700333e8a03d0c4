"""The admin in a real browser: nothing that the content security policy refuses."""

from __future__ import annotations

import io

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Page, expect

from cifarsite.test import answer, image_bytes, make_user
from classifier.models import User
from classifier.uploads.photos import upload_photo
from training.jobs import lifecycle

# Timers run this much later than asked, so that jQuery makes its choosers after the page has loaded.
LATE_TIMERS = (
    "const real = setTimeout; window.setTimeout = (what, ms = 0, ...of) => real(what, ms + 700, ...of)"
)


def sign_in(page: Page, address: str, user: User) -> None:
    client = Client()
    client.force_login(user)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": address}])


@pytest.mark.needs_browser
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("timers", ["", LATE_TIMERS], ids=["before load", "after load"])
def test_a_chooser_has_a_name_whenever_it_is_made(live_server, page: Page, timers: str) -> None:
    sign_in(page, live_server.url, make_user("root", is_staff=True, is_superuser=True))
    page.add_init_script(timers)
    page.goto(f"{live_server.url}/admin/training/trainingjob/add/", wait_until="load")
    expect(page.locator(".select2-selection")).to_have_accessible_name("Dataset")


@pytest.mark.needs_browser
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_no_page_of_the_admin_breaks_the_content_security_policy(live_server, page: Page) -> None:
    root = make_user("root", is_staff=True, is_superuser=True)
    prediction = answer(upload_photo(root, io.BytesIO(image_bytes()), filename="photo.jpg"))
    job = lifecycle.request_training(recipe="fast_cnn", parameters={}, by=root)
    sign_in(page, live_server.url, root)
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for path in (
        "",
        "classifier/photo/",
        "classifier/photo/export/",
        f"classifier/photo/{prediction.photo_id}/change/",
        f"classifier/prediction/{prediction.pk}/change/",
        f"classifier/user/{root.pk}/change/",
        f"training/trainingjob/{job.pk}/change/",
        "training/trainingjob/add/",
        "training/modelversion/roll-back/",
    ):
        page.goto(f"{live_server.url}/admin/{path}", wait_until="networkidle")
        for chooser in page.locator(".select2-selection").all():
            chooser.click()
        assert page.locator("#content").is_visible(), path
        assert complaints == [], path

"""The admin in a real browser: nothing that the content security policy refuses."""

from __future__ import annotations

import io

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Page

from cifarsite.test import answer, image_bytes, make_user
from classifier.uploads.photos import upload_photo
from training.jobs import lifecycle


@pytest.mark.needs_browser
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_no_page_of_the_admin_breaks_the_content_security_policy(live_server, page: Page) -> None:
    root = make_user("root", is_staff=True, is_superuser=True)
    prediction = answer(upload_photo(root, io.BytesIO(image_bytes()), filename="photo.jpg"))
    job = lifecycle.request_training(recipe="fast_cnn", parameters={}, by=root)
    client = Client()
    client.force_login(root)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}]
    )
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

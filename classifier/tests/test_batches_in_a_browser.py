"""Batches and corrections in a real browser: packing, keys, the policy, accessibility."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse
from playwright.sync_api import BrowserContext, FilePayload, Page, expect

from cifarsite.test import answer, image_bytes, make_user
from classifier import batches, unpacking
from classifier.corrections import correct, set_consent
from classifier.models import Batch, Correction, Example, Photo, User
from classifier.tests.archives import photos, zipped
from classifier.uploads import upload_photo

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _media(tmp_path: Any, settings: Any) -> None:
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def alice() -> User:
    return make_user("alice")


@pytest.fixture
def signed_in(
    context: BrowserContext, page: Page, live_server: Any, client: Any, alice: User
) -> Iterator[Page]:
    """Alice's page; the test fails where a script or the policy complained."""
    sign_in(context, live_server, client, alice)
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    assert complaints == []


def sign_in(context: BrowserContext, live_server: Any, client: Any, person: User) -> None:
    client.force_login(person)
    context.add_cookies(
        [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]
    )


def answered(owner: User, label: str = "cat") -> Photo:
    photo = upload_photo(owner, io.BytesIO(image_bytes()), filename="photo.jpg")
    answer(photo, label)
    return photo


def accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_many_photos_are_packed_by_the_browser(signed_in: Page, live_server: Any) -> None:
    page = signed_in
    page.goto(live_server.url + reverse("classifier:batches"))
    accessible(page)
    names = ["a.jpg", "ảnh mèo.jpg", "third.png"]
    files: list[FilePayload] = [
        {"name": name, "mimeType": "image/jpeg", "buffer": image_bytes(size=(64 + n, 48))}
        for n, name in enumerate(names)
    ]
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose many photos").click()
    chooser.value.set_files(files)
    page.wait_for_url("**/batches/*-*/")
    batch = Batch.objects.get()
    assert list(batch.items.values_list("name", flat=True)) == names
    while unpacking.unpack_slice("w"):
        continue
    assert sorted(Photo.objects.values_list("width", flat=True)) == [64, 65, 66]


def test_a_zip_that_is_none_is_told_and_the_page_follows_a_batch(
    signed_in: Page, live_server: Any, alice: User
) -> None:
    page = signed_in
    page.goto(live_server.url + reverse("classifier:batches"))
    good: FilePayload = {
        "name": "two.zip",
        "mimeType": "application/zip",
        "buffer": zipped(photos(2)).getvalue(),
    }
    page.locator("#archive").set_input_files(good)
    page.get_by_role("button", name="Upload", exact=True).click()
    page.wait_for_url("**/batches/*-*/")
    expect(page.get_by_text("worker", exact=False).first).to_be_visible()
    accessible(page)
    batch = Batch.objects.get()
    while unpacking.unpack_slice("w"):
        continue
    for prediction in batches.open_predictions(batch):
        answer(prediction.photo)
    expect(page.get_by_text("All done")).to_be_visible(timeout=10_000)
    tile = page.locator(".tile-link").first
    tile.focus()
    tile.press("6")
    expect(page.locator(".tile-correct.is-other")).to_have_count(1)
    assert Correction.objects.get().label == "dog"
    accessible(page)


def test_keys_correct_on_the_result_page_and_in_the_history(
    signed_in: Page, live_server: Any, alice: User
) -> None:
    page = signed_in
    photo = answered(alice)
    page.goto(live_server.url + photo.get_absolute_url())
    page.keyboard.press("6")
    expect(page.get_by_role("heading", name="You said: dog")).to_be_visible()
    expect(page.get_by_text("May the photos that you correct")).to_be_visible()
    accessible(page)
    page.keyboard.press("r")
    expect(page.get_by_role("heading", name="You said: cat")).to_be_visible()
    page.goto(live_server.url + "/history/")
    page.locator(".tile-correct select").select_option("none_of_the_ten")
    expect(page.locator(".tile-correct.is-other")).to_have_count(1)
    assert Correction.objects.get().label == "none_of_the_ten"
    accessible(page)


def test_a_reviewer_works_with_the_keyboard(
    signed_in: Page, context: BrowserContext, live_server: Any, client: Any, alice: User
) -> None:
    page = signed_in
    set_consent(alice, True)
    for _n in range(2):
        correct(answered(alice), alice, "dog")
    sign_in(context, live_server, client, make_user("charlie", is_staff=True))
    page.goto(live_server.url + reverse("classifier:review"))
    accessible(page)
    for key, text in (
        ("a", "1 photo waits"),
        ("z", "2 photos wait"),
        ("x", "1 photo waits"),
        ("5", "Nothing waits"),
    ):
        page.keyboard.press(key)
        expect(page.get_by_text(text)).to_be_visible()
    assert Example.objects.get().label == "deer"
    page.goto(live_server.url + reverse("classifier:datasets"))
    accessible(page)

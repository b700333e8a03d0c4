"""Batches and corrections in a real browser: packing, keys, the policy, accessibility."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import BrowserContext, FilePayload, Page, Route, expect

from cifarsite.test import answer, image_bytes, make_user
from cifarsite.tests.accessibility import violations
from classifier.feedback.corrections import correct, set_consent
from classifier.models import Batch, Correction, Example, Photo, User
from classifier.tests.uploads.archives import photos, zipped
from classifier.uploads import batch_results, batch_worker, chunked
from classifier.uploads.photos import upload_photo

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


def test_many_photos_are_packed_by_the_browser(signed_in: Page, live_server: Any) -> None:
    page = signed_in
    page.goto(live_server.url + reverse("classifier:batches"))
    assert violations(page) == []
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
    while batch_worker.unpack_slice("w"):
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
    assert violations(page) == []
    batch = Batch.objects.get()
    while batch_worker.unpack_slice("w"):
        continue
    for prediction in batch_results.open_predictions(batch):
        answer(prediction.photo)
    expect(page.get_by_text("All done")).to_be_visible(timeout=10_000)
    tile = page.locator(".tile-link").first
    tile.focus()
    tile.press("6")
    expect(page.locator(".tile-correct.is-other")).to_have_count(1)
    assert Correction.objects.get().label == "dog"
    assert violations(page) == []


def test_an_upload_goes_on_after_a_lost_connection_and_after_a_reload(
    page: Page, context: BrowserContext, live_server: Any, client: Any, alice: User, monkeypatch: Any
) -> None:
    monkeypatch.setattr(chunked, "PIECE_BYTES", 2_000)
    sign_in(context, live_server, client, alice)
    content = zipped(photos(4)).getvalue()
    archive: FilePayload = {"name": "four.zip", "mimeType": "application/zip", "buffer": content}
    sent: list[str] = []

    def lose_the_third_piece(route: Route) -> None:
        if route.request.method == "PATCH" and len(sent) == 2:
            route.abort("connectionreset")
        else:
            sent.append(route.request.headers.get("upload-offset", ""))
            route.continue_()

    page.goto(live_server.url + reverse("classifier:batches"))
    page.route("**/batches/uploads/*/", lose_the_third_piece)
    page.locator("#archive").set_input_files(archive)
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_text("The site does not respond.")).to_be_visible(timeout=20_000)
    page.unroute("**/batches/uploads/*/")
    page.wait_for_url("**/batches/*-*/", timeout=40_000)
    assert sent == ["0", "2000"]
    assert Batch.objects.get().size == len(content)
    # Left in the middle, then chosen again.
    archive["name"] = "again.zip"
    sent.clear()
    page.goto(live_server.url + reverse("classifier:batches"))
    page.route("**/batches/uploads/*/", lose_the_third_piece)
    page.locator("#archive").set_input_files(archive)
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_text("The site does not respond.")).to_be_visible(timeout=20_000)
    page.on("dialog", lambda dialog: dialog.accept())
    page.unroute("**/batches/uploads/*/")
    page.goto(live_server.url + reverse("classifier:batches"))
    first = page.expect_request(lambda request: request.method == "PATCH")
    page.locator("#archive").set_input_files(archive)
    with first as request:
        page.get_by_role("button", name="Upload", exact=True).click()
    assert int(request.value.headers["upload-offset"]) >= 4_000
    page.wait_for_url("**/batches/*-*/", timeout=40_000)
    expect(page.get_by_text("You have sent this archive before")).to_be_visible()
    assert Batch.objects.count() == 2


def test_all_that_match_are_deleted_from_the_first_page(
    signed_in: Page, live_server: Any, alice: User
) -> None:
    page = signed_in
    for _n in range(26):
        answered(alice)
    answered(alice, "dog")
    page.goto(live_server.url + "/history/?label=cat")
    assert violations(page) == []
    page.get_by_label("All matching photos, on every page").check()
    expect(page.get_by_role("button", name="Delete")).to_contain_text("all")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("26 photos were deleted.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("26 photos were restored.")).to_be_visible()
    page.goto(live_server.url + "/history/")
    page.get_by_role("link", name="Calendar").click()
    expect(page.locator(".calendar .level-4")).to_have_count(1)
    assert violations(page) == []
    page.locator(".calendar .level-4 a").click()
    expect(page.locator(".tile")).to_have_count(24)


def test_keys_correct_on_the_result_page_and_in_the_history(
    signed_in: Page, live_server: Any, alice: User
) -> None:
    page = signed_in
    photo = answered(alice)
    page.goto(live_server.url + photo.get_absolute_url())
    page.keyboard.press("6")
    expect(page.get_by_role("heading", name="Your correction: dog")).to_be_visible()
    expect(page.get_by_text("May the site use the photos that you correct")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("r")
    expect(page.get_by_role("heading", name="Your correction: cat")).to_be_visible()
    page.goto(live_server.url + "/history/")
    page.locator(".tile-correct select").select_option("unknown")
    expect(page.locator(".tile-correct.is-other")).to_have_count(1)
    assert Correction.objects.get().label == "unknown"
    assert violations(page) == []


def test_a_reviewer_works_with_the_keyboard(
    signed_in: Page, context: BrowserContext, live_server: Any, client: Any, alice: User
) -> None:
    page = signed_in
    set_consent(alice, True)
    for _n in range(2):
        correct(answered(alice), alice, "dog")
    sign_in(context, live_server, client, make_user("charlie", is_staff=True))
    page.goto(live_server.url + reverse("classifier:review"))
    assert violations(page) == []
    for key, text in (
        ("a", "1 photo needs a review"),
        ("z", "2 photos need a review"),
        ("x", "1 photo needs a review"),
        ("5", "Nothing to review"),
    ):
        page.keyboard.press(key)
        expect(page.get_by_text(text)).to_be_visible()
    assert Example.objects.get().label == "deer"
    page.goto(live_server.url + reverse("classifier:datasets"))
    assert violations(page) == []

"""Projects of one's own in a real browser: the choice, the keys, names of any length, on every screen."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, FilePayload, Page, expect

from cifarsite.test import answer, drawn_model, image_bytes, make_user
from cifarsite.tests.accessibility import violations
from classifier.models import Correction, Photo, User
from classifier.tests.projects.drawn import HARD_NAMES, make_project
from classifier.uploads.photos import upload_photo
from training.models import DEFAULT_PROJECT
from training.projects.access import class_names

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]

# The elements that reach beyond the screen, unless what is around them scrolls or cuts them off.
TOO_WIDE = """() => document.documentElement.scrollWidth <= document.documentElement.clientWidth ? [] :
    [...document.querySelectorAll("body *")]
        .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
        .map((one) => `${one.tagName}.${one.className}`)"""
SCREENS = [(1440, "light"), (390, "dark")]


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
    """Alice's page on a site with three projects; the test fails where a script or the policy complained."""
    drawn_model(DEFAULT_PROJECT, is_champion=True)
    for count in (3, 100):
        make_project(f"p{count}", count)
    client.force_login(alice)
    context.add_cookies(
        [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]
    )
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    assert complaints == []


def answered(owner: User, project: str, place: int = 0, verdict: str = "recognised") -> Photo:
    photo = upload_photo(owner, io.BytesIO(image_bytes()), filename="photo.jpg", project=project)
    answer(photo, class_names(project)[place], 0.8, verdict)
    return photo


def check(page: Page) -> None:
    """No breach that axe knows, nothing wider than the screen."""
    assert violations(page) == []
    assert page.evaluate(TOO_WIDE) == []


def test_the_chosen_project_goes_with_the_photo_and_is_remembered(signed_in: Page, live_server: Any) -> None:
    page = signed_in
    page.goto(f"{live_server.url}/")
    page.get_by_label("Project").select_option("p3")
    file: FilePayload = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": image_bytes()}
    page.locator("#file").set_input_files([file])
    expect(page.locator("#upload-news")).to_contain_text("uploaded")
    assert Photo.objects.get().project_id == "p3"
    page.reload()
    expect(page.get_by_label("Project")).to_have_value("p3")


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_names_of_any_kind_fit_on_every_page(
    signed_in: Page, live_server: Any, alice: User, width: int, scheme: Any
) -> None:
    page = signed_in
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    photos = [answered(alice, slug, place) for slug, place in (("p3", 0), ("p100", 3))]
    for photo in photos:
        page.goto(live_server.url + photo.get_absolute_url())
        check(page)
    for address in (
        "/",
        "/history/",
        "/history/?project=p100",
        "/history/calendar/",
        "/account/numbers/",
        "/batches/",
    ):
        page.goto(live_server.url + address)
        check(page)


def test_keys_say_the_first_ten_and_a_list_the_others(signed_in: Page, live_server: Any, alice: User) -> None:
    page = signed_in
    photo = answered(alice, "p100", 2)
    page.goto(live_server.url + photo.get_absolute_url())
    page.keyboard.press("2")  # the second likeliest: of equals, the first in the classes' order
    expect(page.locator("#correct-title")).to_contain_text("Your correction")
    assert Correction.objects.get().label == HARD_NAMES[0]
    page.get_by_label("or another class:").select_option("class 60")
    page.locator(".correct-more button").click()
    expect(page.locator("#correct-title")).to_have_text("Your correction: class 60")
    assert Correction.objects.get().label == "class 60"


def test_tiles_of_two_projects_offer_their_own_classes(
    signed_in: Page, live_server: Any, alice: User
) -> None:
    page = signed_in
    own, ten = answered(alice, "p3", 2), answered(alice, DEFAULT_PROJECT, 3)
    page.goto(f"{live_server.url}/history/")
    tiles = {photo.pk: page.locator(f"[data-correct*='{photo.pk}']") for photo in (own, ten)}
    expect(tiles[own.pk].locator("option")).to_have_count(1 + 3 + 2)
    expect(tiles[ten.pk].locator("option")).to_have_count(1 + 10 + 2)
    tiles[own.pk].locator("select").select_option(HARD_NAMES[1])
    expect(page.locator(".tile-correct.is-other")).to_have_count(1)
    assert Correction.objects.get().label == HARD_NAMES[1]
    # Keys speak about the tile that has the focus, by its own project.
    tiles[ten.pk].locator("button").focus()
    page.keyboard.press("2")
    expect(page.locator(".tile-correct.is-other")).to_have_count(2)
    assert Correction.objects.get(photo=ten).label == "automobile"
    page.reload()
    expect(tiles[own.pk].locator("select")).to_have_value(HARD_NAMES[1])
    expect(tiles[own.pk].locator("option")).to_have_count(1 + 3 + 2)

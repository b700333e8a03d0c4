"""Every page that a link leads to, of a lively site: accessible, within the policy, at three widths.

The pages are found by following links, so a new page is looked at as soon as one leads to it.
A screenshot of one that is not right goes into the ignored folder `screenshots`; RENEW_PICTURES=1
renews the pictures in docs/images.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from django.urls import Resolver404, resolve
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from cifarsite.test import PASSWORD
from cifarsite.tests.hosts import demo_site
from classifier.tests.pages.test_browser import (
    SCREENSHOTS,
    THEMES,
    WIDTHS,
    Site,
    breaches,
    too_wide,
    watched,
)
from conftest import ROOT

pytestmark = [pytest.mark.needs_browser, pytest.mark.slow]

LINKS = "[...document.querySelectorAll('a[href]')].map(link => link.href)"
# What a link downloads, ends the session, or belongs to somebody else's page.
NO_PAGES = ("download", "export", "csv", "json", "logout", "i18n", "sheet", "figure", "card")
# Pages that Django's own admin makes in the same way for every table: one table stands for all.
ALIKE = ("_add", "_delete", "_history", "_export", "_import")
ALSO = ("/accounts/login/", "/nothing/", "/api/docs", "/admin/training/trainingjob/add/")
# Swagger's own widget has poor contrast; beside it stands a reference for everybody, /api/reference.
NOT_OURS = {"exclude": [["#swagger-ui"]]}
# Where RENEW_PICTURES=1 asks for it, these become the README's pictures.
PICTURES = {
    "linh-classifier-history": "history",
    "mara-training-report": "report",
}
EXPECTED = {
    "linh": {"classifier-history", "classifier-photo", "classifier-batch", "training-report"},
    "mara": {
        "training-model",
        "training-job",
        "classifier-review",
        "admin-index",
        "admin-classifier_photo_change-one",
    },
}


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("lively"))
    site.copy(demo_site())
    try:
        site.run()
        yield site
        site.ask_to_end(site.process)
    finally:
        site.destroy()


def sign_in(page: Page, name: str) -> None:
    page.goto("/accounts/login/")
    page.locator("[name=login]").fill(name)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("[name=password]").press("Enter")
    expect(page.locator("[name=password]")).to_have_count(0)


def view_name(url: str) -> str | None:
    """Which view answers; None where no page is to be expected."""
    try:
        match = resolve(urlsplit(url).path)
    except Resolver404:
        return None
    name = f"{match.view_name}-{match.kwargs.get('object_id', '') and 'one'}".rstrip("-")
    if any(word in name for word in NO_PAGES) or Path(urlsplit(url).path).suffix:
        return None
    table = match.url_name or ""
    if match.app_names == ["admin"] and any(table.endswith(end) for end in ALIKE):
        return None
    return name


def every_page(page: Page, site: Site) -> Iterator[str]:
    """Open one page of every view that links lead to, from the home page on; yields its name."""
    todo = [site.url + "/", *(site.url + path for path in ALSO)]
    known = {view_name(url): url for url in todo}
    while todo:
        url = todo.pop(0)
        page.goto(url, wait_until="load")
        if page.locator("main [name=password]").count() and "login" not in url:
            page.locator("main [name=password]").fill(PASSWORD)
            page.locator("main [name=password]").press("Enter")
            expect(page.locator("main [name=password]")).to_have_count(0)
            page.goto(url, wait_until="load")
        yield (view_name(url) or urlsplit(url).path).replace(":", "-").replace("/", "-").strip("-")
        for found in page.evaluate(LINKS):
            address = urljoin(url, found).partition("#")[0]
            name = view_name(address)
            if address.startswith(site.url + "/") and name and name not in known:
                known[name] = address
                todo.append(address)


def picture(page: Page, name: str) -> None:
    """The top of an open page for the documents, with few colours: some 30 kB."""
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.set_viewport_size({"width": 1000, "height": 760})
    shot = Image.open(io.BytesIO(page.screenshot()))
    shot.convert("RGB").quantize(96).save(ROOT / "docs" / "images" / f"{name}.png", optimize=True)


def look(page: Page, name: str, faults: list[str]) -> list[str]:
    """What is wrong with an open page, in both themes; leaves a screenshot of one that is not right."""
    # Django's own admin scrolls its tables sideways on a phone, within the page.
    widths = WIDTHS[-1:] if name.startswith("admin") else WIDTHS
    wrong = [f"{name} is {wide}" for wide in too_wide(page, widths)]
    for theme in THEMES:
        before = len(faults)
        found = breaches(page, theme, NOT_OURS)
        page.evaluate("0")  # so that what the browser said of it has arrived
        # axe sets styles of its own while it looks, which the policy forbids it.
        del faults[before:]
        wrong += [f"{name}, {theme}: {breach}" for breach in found]
    if wrong:
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
    return wrong


@pytest.mark.parametrize("person", ["linh", "mara"])
def test_every_page_is_accessible_and_fits(lively: Site, browser: Browser, person: str) -> None:
    context = browser.new_context(base_url=lively.url, locale="en")
    faults = watched(context)
    page = context.new_page()
    sign_in(page, person)
    seen: list[str] = []
    wrong: list[str] = []
    for name in every_page(page, lively):
        seen.append(name)
        title = f"{person}-{name}" if not name.startswith("admin") else name
        wrong += look(page, title, faults)
        if os.environ.get("RENEW_PICTURES") == "1" and title in PICTURES:
            picture(page, PICTURES[title])
    context.close()
    assert not wrong, "\n\n".join(wrong)
    assert faults == []
    assert set(seen) >= EXPECTED[person], seen

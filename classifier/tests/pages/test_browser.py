"""The real thing in a real browser: web, workers and broker as `make run` starts them.

A screenshot of a page that is not as it should be goes into the ignored folder `screenshots`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, FilePayload, Page, Route, expect

from cifarsite.test import PASSWORD, image_bytes
from cifarsite.tests.accessibility import violations
from cifarsite.tests.hosts import Host
from conftest import ROOT, accepts, free_port, wait_until

pytestmark = pytest.mark.needs_browser

SCREENSHOTS = ROOT / "screenshots"
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
WIDTHS = (390, 768, 1440)
# Kilobytes of a page as sent, without photos.
PAGE_BUDGET = 200
OUTSIDE = {
    "landing": "/",
    "login": "/accounts/login/",
    "signup": "/accounts/signup/",
    "reset": "/accounts/password/reset/",
    "verification-sent": "/accounts/confirm-email/",
    "missing": "/nothing/",
}
INSIDE = {
    "upload": "/",
    "history": "/history/",
    "history-filtered": "/history/?label=ship&search=zzz",
    "account": "/account/",
    "email": "/accounts/email/",
    "password": "/accounts/password/change/",
    "second-factor": "/accounts/2fa/",
    "authenticator": "/accounts/2fa/totp/activate/",
    "passkey": "/accounts/2fa/webauthn/add/",
    "sessions": "/accounts/sessions/",
    "logout": "/accounts/logout/",
}


class Site(Host):
    """The site as `make run` starts it, in a folder of its own; mails come on its console."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        options: dict[str, Any] = {"NEIGHBOUR_IMAGES": 200, "EMAIL_URL": "", "SECRET_KEY": ""}
        super().__init__(folder, PORT=self.port, HEARTBEAT_SECONDS=5, LEASE_SECONDS=30, **options)

    def run(self) -> None:
        self.process = self.python("-m", "cifarsite.supervisor", name="site")
        wait_until(lambda: accepts(self.port) or self.process.poll() is not None, "the site", 120)
        assert self.process.poll() is None, self.said()

    def said(self, name: str = "site") -> str:
        return super().said(name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.migrate()
    try:
        site.run()
        yield site
        site.ask_to_end(site.process)
    finally:
        site.destroy()


def watched(context: BrowserContext) -> list[str]:
    """What the browser refused by policy, or complained of, in all pages of a context."""
    faults: list[str] = []

    def watch(page: Page) -> None:
        page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))
        page.on(
            "console",
            lambda message: (
                faults.append(f"{page.url}: {message.text}")
                if "Content Security Policy" in message.text or "Uncaught" in message.text
                else None
            ),
        )

    context.on("page", watch)
    return faults


def sign_up(page: Page, site: Site, name: str) -> None:
    """From the landing page to being signed in, with the link from the mail on the console."""
    page.goto(site.url)
    page.locator("main").get_by_role("link", name="Sign up").click()
    page.get_by_label("Username").fill(name)
    page.get_by_label("Email").fill(f"{name}@example.org")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password (again)").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("confirm your e-mail address")
    expect(page.locator("main")).to_contain_text("prints them on the console")

    def link() -> re.Match[str] | None:
        return re.search(rf"user {name}.*?(http://\S+/accounts/confirm-email/\S+)", site.said(), re.S)

    wait_until(lambda: link() is not None, "the mail")
    found = link()
    assert found
    page.goto(found[1])
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What is in your photo?")


def photo(name: str, colour: str = "steelblue", image_format: str = "JPEG") -> FilePayload:
    content = image_bytes(image_format, colour, (320, 240))
    return {"name": name, "mimeType": f"image/{image_format.lower()}", "buffer": content}


@pytest.fixture(scope="module")
def person(site: Site, browser: Browser) -> Iterator[Any]:
    """Cookies of somebody who is signed in and has two photos that are answered."""
    context = browser.new_context(base_url=site.url)
    page = context.new_page()
    sign_up(page, site, f"person{secrets.token_hex(3)}")
    page.set_input_files("#file", [photo("sky.jpg"), photo("field.png", "khaki", "PNG")])
    expect(page.locator(".upload-list .bars")).to_have_count(2, timeout=120_000)
    yield context.storage_state()
    context.close()


def test_a_stranger_signs_up_uploads_and_finds_the_answer_in_the_history(
    site: Site, browser: Browser
) -> None:
    context = browser.new_context(base_url=site.url)
    faults = watched(context)
    page = context.new_page()
    sign_up(page, site, f"alice{secrets.token_hex(3)}")

    broken: FilePayload = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"hello"}
    page.set_input_files("#file", [photo("ship.jpg"), broken])
    expect(page.locator(".upload-item.is-refused")).to_contain_text("not an image")
    expect(page.locator(".upload-list .bars-short")).to_be_visible(timeout=120_000)

    page.get_by_role("link", name="All probabilities and the model input").click()
    expect(page.locator(".bars tbody tr")).to_have_count(10)
    expect(page.locator(".facts").first).to_contain_text("Model")
    for image in page.locator(".frame img").all():
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("image => image.naturalWidth") > 0

    page.get_by_role("navigation", name="Main").get_by_role("link", name="History").click()
    expect(page.locator(".tile")).to_have_count(1)
    page.locator(".tile-check input").check()
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".toast-note")).to_contain_text("1 photo was deleted")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".tile")).to_have_count(1)
    assert faults == []
    context.close()


def test_a_file_that_is_chosen_before_the_script_has_come_is_uploaded(
    site: Site, browser: Browser, person: Any
) -> None:
    context = browser.new_context(base_url=site.url, storage_state=person)
    page = context.new_page()
    held: list[Route] = []
    page.route("**/uploads/upload*.js", lambda route: held.append(route))
    page.goto("/", wait_until="commit")
    page.set_input_files("#file", [photo("early.jpg", "olive")])
    wait_until(lambda: page.evaluate("true") and len(held) == 1, "the script to be asked for")
    assert page.locator(".upload-item").count() == 0
    held[0].continue_()
    expect(page.locator(".upload-list .bars")).to_have_count(1, timeout=120_000)
    context.close()


def test_the_result_fills_itself_in(site: Site, browser: Browser, person: Any) -> None:
    context = browser.new_context(base_url=site.url, storage_state=person)
    page = context.new_page()
    page.goto("/")
    token = page.locator("#upload-form input[name=csrfmiddlewaretoken]").input_value()
    # As the form posts it without the script: the answer is the result page, still waiting.
    answer = context.request.post(
        "/",
        multipart={"csrfmiddlewaretoken": token, "file": photo("later.jpg", "teal")},
        headers={"Accept": "text/html", "Referer": site.url},
        max_redirects=0,
    )
    assert answer.status == 302
    page.goto(answer.headers["location"])
    expect(page.locator("#answer .bars tbody tr")).to_have_count(10, timeout=60_000)
    polls: list[str] = []
    page.on(
        "request", lambda request: polls.append(request.url) if request.url.endswith("/status/") else None
    )
    page.wait_for_timeout(2_500)
    assert polls == [], "the page went on asking after the answer"
    context.close()


def test_files_can_be_dropped_anywhere_and_pasted(site: Site, browser: Browser, person: Any) -> None:
    context = browser.new_context(base_url=site.url, storage_state=person)
    page = context.new_page()
    page.goto("/")
    carry = page.evaluate_handle(
        """(bytes) => {
          const carrier = new DataTransfer();
          carrier.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
          return carrier;
        }""",
        list(image_bytes("PNG", "tomato")),
    )
    page.dispatch_event("footer", "drop", {"dataTransfer": carry})
    expect(page.locator(".upload-list .bars-short")).to_have_count(1, timeout=60_000)
    page.evaluate(
        "carrier => document.body.dispatchEvent("
        "new ClipboardEvent('paste', { clipboardData: carrier, bubbles: true }))",
        carry,
    )
    expect(page.locator(".upload-list .bars-short")).to_have_count(2, timeout=60_000)
    context.close()


def test_arrow_keys_lead_through_the_photos(site: Site, browser: Browser, person: Any) -> None:
    context = browser.new_context(base_url=site.url, storage_state=person)
    page = context.new_page()
    page.goto("/history/")
    page.locator(".tile-link").first.click()
    # Until it has loaded, nobody listens to keys.
    page.wait_for_url("**/photos/**")
    first = page.url
    page.keyboard.press("ArrowRight")
    page.wait_for_url(lambda url: url != first)
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(first)
    context.close()


def test_the_chosen_theme_stays_and_does_not_flash(site: Site, browser: Browser) -> None:
    context = browser.new_context(base_url=site.url, color_scheme="light")
    page = context.new_page()
    page.goto("/")
    for _ in range(2):
        page.locator("#theme").click()
    page.reload(wait_until="commit")
    page.wait_for_selector("header")
    assert page.evaluate("document.documentElement.dataset.bsTheme") == "dark"
    context.close()


def test_without_javascript_the_whole_way_is_open(site: Site, browser: Browser, person: Any) -> None:
    context = browser.new_context(base_url=site.url, storage_state=person, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    page.set_input_files("#file", [photo("one.jpg", "plum"), photo("two.jpg", "pink")])
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("2 photos were uploaded")
    page.locator(".tile-link").first.click()
    # The page reloads itself until the answer is there.
    expect(page.locator(".bars tbody tr")).to_have_count(10, timeout=60_000)
    page.get_by_text("Select a part and classify it").click()
    page.get_by_role("button", name="Left half").click()
    expect(page.locator("#earlier")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Explain this prediction").click()
    expect(page.locator(".heat-map").first).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Delete this photo").click()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".toast-note")).to_contain_text("1 photo was restored")
    context.close()


def test_a_part_is_pointed_at_and_the_answer_explained(site: Site, browser: Browser, person: Any) -> None:
    context = browser.new_context(
        base_url=site.url, storage_state=person, viewport={"width": 1000, "height": 900}
    )
    faults = watched(context)
    page = context.new_page()
    page.goto("/history/")
    page.locator(".tile-link").last.click()
    page.get_by_text("Select a part and classify it").click()
    frame = page.locator("#crop-tool")
    expect(frame).to_be_visible()
    box = frame.bounding_box()
    assert box
    # The photo is 4:3 and fills the frame's width, so shares of the frame are shares of the photo.
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.8 * box["height"], steps=4)
    page.mouse.up()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    for name, value in (("left", 22), ("top", 30), ("width", 50), ("height", 48)):
        assert abs(float(page.locator(f"#crop-{name}").input_value()) - value) < 0.6, name
    assert violations(page) == []
    page.keyboard.press("Enter")
    expect(page.locator("#earlier")).to_be_visible(timeout=60_000)
    expect(page.locator(".part-mark")).to_be_visible()
    page.get_by_role("button", name="Explain this prediction").press("Enter")
    expect(page.locator("#why-title")).to_be_focused()
    expect(page.locator(".heat-map").first).to_be_visible(timeout=60_000)
    expect(page.locator("#why-news")).not_to_be_empty()
    for theme in THEMES:
        assert breaches(page, theme) == []
    assert faults == []
    context.close()


def test_the_main_way_needs_only_a_keyboard(site: Site, browser: Browser, person: Any) -> None:
    context = browser.new_context(base_url=site.url, storage_state=person)
    page = context.new_page()
    # Playwright begins to catch choosers a moment after it is asked to: ask before the page opens.
    page.on("filechooser", lambda chooser: None)
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#choose")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([photo("keys.jpg", "navy")])
    expect(page.locator(".upload-list .bars-short")).to_be_visible(timeout=60_000)
    context.close()


def every_page(context: BrowserContext, pages: dict[str, str]) -> Iterator[tuple[str, Page]]:
    page = context.new_page()
    for name, path in pages.items():
        page.goto(path, wait_until="networkidle")
        if page.get_by_role("heading", name="Confirm Access").is_visible():
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Confirm").click()
            page.wait_for_load_state("networkidle")
        yield name, page
    if pages is INSIDE:
        page.goto("/history/")
        page.locator(".tile-link").first.click()
        page.wait_for_load_state("networkidle")
        yield "photo", page


@contextmanager
def pictured(page: Page, name: str) -> Iterator[None]:
    """Leave a screenshot of what is not as it should be."""
    try:
        yield
    except AssertionError:
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
        raise


def too_wide(page: Page, widths: Sequence[int] = WIDTHS) -> list[str]:
    """At which widths of the window an open page is wider than that."""
    found = []
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            found.append(f"{wide} pixels wide at {width}")
    return found


def breaches(page: Page, theme: Theme, context: Any = None) -> list[str]:
    """What axe finds on an open page in a theme; the dark one changes colours alone."""
    page.emulate_media(color_scheme=theme)
    rules = {} if theme == THEMES[0] else {"runOnly": ["color-contrast", "link-in-text-block"]}
    return violations(page, context, **rules)


@pytest.mark.parametrize(
    "inside", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["outside", "inside"]
)
def test_every_page_is_accessible_clean_and_light(
    site: Site, browser: Browser, person: Any, inside: bool, measured: Any
) -> None:
    state = person if inside else None
    context = browser.new_context(base_url=site.url, storage_state=state, reduced_motion="reduce")
    context.add_init_script(
        "new PerformanceObserver(list => { for (const entry of list.getEntries()) "
        "if (!entry.hadRecentInput) window.shifted = (window.shifted || 0) + entry.value })"
        ".observe({ type: 'layout-shift', buffered: true })"
    )
    faults = watched(context)
    # Milliseconds until something is seen; written down, for a machine may be busy.
    first_paint: dict[str, float] = {}
    for name, page in every_page(context, INSIDE if inside else OUTSIDE):
        first_paint[name] = round(
            page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        )
        with pictured(page, name):
            assert page.evaluate("window.shifted || 0") < 0.02, f"{name}: the layout shifts"
            sent = page.evaluate(
                "performance.getEntriesByType('resource')"
                ".concat(performance.getEntriesByType('navigation'))"
                ".filter(entry => !entry.name.includes('/photos/'))"
                ".reduce((sum, entry) => sum + entry.encodedBodySize, 0) / 1024"
            )
            assert sent < PAGE_BUDGET, f"{name}: {sent:.0f} KB"
            for theme in THEMES:
                assert breaches(page, theme) == [], f"{name}, {theme}"
            assert not too_wide(page), name
    measured(f"first paint, ms: {first_paint}")
    assert faults == []
    context.close()

"""A project in a real browser: mouse and keys choose images, both themes are accessible, phones fit."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Page, expect

from cifarsite.test import make_user
from cifarsite.tests.accessibility import violations
from classifier.uploads import import_worker
from training.models import Project, ProjectImport
from training.projects import classes
from training.projects.lifecycle import create
from training.tests.projects.drawings import add_images, drawing, drawn_file

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """What the browser complains of: scripts that fail, and breaches of the security policy."""
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    return said


@pytest.fixture(autouse=True)
def staff(page: Page, live_server: Any, settings: Any, tmp_path: Path) -> Any:
    settings.MEDIA_ROOT = tmp_path
    person = make_user("charlie", is_staff=True)
    client = Client()
    client.force_login(person)
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
    return person


@pytest.fixture
def project(staff: Any) -> Project:
    made = create("Fruit", class_names=["apple", "pear", "a class with quite a long name, as some have"])
    apple, pear, _third = made.classes.all()
    add_images(made, apple, range(12))
    look = drawing(50, (240, 180))
    add_images(made, pear, [look, *range(20, 26)])
    add_images(made, apple, [look.resize((200, 150))])
    return made


def count(project: Project, name: str) -> int:
    return project.images.filter(label__name=name).count()


def test_images_are_chosen_by_mouse_and_by_keys(
    page: Page, live_server: Any, project: Project, complaints: list[str]
) -> None:
    page.goto(f"{live_server.url}/projects/fruit/")
    boxes = page.locator("input[name=ids]")
    page.locator(".project-tiles .tile-text").first.click()
    expect(page.locator("[data-select-count]")).to_have_text("1")
    boxes.nth(3).click(modifiers=["Shift"])
    expect(page.locator("[data-select-count]")).to_have_text("4")
    # From the fourth: one to the right, then the row below, chosen by Space.
    page.keyboard.press("ArrowRight")
    expect(boxes.nth(4)).to_be_focused()
    page.keyboard.press("Space")
    expect(page.locator("[data-select-count]")).to_have_text("5")
    with page.expect_navigation():
        page.keyboard.press("2")
    expect(page.locator(".toast-note")).to_contain_text("Images moved to 'pear': 5.")
    assert (count(project, "apple"), count(project, "pear")) == (8, 12)

    page.keyboard.press("a")
    expect(page.locator("[data-select-count]")).to_have_text("8")
    page.keyboard.press("a")
    page.locator("input[name=ids]").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Delete")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.locator(".toast-note")).to_contain_text("Images removed: 1.")
    assert count(project, "apple") == 7
    assert complaints == []


def test_pages_are_accessible_and_fit(
    page: Page, live_server: Any, project: Project, complaints: list[str]
) -> None:
    classes.add(project, [f"class {n}" for n in range(40)])
    row = ProjectImport.objects.create(
        project=project,
        filename="a.zip",
        total=9,
        cursor=9,
        state="done",
        failed=1,
        errors=[{"filename": "x" * 200, "code": "empty", "detail": "This file is empty."}],
    )
    wrong = []
    for path in (
        *("", "fruit/", "fruit/?show=doubtful", "fruit/import/", "fruit/delete/", "cifar10/"),
        f"fruit/imports/{row.pk}/",
    ):
        page.goto(f"{live_server.url}/projects/{path}")
        for width in (390, 768, 1440):
            page.set_viewport_size({"width": width, "height": 800})
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if wide > 0:
                wrong.append(f"{path} is {wide} pixels too wide at {width}")
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            before = len(complaints)
            found = violations(page)
            page.evaluate("0")
            del complaints[before:]  # axe sets styles of its own while it looks
            wrong += [f"{path}, {theme}: {breach}" for breach in found]
    assert not wrong, "\n".join(wrong)
    assert complaints == []


def test_an_import_is_followed_to_its_end(
    page: Page, live_server: Any, project: Project, tmp_path: Path
) -> None:
    archive = tmp_path / "more.zip"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for number in range(60, 64):
            file.writestr(f"fig/{number}.png", drawn_file(number))
    archive.write_bytes(content.getvalue())
    page.goto(f"{live_server.url}/projects/fruit/import/")
    page.locator("#archive").set_input_files(archive)
    page.get_by_role("button", name="Import").first.click()
    expect(page.get_by_role("heading", name="more.zip")).to_be_visible()
    import_worker._last = None
    import_worker.import_slice("test")
    expect(page.get_by_text("All done")).to_be_visible(timeout=15_000)
    expect(page.get_by_role("link", name="Look at the images")).to_be_visible()
    assert count(project, "fig") == 4


def test_everything_works_without_javascript(
    browser: Any, live_server: Any, project: Project, page: Page
) -> None:
    context = browser.new_context(java_script_enabled=False, storage_state=page.context.storage_state())
    plain = context.new_page()
    plain.goto(f"{live_server.url}/projects/fruit/")
    plain.locator("input[name=ids]").nth(0).check()
    plain.locator("input[name=ids]").nth(1).check()
    plain.locator("#label").select_option(label="pear")
    plain.get_by_role("button", name="Relabel").click()
    expect(plain.locator(".toast-note")).to_contain_text("Images moved to 'pear': 2.")
    plain.locator("#split").select_option("test")
    plain.get_by_role("button", name="Show").click()
    assert "split=test" in plain.url
    context.close()

"""A run's page in a real browser: it fills itself in, keeps the zoom, and ends."""

from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Page, Route, expect

from cifarsite.test import make_user
from training.jobs import lifecycle, ownership
from training.models import TrainingJob
from training.tests.pages.test_training_pages import add_epochs

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]

DRAWN = "() => document.querySelectorAll('.u-over').length === 3"


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """What the browser complains of: scripts that fail, and breaches of the security policy."""
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    return said


@pytest.fixture
def staff(page: Page, live_server: Any) -> Any:
    person = make_user("charlie", is_staff=True)
    client = Client()
    client.force_login(person)
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
    return person


@pytest.fixture
def job(staff: Any) -> TrainingJob:
    lifecycle.request_training(recipe="seed_cnn", parameters={"epochs": 40}, by=staff)
    claimed = ownership.claim_next("train@host")
    assert claimed is not None
    return claimed


def test_new_epochs_come_by_themselves_and_the_zoom_stays(
    page: Page, live_server: Any, job: TrainingJob, complaints: list[str]
) -> None:
    add_epochs(job, 10)
    page.goto(f"{live_server.url}/training/{job.pk}/")
    page.wait_for_function(DRAWN)
    page.locator(".u-over").first.scroll_into_view_if_needed()
    box = page.locator(".u-over").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60, steps=5)
    page.mouse.up()
    page.wait_for_function("() => window.curves.ranges()[0][0] > 1")
    shown = [page.evaluate("() => window.curves.ranges()")]
    low, high = shown[0][0]
    assert 1 < low < high < 10

    job.epochs.all().delete()
    add_epochs(job, 12)
    page.wait_for_selector("#curves[data-ready='12']")
    assert page.evaluate("() => window.curves.ranges()") == shown[0]
    expect(page.get_by_text("12 of 40 epochs")).to_be_visible()

    page.get_by_role("button", name="Whole run, 40 epochs").click()
    page.wait_for_function("() => window.curves.ranges().every(([low, high]) => low === 1 && high === 40)")
    assert complaints == []


def test_without_a_zoom_the_chart_grows_with_the_run(
    page: Page, live_server: Any, job: TrainingJob, complaints: list[str]
) -> None:
    page.goto(f"{live_server.url}/training/{job.pk}/")
    add_epochs(job, 3)
    page.wait_for_function(DRAWN)
    page.wait_for_function("() => window.curves.ranges()[0][1] === 3")
    page.get_by_text("The same as a table").click()
    expect(page.locator("#curve-rows tr")).to_have_count(3)
    assert complaints == []


def test_an_epoch_that_ends_while_the_page_loads_is_in_the_table(
    page: Page, live_server: Any, job: TrainingJob, complaints: list[str]
) -> None:
    def answer_late(route: Route) -> None:
        add_epochs(job, 3)
        route.continue_()

    page.route("**/epochs.json", answer_late)
    page.goto(f"{live_server.url}/training/{job.pk}/")
    page.get_by_text("The same as a table").click()
    expect(page.locator("#curve-rows tr")).to_have_count(3)
    assert complaints == []


def test_when_the_run_is_over_the_page_says_so_and_asks_no_more(
    page: Page, live_server: Any, job: TrainingJob, complaints: list[str]
) -> None:
    page.goto(f"{live_server.url}/training/{job.pk}/")
    ownership.fail(job, "diverged", "The loss became nan at step 7.")
    page.get_by_text("The loss became nan at step 7.").wait_for()
    expect(page.get_by_role("button", name="Try again from the start")).to_be_visible()
    expect(page.locator("#announce")).to_have_text("failed")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(4_500)
    assert asked == []
    assert complaints == []


def test_choosing_a_recipe_shows_its_parameters(
    page: Page, live_server: Any, staff: Any, complaints: list[str]
) -> None:
    page.goto(f"{live_server.url}/training/")
    page.get_by_label("Recipe").select_option("seed_cnn")
    page.get_by_label("Dropout").wait_for()
    page.get_by_label("Epochs").fill("3")
    page.get_by_role("button", name="Train", exact=True).click()
    page.get_by_text("Number 1 in the queue.").wait_for()
    assert TrainingJob.objects.get().parameters["epochs"] == 3
    assert complaints == []

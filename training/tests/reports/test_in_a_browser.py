"""The shipped champion's report in a real browser: accessible, readable by keyboard, on phone and paper."""

import re
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Page, expect

from cifarsite.test import make_user
from cifarsite.tests.accessibility import violations
from training.data import image_sheets
from training.engine.data.image_set import ImageSet
from training.evaluation import pretrained_reports
from training.models import ModelVersion
from training.registry import pretrained
from training.reports.page import ALL, PARTS
from training.tests.evaluation.report_case import synthetic_cifar10

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture
def champion(page: Page, live_server: Any, settings: Any, tmp_path: Any) -> ModelVersion:
    """The report as it ships, with made-up pictures in place of CIFAR-10's; somebody is signed in."""
    settings.MODELS_DIR, settings.MEDIA_ROOT = tmp_path / "models", tmp_path / "media"
    pretrained.install_pretrained()
    pretrained_reports.complete()
    version = ModelVersion.objects.get(is_champion=True)
    report = version.reports.get()
    cifar = synthetic_cifar10()
    image_sheets.keep_tiles(ImageSet(report.dataset, report.dataset_sha256, cifar.x_test, cifar.y_test))
    sign_in(page, live_server.url)
    return version


def sign_in(page: Page, url: str) -> None:
    client = Client()
    client.force_login(make_user("alice"))
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": url}])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_report_comparison_and_images_are_accessible(
    page: Page, live_server: Any, champion: ModelVersion, theme: Any
) -> None:
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    other = ModelVersion.objects.exclude(pk=champion.pk).earliest("pk")
    start = f"{live_server.url}/models/{champion.pk}"
    parts = [f"report/{part}/" if part else "report/" for part in (*PARTS, ALL)]
    for path in (*parts, f"compare/{other.pk}/", "report/images/?outcome=wrong", "report/images/3/"):
        page.goto(f"{start}/{path}")
        expect(page.locator("h1")).to_be_visible()
        assert violations(page, runOnly=RULES) == [], path


def test_a_chart_is_read_with_the_arrow_keys(page: Page, live_server: Any, champion: ModelVersion) -> None:
    page.goto(f"{live_server.url}/models/{champion.pk}/report/calibration/")
    stage = page.locator("#chart-sweep [data-stage]")
    stage.focus()
    stage.press("ArrowRight")
    readout = page.locator("#chart-sweep [data-readout]")
    expect(readout).to_contain_text("Threshold: 0.0")
    stage.press("End")
    expect(readout).to_contain_text("Threshold: 99.9")
    stage.press("Escape")
    expect(readout).to_contain_text("Arrow keys")


def test_a_point_of_the_map_is_found_and_opened_by_keyboard(
    page: Page, live_server: Any, champion: ModelVersion
) -> None:
    page.goto(f"{live_server.url}/models/{champion.pk}/report/mistakes/")
    stage = page.locator("[data-map] [data-stage]")
    stage.focus()
    stage.press("ArrowRight")
    expect(page.locator("[data-map] [data-readout] a")).to_be_visible()
    stage.press("Enter")
    expect(page).to_have_url(re.compile(r"/report/images/\d+/"))


def test_the_summary_fits_two_screens_and_an_old_anchor_leads_to_its_part(
    page: Page, live_server: Any, champion: ModelVersion
) -> None:
    page.set_viewport_size({"width": 1200, "height": 1000})
    page.goto(f"{live_server.url}/models/{champion.pk}/report/")
    assert page.evaluate("() => document.querySelector('main').getBoundingClientRect().bottom") <= 2_000
    page.goto(f"{live_server.url}/models/{champion.pk}/report/?sort=recall#classes")
    expect(page).to_have_url(re.compile(r"/report/classes/\?sort=recall#classes"))
    page.locator(".contents a", has_text="Data").focus()
    page.keyboard.press("Enter")
    expect(page.locator("section#data")).to_be_visible()


def test_nothing_sticks_out_on_a_phone(page: Page, live_server: Any, champion: ModelVersion) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    parts = [f"report/{part}/" if part else "report/" for part in (*PARTS, ALL)]
    for path in (*parts, "report/images/"):
        page.goto(f"{live_server.url}/models/{champion.pk}/{path}")
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390, path


def test_printed_it_fits_on_ten_pages_of_a4(page: Page, live_server: Any, champion: ModelVersion) -> None:
    page.goto(f"{live_server.url}/models/{champion.pk}/report/all/")
    printed = page.pdf(format="A4", print_background=True)
    pages = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert 3 <= pages <= 10
    page.emulate_media(media="print")
    # 186 mm lie between the margins: what is wider would be cut.
    page.set_viewport_size({"width": 703, "height": 1_000})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 703

"""The upload page and the archives' page count on the same limits as the API, and lose nothing."""

from typing import Any

import pytest
from django.test import override_settings
from django.urls import reverse
from playwright.sync_api import Page, expect

from cifarsite.test import PASSWORD, ApiTestCase, image_bytes, image_file, make_user
from classifier.models import Batch, Photo, RateCount
from classifier.tests.uploads.archives import photos, zipped


# A person may ask twice as often as one token: four files a minute here.
@override_settings(API_RATE_BURST=2, API_RATE_SUSTAINED=1_000)
class UploadRateTests(ApiTestCase):
    def setUp(self) -> None:
        self.client.force_login(self.alice)

    def send(self, count: int = 1, **headers: str) -> Any:
        return self.client.post(
            "/", {"file": [image_file(f"{n}.jpg") for n in range(count)]}, headers=headers
        )

    def test_past_the_limit_it_is_429_with_retry_after_and_a_sentence(self) -> None:
        self.assertEqual(self.send(4).status_code, 200)
        response = self.send()
        self.assertContains(response, "your browser sends the same photos again", status_code=429)
        self.assertContains(response, "Wait ", status_code=429)
        self.assertIn(int(response.headers["Retry-After"]), range(1, 61))
        self.assertEqual(Photo.objects.count(), 4)

    def test_each_file_counts(self) -> None:
        self.assertEqual(self.send(5).status_code, 429)
        self.assertFalse(Photo.objects.exists())

    def test_the_pages_script_gets_code_sentence_and_retry_after(self) -> None:
        self.send(4)
        response = self.send(Accept="application/json")
        self.assertEqual((response.status_code, response.json()["error"]["code"]), (429, "rate"))
        self.assertIn("Wait ", response.json()["error"]["detail"])
        self.assertIn("Retry-After", response.headers)

    def test_page_and_api_share_one_limit(self) -> None:
        self.send(3)
        self.assertEqual(self.call("get", "photos").status_code, 200)
        self.assert_problem(self.call("get", "photos"), 429, "rate")
        self.assertEqual(self.send().status_code, 429)

    def test_another_person_is_not_held_up(self) -> None:
        self.send(4)
        self.client.force_login(self.bob)
        self.assertEqual(self.send().status_code, 302)

    def test_archives_count_too(self) -> None:
        self.send(4)
        data = {"archive": zipped(photos(1))}
        response = self.client.post(reverse("classifier:batches"), data)
        self.assertContains(response, "sends the same archive again", status_code=429)
        self.assertIn("Retry-After", response.headers)
        data = {"archive": zipped(photos(1))}
        response = self.client.post(
            reverse("classifier:batches"), data, headers={"Accept": "application/json"}
        )
        self.assertIn("the archive is still selected", response.json()["error"]["detail"])
        self.assertFalse(Batch.objects.exists())

    def test_a_long_wait_is_told_in_minutes(self) -> None:
        with self.settings(API_RATE_BURST=100, API_RATE_SUSTAINED=1):
            self.send(2)
            response = self.send()
        self.assertRegex(response.content.decode(), r"Wait \d+ (minute|second)")


@pytest.mark.needs_browser
@pytest.mark.django_db(transaction=True)
@override_settings(API_RATE_BURST=1, API_RATE_SUSTAINED=1_000)
def test_the_script_waits_and_then_sends_what_was_held(
    page: Page, live_server: Any, tmp_path: Any, settings: Any
) -> None:
    """Four files where two are welcome: all four arrive once the limit lets them."""
    settings.MEDIA_ROOT = tmp_path / "media"
    person = make_user("dora")
    files = []
    for number in range(4):
        files.append(tmp_path / f"{number}.jpg")
        files[-1].write_bytes(image_bytes(size=(40 + number, 30)))
    # The site's word of when to come back, made short.
    page.add_init_script(
        "const get = XMLHttpRequest.prototype.getResponseHeader;"
        "XMLHttpRequest.prototype.getResponseHeader = function (name) {"
        " const value = get.call(this, name); return name === 'Retry-After' && value ? '2' : value; };"
    )
    page.goto(f"{live_server.url}/accounts/login/")
    page.fill("[name=login]", "dora")
    page.fill("[name=password]", PASSWORD)
    page.click("main button:not([type=button])")
    page.wait_for_url(f"{live_server.url}/")
    page.set_input_files("#file", [str(path) for path in files])
    held = page.locator(".upload-item .hint", has_text="continues automatically")
    expect(held).to_have_count(2)
    RateCount.objects.all().delete()
    expect(page.locator(".upload-item a[href*='/photos/']")).to_have_count(4)
    assert person.photos.count() == 4

import json

from django.test import override_settings
from django.urls import reverse

from cifarsite.test import SiteTestCase, answer
from training.models import Worker


class PagesForStrangersTests(SiteTestCase):
    def test_the_start_tells_what_this_is(self) -> None:
        response = self.client.get("/")
        self.assertContains(response, "Which of ten things is in your photo?")
        self.assertContains(response, reverse("account_signup"))

    def test_every_private_page_asks_to_sign_in(self) -> None:
        photo = self.upload()
        for name in ("photo", "photo-status", "photo-image", "photo-thumbnail", "photo-input"):
            url = reverse(f"classifier:{name}", args=[photo.pk])
            self.assertRedirects(self.client.get(url), f"/accounts/login/?next={url}", msg_prefix=name)
        for name in ("history", "account"):
            url = reverse(f"classifier:{name}")
            self.assertRedirects(self.client.get(url), f"/accounts/login/?next={url}", msg_prefix=name)

    def test_every_write_asks_to_sign_in_and_changes_nothing(self) -> None:
        photo = self.upload()
        for url in (
            "/",
            f"/photos/{photo.pk}/delete/",
            f"/photos/{photo.pk}/restore/",
            "/history/delete/",
            "/history/restore/",
        ):
            response = self.client.post(url, {"ids": photo.pk})
            self.assertEqual(response.status_code, 302, url)
            self.assertIn("/accounts/login/", response["Location"])
        photo.refresh_from_db()
        self.assertIsNone(photo.deleted_at)

    def test_no_page_carries_inline_scripts_or_styles(self) -> None:
        self.client.force_login(self.alice)
        photo = self.upload()
        answer(photo)
        for url in (
            "/",
            "/history/",
            "/account/",
            photo.get_absolute_url(),
            "/accounts/2fa/",
            "/accounts/email/",
        ):
            html = self.client.get(url, follow=True).content.decode()
            self.assertNotIn("style=", html, url)
            self.assertNotIn("onclick", html, url)
            self.assertNotRegex(html, r"<script(?![^>]*(src=|type=\"application/json\"))", url)

    def test_a_missing_page_says_so_in_the_same_look(self) -> None:
        response = self.client.get("/nothing/")
        self.assertContains(response, "This page does not exist", status_code=404)
        self.assertContains(response, 'class="brand"', status_code=404)

    def test_a_form_without_its_token_is_refused_with_a_way_out(self) -> None:
        client = self.client_class(enforce_csrf_checks=True)
        client.force_login(self.alice)
        response = client.post("/history/delete/")
        self.assertContains(response, "The form has expired", status_code=403)


class LanguageTests(SiteTestCase):
    def test_the_choice_is_kept_with_the_account(self) -> None:
        self.client.force_login(self.alice)
        response = self.client.post("/language/", {"language": "vi", "next": "/account/"})
        self.assertRedirects(response, "/account/")
        self.alice.refresh_from_db()
        self.assertEqual(self.alice.language, "vi")
        self.client.cookies.clear()
        self.client.force_login(self.alice)
        self.assertContains(self.client.get("/account/"), '<html lang="vi"')

    def test_a_stranger_chooses_for_the_browser(self) -> None:
        self.client.post("/language/", {"language": "vi", "next": "/"})
        self.assertContains(self.client.get("/"), '<html lang="vi"')

    def test_an_unknown_language_changes_nothing(self) -> None:
        self.client.force_login(self.alice)
        self.client.post("/language/", {"language": "tlh", "next": "/account/"})
        self.alice.refresh_from_db()
        self.assertEqual(self.alice.language, "")

    def test_it_does_not_send_people_to_other_sites(self) -> None:
        response = self.client.post("/language/", {"language": "vi", "next": "https://example.com/"})
        self.assertEqual(response["Location"], "/")


class HealthTests(SiteTestCase):
    def test_healthz_answers_without_a_query(self) -> None:
        with self.assertNumQueries(0):
            self.assertEqual(self.client.get("/healthz").content, b"ok")

    def test_readyz_names_the_missing_champion(self) -> None:
        response = self.client.get("/readyz")
        self.assertEqual(response.status_code, 503)
        self.assertIn("champion", response.json()["missing"])

    @override_settings(CELERY_BROKER_TRANSPORT_OPTIONS={"data_folder_out": "/nonexistent"})
    def test_readyz_names_a_dead_broker(self) -> None:
        self.assertIn("broker", self.client.get("/readyz").json()["missing"])

    def test_the_manifest_lists_icons_that_exist(self) -> None:
        manifest = json.loads(self.client.get("/manifest.webmanifest").content)
        self.assertEqual(manifest["display"], "standalone")
        for icon in manifest["icons"]:
            self.assertTrue(icon["src"].startswith("/static/brand/icon-"))

    def test_the_upload_page_says_that_no_worker_lives(self) -> None:
        self.client.force_login(self.alice)
        self.assertFalse(Worker.objects.exists())
        self.assertContains(self.client.get("/"), "No model is installed yet")

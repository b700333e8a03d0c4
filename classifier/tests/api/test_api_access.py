"""Who may do what with the API, and that every error has the same form."""

import uuid
from typing import Any

from django.test import Client, override_settings

from cifarsite.test import PASSWORD, ApiTestCase, image_file
from classifier.api.application import api
from training.models import TrainingJob


def operations() -> list[tuple[str, str]]:
    """Each (method, path) of the schema, with ids that fit nothing."""
    found = []
    for path, methods in api.get_openapi_schema()["paths"].items():
        path = path.replace("{photo_id}", str(uuid.uuid4())).replace("{batch_id}", str(uuid.uuid4()))
        path = path.replace("{model_id}", "999").replace("{job_id}", "999")
        path = path.replace("{slug}", "cifar10").replace("{import_id}", str(uuid.uuid4()))
        found += [(method, path.removeprefix("/api/v1/")) for method in methods]
    return found


class StrangerTests(ApiTestCase):
    def test_it_wants_a_token_everywhere(self) -> None:
        for method, path in operations():
            response = self.call(method, path, token=None)
            self.assert_problem(response, 401, "unauthorised")
            self.assertTrue(response.headers["WWW-Authenticate"].startswith("Bearer"))

    def test_it_refuses_what_is_no_token(self) -> None:
        for header in ("Bearer", "Bearer nonsense", "Basic YTpi", "nonsense", "Bearer \x7f"):
            response = self.client.get("/api/v1/photos", headers={"Authorization": header})
            self.assert_problem(response, 401, "unauthorised")
            self.assertIn("invalid_token", response.headers["WWW-Authenticate"])

    def test_it_refuses_a_bad_token_of_somebody_who_is_signed_in(self) -> None:
        self.client.force_login(self.alice)
        self.assert_problem(self.call("get", "photos", token="nonsense"), 401, "unauthorised")


class ScopeTests(ApiTestCase):
    def test_it_wants_the_scope_of_each_operation(self) -> None:
        train = self.token(self.charlie, "train")
        other = self.token(self.charlie, "predict", "read")
        bodies: dict[str, Any] = {
            "correction": {"label": "cat"},
            "predictions": {},
            "delete": {"ids": [str(uuid.uuid4())]},
            "promote": {"reason": "why"},
            "rollback": {"reason": "why"},
            "training-jobs": {"recipe": "fast_cnn"},
            "projects": {"name": "Fruit"},
        }
        for method, path in operations():
            last = path.rsplit("/", 1)[-1]
            trains = "training-jobs" in path or last in ("promote", "rollback", "datasets")
            trains |= path.startswith("projects") and (method == "post" or "imports" in path)
            token = other if trains else train
            if method == "post" and last in bodies:
                response = self.post_json(path, bodies[last], token=token)
            elif method == "post" and last in ("photos", "batches"):
                files = {"file" if last == "photos" else "archive": image_file()}
                response = self.call("post", path, files, token=token)
            else:
                response = self.call(method, path, token=token)
            self.assert_problem(response, 403, "scope")

    def test_it_keeps_training_to_staff(self) -> None:
        self.client.force_login(self.bob)
        for path in ("training-jobs", "models/rollback", "models/1/promote"):
            body = {"recipe": "fast_cnn"} if path == "training-jobs" else {"reason": "why"}
            response = self.client.post(f"/api/v1/{path}", body, content_type="application/json")
            self.assertEqual(response.status_code, 403, response.content)
        self.assertFalse(TrainingJob.objects.exists())

    def test_it_takes_the_scope_train_from_somebody_who_is_staff_no_more(self) -> None:
        self.charlie.is_staff = False
        self.charlie.save()
        self.assert_problem(self.call("get", "training-jobs/1", token="charlie"), 403, "staff_only")


class OtherPeopleTests(ApiTestCase):
    def test_it_hides_what_is_somebody_elses(self) -> None:
        photo = self.upload(self.alice)
        for person in ("bob", "charlie"):
            self.assertEqual(self.call("get", "photos", token=person).json()["photos"], [])
            for method, path in (
                ("get", ""),
                ("delete", ""),
                ("get", "/image"),
                ("get", "/input"),
                ("delete", "/correction"),
            ):
                response = self.call(method, f"photos/{photo.pk}{path}", token=person)
                self.assert_problem(response, 404, "not_found")
            response = self.post_json(f"photos/{photo.pk}/correction", {"label": "cat"}, token=person)
            self.assert_problem(response, 404, "not_found")
        photo.refresh_from_db()
        self.assertIsNone(photo.deleted_at)


class SessionTests(ApiTestCase):
    def test_it_lets_a_session_read_and_wants_the_csrf_token_to_write(self) -> None:
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(self.alice)
        self.assertEqual(browser.get("/api/v1/photos").status_code, 200)
        self.assert_problem(browser.post("/api/v1/photos", {"file": image_file()}), 403, "csrf")
        token = browser.get("/api/docs").cookies["csrftoken"].value
        response = browser.post(
            "/api/v1/photos", {"file": image_file()}, headers={"X-CSRFToken": token, "Referer": "/"}
        )
        self.assertEqual(response.status_code, 202)

    def test_it_needs_no_csrf_token_beside_a_token(self) -> None:
        browser = Client(enforce_csrf_checks=True)
        headers = {"Authorization": f"Bearer {self.tokens['alice']}"}
        response = browser.post("/api/v1/photos", {"file": image_file()}, headers=headers)
        self.assertEqual(response.status_code, 202)

    def test_it_signs_in_like_the_pages(self) -> None:
        self.client.post("/accounts/login/", {"login": "alice", "password": PASSWORD})
        self.assertEqual(self.client.get("/api/v1/photos").status_code, 200)


class ErrorTests(ApiTestCase):
    def test_it_answers_404_in_the_form_of_the_api(self) -> None:
        for path in ("nothing", "photos/1", "photos/", "models/x/report", "models/-1/report"):
            for method in ("get", "post"):
                self.assert_problem(self.call(method, path), 404, "not_found")
        huge = self.call("get", f"models/{10**30}/report")
        self.assert_problem(huge, 404, "not_found")

    def test_it_answers_405_and_says_what_is_allowed(self) -> None:
        response = self.call("put", "photos")
        self.assert_problem(response, 405, "method_not_allowed")
        self.assertEqual(set(response.headers["Allow"].split(", ")), {"GET", "POST"})

    def test_it_refuses_a_body_that_is_no_json(self) -> None:
        photo = self.upload()
        for body in (b"{", b"\xff", b""):
            response = self.call(
                "post", f"photos/{photo.pk}/correction", body, content_type="application/json"
            )
            self.assertIn(response.status_code, (400, 422))
            self.assertEqual(response.headers["Content-Type"], "application/problem+json")

    def test_it_answers_an_error_of_its_own_in_the_same_form(self) -> None:
        self.client.raise_request_exception = False
        with override_settings(API_RATE_BURST=None), self.assertLogs("django.request", "ERROR"):
            response = self.call("get", "photos")
        self.assert_problem(response, 500, "error")

    def test_it_refuses_a_body_that_is_too_large_before_it_reads_it(self) -> None:
        with self.settings(UPLOAD_MAX_MB=1, BATCH_MAX_MB=1):
            response = self.call("post", "photos", {"file": image_file()}, CONTENT_LENGTH=str(102 * 1024**2))
            self.assert_problem(response, 413, "too_large")

    def test_it_speaks_the_readers_language(self) -> None:
        english = self.call("get", "photos", token=None).json()["detail"]
        self.assertIn("token", english.lower())


class CorsTests(ApiTestCase):
    def preflight(self) -> Any:
        headers = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
        return self.client.options("/api/v1/photos", headers=headers).headers

    def test_it_allows_no_other_origin(self) -> None:
        self.assertNotIn("Access-Control-Allow-Origin", self.preflight())

    @override_settings(CORS_ALLOWED_ORIGINS=["https://example.org"])
    def test_it_allows_the_origins_of_the_setting_without_cookies(self) -> None:
        headers = self.preflight()
        self.assertEqual(headers["Access-Control-Allow-Origin"], "https://example.org")
        self.assertNotIn("Access-Control-Allow-Credentials", headers)
        page = self.client.get("/", headers={"Origin": "https://example.org"})
        self.assertNotIn("Access-Control-Allow-Origin", page.headers)

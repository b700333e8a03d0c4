"""What tests of the API share: tokens and short calls."""

from __future__ import annotations

from typing import Any

from cifarsite.test import SiteTestCase
from classifier.models import User
from classifier.tokens import make_token

ALL = ("predict", "read")


class ApiTestCase(SiteTestCase):
    """``self.call("get", "photos")`` as Alice with a token of all ordinary scopes."""

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.tokens = {
            "alice": make_token(cls.alice, scopes=ALL)[1],
            "bob": make_token(cls.bob, scopes=ALL)[1],
            "charlie": make_token(cls.charlie, scopes=[*ALL, "train"])[1],
        }

    def token(self, owner: User, *scopes: str) -> str:
        return make_token(owner, scopes=scopes)[1]

    def call(self, method: str, path: str, data: Any = None, *, token: str | None = "", **more: Any) -> Any:
        """Call the API; ``token``: empty for Alice's, a person's name, a token, or None for none."""
        secret = self.tokens.get(token or "alice", token) if token is not None else None
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        headers |= more.pop("headers", {})
        return getattr(self.client, method)(f"/api/v1/{path}", data, headers=headers, **more)

    def post_json(self, path: str, data: Any, **more: Any) -> Any:
        return self.call("post", path, data, content_type="application/json", **more)

    def assert_problem(self, response: Any, status: int, code: str) -> dict[str, Any]:
        self.assertEqual(response.status_code, status, response.content)
        self.assertEqual(response.headers["Content-Type"], "application/problem+json")
        body: dict[str, Any] = response.json()
        self.assertEqual((body["status"], body["code"]), (status, code))
        self.assertLessEqual({"type", "title", "status", "detail", "code"}, set(body))
        self.assertTrue(body["detail"].strip())
        return body

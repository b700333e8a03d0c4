"""What tests of the whole project share: three people and small real images."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from typing import Any, BinaryIO, cast
from unittest import mock

from allauth.account.models import EmailAddress
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import TestCase, override_settings
from django.utils import timezone
from PIL import Image, ImageDraw

from classifier.accounts import mails
from classifier.accounts.tokens import make_token
from classifier.models import Photo, Prediction, User
from classifier.uploads.photos import upload_photo
from training.models import DEFAULT_PROJECT, ModelVersion
from training.projects.access import class_names

ORDINARY = ("predict", "read")
PASSWORD = "correct-horse-battery"


def picture(colour: str = "steelblue", size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A real image with some detail in it: a sky, a ground, a thing."""
    image = Image.new("RGB", size, colour)
    draw = ImageDraw.Draw(image)
    width, height = size
    draw.rectangle([0, height * 2 // 3, width, height], fill="darkolivegreen")
    draw.ellipse([width // 4, height // 4, width * 3 // 4, height * 3 // 4], fill="white", outline="black")
    return image


def image_bytes(
    image_format: str = "JPEG", colour: str = "steelblue", size: tuple[int, int] = (64, 48)
) -> bytes:
    buffer = io.BytesIO()
    picture(colour, size).save(buffer, image_format)
    return buffer.getvalue()


def image_file(
    name: str = "photo.jpg", image_format: str = "JPEG", colour: str = "steelblue"
) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, image_bytes(image_format, colour), f"image/{image_format.lower()}")


def make_user(username: str, **fields: object) -> User:
    """Somebody who can sign in with ``PASSWORD``: the e-mail address is confirmed."""
    user: User = User.objects.create_user(username, f"{username}@example.org", PASSWORD, **fields)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def sent_mails() -> list[Any]:
    """All mails so far, once a worker has sent those that wait."""
    mails.send_due()
    return mail.outbox


def drawn_model(project: str = DEFAULT_PROJECT, *, is_champion: bool = False) -> ModelVersion:
    """A model version of a project with its classes of today, without a file."""
    version, _made = ModelVersion.objects.get_or_create(
        name=f"drawn-{project}",
        defaults={
            "project_id": project,
            "classes": class_names(project),
            "recipe": "drawn",
            "sha256": hashlib.sha256(project.encode()).hexdigest(),
            "size": 1,
            "preprocessing": "squash32-v1",
            "card": {},
            "is_champion": is_champion,
        },
    )
    return version


def answer(
    photo: Photo, label: str = "cat", confidence: float = 0.91, verdict: str = "recognised"
) -> Prediction:
    """Write an answer as a worker would."""
    prediction = photo.prediction
    prediction.model = prediction.model or drawn_model(photo.project_id)
    classes = prediction.model.classes
    rest = (1 - confidence) / (len(classes) - 1)
    prediction.probabilities = [confidence if name == label else rest for name in classes]
    prediction.label, prediction.confidence, prediction.verdict = label, confidence, verdict
    prediction.status, prediction.seconds = Prediction.Status.DONE, 0.0042
    prediction.finished_at = prediction.created_at
    prediction.save()
    return prediction


@contextmanager
def no_midnight() -> Iterator[None]:
    """Shortly before midnight (UTC) Django's clock is put back by an hour, so that today stays today."""
    if timezone.now().strftime("%H:%M") < "23:45":
        yield
    else:
        # Not ``timezone.now`` itself, which is the default of fields and stands in their classes.
        with mock.patch.object(timezone, "datetime", AnHourAgo):
            yield


class AnHourAgo(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) - timedelta(hours=1)


class SiteTestCase(TestCase):
    """Alice owns things, Bob is somebody else, Charlie is staff."""

    alice: User
    bob: User
    charlie: User

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.enterClassContext(override_settings(MEDIA_ROOT=folder.name))
        cls.enterClassContext(no_midnight())
        super().setUpClass()

    @classmethod
    def setUpTestData(cls) -> None:
        cls.alice = make_user("alice")
        cls.bob = make_user("bob")
        cls.charlie = make_user("charlie", is_staff=True)

    def upload(self, owner: User | None = None, name: str = "photo.jpg", colour: str = "steelblue") -> Photo:
        return upload_photo(owner or self.alice, cast(BinaryIO, image_file(name, colour=colour)))


class ApiTestCase(SiteTestCase):
    """``self.call("get", "photos")`` as Alice with a token of all ordinary scopes."""

    tokens: dict[str, str]

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.tokens = {
            "alice": make_token(cls.alice, scopes=ORDINARY)[1],
            "bob": make_token(cls.bob, scopes=ORDINARY)[1],
            "charlie": make_token(cls.charlie, scopes=[*ORDINARY, "train"])[1],
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

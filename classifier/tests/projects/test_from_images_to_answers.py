"""From a project's images to answers on the site, with a real model: train, promote, upload, explain."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from PIL import Image

from cifarsite.test import make_user
from classifier.models import Explanation, Photo
from classifier.predictions import explanations, inference
from training.engine.tests.transfer.made_up import CLASSES, drawn
from training.models import ModelVersion
from training.registry import neighbour_index, promotion
from training.tests.drawn_project import draw_project

pytestmark = pytest.mark.django_db(transaction=True)
UNSEEN = 50_000


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, settings: Any) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.MODELS_DIR = tmp_path / "models"
    settings.VAR_DIR = tmp_path


def file_of(place: int, number: int) -> io.BytesIO:
    """A drawing of a class that the model was not trained on."""
    content = io.BytesIO()
    Image.fromarray(drawn(place, UNSEEN + 100 * place + number)).save(content, "PNG")
    content.seek(0)
    content.name = f"{CLASSES[place]}-{number}.png"
    return content


@pytest.mark.slow
def test_photos_are_answered_by_the_projects_own_model_and_explained() -> None:
    draw_project("shapes", 10)
    call_command("train", "--project", "shapes", "--recipe", "transfer", stdout=io.StringIO())
    version = ModelVersion.objects.get(project="shapes")
    promotion.promote(version, by=make_user("root", is_staff=True), reason="The first.")

    client = Client()
    client.force_login(make_user("alice"))
    for place in range(len(CLASSES)):
        for number in range(4):
            client.post("/", {"file": file_of(place, number), "project": "shapes"})
    assert inference.predict_pending("worker") == 4 * len(CLASSES)
    right = 0
    for photo in Photo.objects.all():
        answer = photo.prediction
        assert (answer.model, answer.preprocessing) == (version, "centre224-v1")
        assert set(answer.provenance["labels"]) <= set(CLASSES)
        right += answer.label == photo.filename.partition("-")[0]
    assert right >= 10, f"{right} of 12"

    one = Photo.objects.first()
    assert one is not None
    explanations.request_explanation(one.prediction)
    assert explanations.explain_pending("worker") == 1
    neighbour_index.collect_pending("worker")
    explanations.fill_in_left()
    found = Explanation.objects.get()
    assert (found.status, found.neighbours) == ("done", "found")
    assert {row["label"] for row in found.nearest} <= set(CLASSES)
    page = client.get(one.get_absolute_url()).content.decode()
    assert "The project&#x27;s training images" in page or "The project's training images" in page
    assert f"why/{version.classes.index(one.prediction.label)}/heat/" in page
    pictures = client.get(f"{one.get_absolute_url()}why/nearest/")
    with Image.open(io.BytesIO(pictures.content)) as strip:
        assert strip.width == len(found.nearest) * strip.height

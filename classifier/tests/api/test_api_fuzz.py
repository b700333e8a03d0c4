"""Schemathesis sends what the schema allows and what it forbids; a bounded number of examples."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, settings
from schemathesis import checks
from schemathesis.core.parameters import ParameterLocation

from cifarsite.test import answer, image_file, make_user
from classifier.accounts.tokens import make_token
from classifier.api import long_poll
from classifier.models import Photo
from classifier.tests.uploads.archives import photos, zipped
from classifier.uploads.batches import create_batch
from classifier.uploads.photos import upload_photo
from training.jobs import lifecycle
from training.models import ModelVersion, ProjectImport
from training.projects.lifecycle import create

EXAMPLES = 12
Case = Any  # schemathesis' own type wants its transport's types
# Ids that exist, beside those that schemathesis makes up.
known: dict[str, Any] = {}
tokens: dict[str, str] = {}


@pytest.fixture(autouse=True)
def patient(settings: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.MEDIA_ROOT = tmp_path
    settings.API_RATE_BURST = settings.API_RATE_SUSTAINED = 10_000_000
    # No worker answers here, so that nobody needs to wait for one.
    monkeypatch.setattr(long_poll, "seats", threading.Semaphore(0))
    # The test's own transaction stays open from one request to the next.
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def objects(db: None, patient: None) -> None:
    alice = make_user("alice", is_staff=True)
    tokens["staff"] = make_token(alice, scopes=["predict", "read", "train"])[1]
    file: Any = image_file()
    photo = upload_photo(alice, file)
    answer(photo)
    known.update(
        photo_id=str(photo.pk),
        batch_id=str(create_batch(alice, zipped(photos(2)), filename="a.zip").pk),
        model_id=ModelVersion.objects.create(
            name="m", recipe="r", sha256="0" * 64, size=1, preprocessing="squash32-v1", card={}
        ).pk,
        slug=create("Fruit", class_names=["apple"]).pk,
        import_id=str(ProjectImport.objects.create(project_id="fruit", filename="a.zip").pk),
        job_id=lifecycle.request_training(recipe="fast_cnn", parameters={}, by=alice).pk,
    )


schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", get_wsgi_application())
few = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.usefixtures("objects")
@schema.parametrize()
@few
def test_it_keeps_its_word_to_those_who_may(case: Case) -> None:
    # Made up from the schema's security; here the token is a good one in any case.
    case.headers.pop("Authorization", None)
    case.cookies.clear()
    if case.meta.generation.mode.is_positive:
        use_known_ids(case)
    case.call_and_validate(
        headers={"Authorization": f"Bearer {tokens['staff']}"}, excluded_checks=left_out(case)
    )


@pytest.mark.django_db
@schema.parametrize()
@few
def test_it_keeps_its_word_to_strangers(case: Case) -> None:
    response = case.call()
    case.validate_response(response, excluded_checks=[checks.positive_data_acceptance])
    assert response.status_code in (401, 404, 405), response.content
    assert not Photo.objects.exists()


def use_known_ids(case: Case) -> None:
    """Every second id is one that exists."""
    for name, value in case.path_parameters.items():
        if sum(str(value).encode()) % 2:
            case.path_parameters[name] = known[name]


def left_out(case: Case) -> list[Any]:
    """Valid data may still be refused: a cursor, a recipe's name, a file that is no photo."""
    wrong = {place for place, part in case.meta.components.items() if part.mode.is_negative}
    unseen = {ParameterLocation.HEADER, ParameterLocation.COOKIE}
    only_unseen = [checks.negative_data_rejection] if wrong <= unseen else []
    return [checks.positive_data_acceptance, *only_unseen]

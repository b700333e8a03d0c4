import io
import json
from unittest import mock

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection

from cifarsite.test import make_user
from training.jobs import ownership
from training.models import ModelVersion, Promotion
from training.registry import model_store, pretrained

pytestmark = pytest.mark.django_db


@pytest.fixture
def shipped(settings, tmp_path, monkeypatch):
    """A folder of shipped models with one that is only bytes; returns how to put another one there."""
    settings.MODELS_DIR = tmp_path / "models"
    settings.MEDIA_ROOT = tmp_path / "media"
    monkeypatch.setattr(pretrained, "PRETRAINED_DIR", tmp_path / "pretrained")
    monkeypatch.setattr(pretrained, "SHIPPED_CHAMPION", "made")

    def ship(content, name="made", **more):
        import hashlib

        folder = tmp_path / "pretrained" / name
        folder.mkdir(parents=True, exist_ok=True)
        figures = {"n": 10, "accuracy": 0.9}
        card = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "recipe": "seed_cnn",
            "preprocessing": "squash32-v1",
            "data": {"sha256": "1" * 64},
            "validation": figures,
            "test": figures,
            **more,
        }
        (folder / "model.keras").write_bytes(content)
        (folder / "card.json").write_text(json.dumps(card))
        (folder / "test.json").write_text(json.dumps(figures))

    return ship


def live() -> ModelVersion:
    return ModelVersion.objects.get(is_champion=True)


def test_the_shipped_model_becomes_champion_once(shipped):
    shipped(b"one")
    assert len(pretrained.install_pretrained()) == 1
    assert pretrained.install_pretrained() == []
    assert live().card["recipe"] == "seed_cnn"
    assert Promotion.objects.count() == 1


def test_a_newer_shipped_model_is_offered_and_does_not_take_over(shipped):
    shipped(b"one")
    pretrained.install_pretrained()
    first = live()
    assert pretrained.offered() is None
    shipped(b"two")
    (second,) = pretrained.install_pretrained()
    assert live() == first
    assert Promotion.objects.count() == 1
    assert pretrained.offered() == second
    # Somebody who promoted it and went back has decided.
    Promotion.objects.create(action="promote", previous=first, promoted=second, reason="a try")
    assert pretrained.offered() is None


def test_the_offer_stands_on_the_models_page_for_staff_and_in_the_command(shipped, client):
    shipped(b"one")
    pretrained.install_pretrained()
    shipped(b"two")
    said = io.StringIO()
    call_command("install_pretrained", stdout=said, stderr=io.StringIO())
    assert "is not in use yet" in said.getvalue()
    for name, is_staff in (("alice", False), ("charlie", True)):
        client.force_login(make_user(name, is_staff=is_staff))
        assert ("ships with this release" in client.get("/models/").content.decode()) == is_staff


def test_a_runs_model_is_uploaded_before_the_transaction(shipped, monkeypatch):
    """In it, a slow store would hold the lock that every other writer waits for."""
    import numpy as np

    from training.engine.inference.predictor import Predictor
    from training.engine.packaging.package import Package
    from training.jobs import recorder

    shipped(b"one")
    card = pretrained.shipped_card("made")
    outputs = (np.zeros((1, 1), np.float32),) * 2
    predictor = mock.Mock(spec=Predictor)
    made = Package(b"one", card["sha256"], card, {"n": 10, "accuracy": 0.9}, outputs, predictor)
    job = ownership.own_new("seed_cnn", {}, worker="test")
    outside, inside = len(connection.savepoint_ids), []
    save = default_storage.save

    def noticed(name, content):
        inside.append(len(connection.savepoint_ids))
        return save(name, content)

    monkeypatch.setattr(default_storage, "save", noticed)
    version = recorder.keep(job, made, [], early=False)
    assert (version.sha256, version.size) == (card["sha256"], 3)
    assert inside == [outside]


def test_a_promoted_model_stays_when_a_newer_one_ships(shipped):
    shipped(b"one")
    shipped(b"other", name="other")
    pretrained.install_pretrained()
    first, other = live(), ModelVersion.objects.get(name__startswith="other")
    ModelVersion.objects.filter(pk=first.pk).update(is_champion=False)
    ModelVersion.objects.filter(pk=other.pk).update(is_champion=True)
    Promotion.objects.create(action="promote", previous=first, promoted=other, reason="better")
    shipped(b"two")
    pretrained.install_pretrained()
    assert live() == other


def test_a_better_calibration_of_a_known_model_replaces_the_one_before(shipped):
    shipped(b"one", judge={"temperature": 1.0})
    pretrained.install_pretrained()
    shipped(b"one", judge={"temperature": 0.7})
    assert pretrained.install_pretrained() == []
    assert live().card["judge"] == {"temperature": 0.7}
    assert ModelVersion.objects.count() == Promotion.objects.count() == 1


def test_a_registered_file_that_asks_for_code_is_not_loaded_and_a_foreign_one_not_even_read(
    shipped, settings
):
    shipped(b"no archive", judge={"temperature": 1.0})
    pretrained.install_pretrained()
    with pytest.raises(model_store.ModelFileError, match=r"is not a \.keras file"):
        model_store.predictor(live())
    # Somebody puts a file of their own into the place of one that is registered.
    for folder in (settings.MODELS_DIR, settings.MEDIA_ROOT / "models"):
        (folder / f"{live().sha256}.keras").write_bytes(b"from elsewhere")
    with pytest.raises(model_store.ModelFileError):
        model_store.model_file(live())


def test_a_damaged_shipped_file_is_refused(shipped, tmp_path):
    shipped(b"one")
    (tmp_path / "pretrained" / "made" / "model.keras").write_bytes(b"0ne")
    with pytest.raises(model_store.ModelFileError, match="does not match its card"):
        pretrained.install_pretrained()
    assert model_store.champion() is None


def test_a_flipped_byte_in_the_models_folder_is_refused_and_the_storages_copy_is_used(shipped, settings):
    shipped(b"one")
    pretrained.install_pretrained()
    path = settings.MODELS_DIR / f"{live().sha256}.keras"
    path.write_bytes(b"0ne")
    assert model_store.model_file(live()) == path
    assert path.read_bytes() == b"one"
    path.unlink()
    assert model_store.model_file(live()).read_bytes() == b"one"


def test_a_flipped_byte_in_both_copies_is_refused_with_what_to_do(shipped, settings):
    shipped(b"one")
    pretrained.install_pretrained()
    name = f"{live().sha256}.keras"
    stored = settings.MEDIA_ROOT / "models" / name
    for copy in (stored, settings.MODELS_DIR / name):
        copy.write_bytes(b"0ne")
    with pytest.raises(model_store.ModelFileError, match=r"is damaged .* roll back"):
        model_store.model_file(live())
    stored.unlink()
    with pytest.raises(model_store.ModelFileError, match=r"in neither the storage nor .* restore it"):
        model_store.model_file(live())


def test_earlier_champions_come_latest_first_and_once(shipped):
    shipped(b"one")
    pretrained.install_pretrained()
    first = live()
    shipped(b"two")
    (second,) = pretrained.install_pretrained()
    ModelVersion.objects.filter(pk=first.pk).update(is_champion=False)
    ModelVersion.objects.filter(pk=second.pk).update(is_champion=True)
    for version in (first, second, first):
        Promotion.objects.create(action="promote", previous=None, promoted=version, reason="for the test")
    assert model_store.earlier_champions() == [first]

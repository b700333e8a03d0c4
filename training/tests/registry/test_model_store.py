import io
import json
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection

from cifarsite.test import make_user
from conftest import ROOT
from training.jobs import ownership
from training.models import ModelVersion, Promotion
from training.registry import conversion, model_store, pretrained

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
    from training.engine.inference.network import Network
    from training.engine.inference.predictor import Predictor
    from training.engine.packaging.package import Package
    from training.jobs import recorder

    shipped(b"one")
    card = pretrained.shipped_card("made")
    outputs = (np.zeros((1, 1), np.float32),) * 2
    predictor = mock.Mock(spec=Predictor, network=mock.Mock(spec=Network))
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


# What a prediction worker does: the process that asks must not hold TensorFlow.
ASK = """
import sys
import django
django.setup()
from django.conf import settings
from pathlib import Path
from training.registry import model_store

settings.MODELS_DIR = Path(sys.argv[1])
of = {"sha256": sys.argv[2], "name": "made", "card": {"judge": {}}, "classes": list("abcdefghij")}
model_store.load(model_store.ModelVersion(**of))
print(sorted({"tensorflow", "keras"} & set(sys.modules)))
"""


def shipped_model(shipped):
    """The smallest model that ships, as a live one of this test."""
    pretrained_dir = ROOT / "training" / "pretrained" / "fast_cnn"
    card = json.loads((pretrained_dir / "card.json").read_text())
    shipped((pretrained_dir / "model.keras").read_bytes(), judge=card["judge"])
    pretrained.install_pretrained()
    version = live()
    return version, model_store.model_file(version).with_suffix(".tflite")


def test_what_a_model_was_converted_to_is_kept_and_not_made_again(shipped, monkeypatch):
    version, kept = shipped_model(shipped)
    images = np.zeros((2, 32, 32, 3), np.uint8)
    wanted = model_store.load(version).predict(images).probabilities
    assert kept.is_file()
    monkeypatch.setattr(conversion, "_convert", mock.Mock(side_effect=AssertionError("converted again")))
    np.testing.assert_array_equal(model_store.load(version).predict(images).probabilities, wanted)


@pytest.mark.parametrize("wrong", [b"", b"short", b"x" * 100_000, "cut", "flipped", "of another model"])
def test_a_damaged_or_foreign_conversion_is_made_anew_and_never_used(shipped, wrong, caplog, monkeypatch):
    version, kept = shipped_model(shipped)
    model_store.load(version)
    whole = kept.read_bytes()
    if wrong == "cut":
        wrong = whole[:-1]
    elif wrong == "flipped":
        wrong = whole[:-1_000] + bytes([whole[-1_000] ^ 1]) + whole[-999:]
    elif wrong == "of another model":
        content = whole[conversion.MAC_BYTES :]
        wrong = conversion._mac(kept.with_name("other.keras"), content) + content
    kept.write_bytes(wrong)
    images = np.zeros((1, 32, 32, 3), np.uint8)
    said = model_store.load(version).predict(images).probabilities
    assert "is made anew" in caplog.text and kept.read_bytes() != wrong
    monkeypatch.setattr(conversion, "_convert", mock.Mock(side_effect=AssertionError("converted again")))
    np.testing.assert_array_equal(model_store.load(version).predict(images).probabilities, said)


def test_a_model_answers_where_its_conversion_cannot_be_kept(shipped, monkeypatch, caplog):
    version, kept = shipped_model(shipped)

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conversion, "write_durably", full)
    assert model_store.load(version).predict(np.zeros((1, 32, 32, 3), np.uint8)).verdicts
    assert not kept.exists() and "No space left" in caplog.text


def test_a_model_that_cannot_be_converted_is_a_sentence(shipped, monkeypatch):
    version, kept = shipped_model(shipped)
    said = "The network cannot be converted for LiteRT: it sorts."
    monkeypatch.setattr(conversion, "_convert", mock.Mock(side_effect=ValueError(said)))
    with pytest.raises(model_store.ModelFileError, match="cannot be converted"):
        model_store.load(version)
    assert not kept.exists()


def test_a_process_that_answers_does_not_hold_tensorflow(shipped, settings):
    version, kept = shipped_model(shipped)
    found = []
    for _time in range(2):  # the first converts, in another process
        command = [sys.executable, "-c", ASK, str(settings.MODELS_DIR), version.sha256]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found.append((done.stdout.splitlines()[-1], kept.is_file()))
    assert found == [("[]", True), ("[]", True)]


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

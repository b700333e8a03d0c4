import json

import pytest

from training import model_store
from training.models import ModelVersion, Promotion

pytestmark = pytest.mark.django_db


@pytest.fixture
def shipped(settings, tmp_path, monkeypatch):
    """A folder of shipped models with one that is only bytes; returns how to put another one there."""
    settings.MODELS_DIR = tmp_path / "models"
    settings.MEDIA_ROOT = tmp_path / "media"
    monkeypatch.setattr(model_store, "PRETRAINED_DIR", tmp_path / "pretrained")
    monkeypatch.setattr(model_store, "SHIPPED_CHAMPION", "made")

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
    assert len(model_store.install_pretrained()) == 1
    assert model_store.install_pretrained() == []
    assert live().card["recipe"] == "seed_cnn"
    assert Promotion.objects.count() == 1


def test_a_newer_shipped_model_takes_over_from_the_older_one(shipped):
    shipped(b"one")
    model_store.install_pretrained()
    first = live()
    shipped(b"two")
    model_store.install_pretrained()
    assert live() != first
    assert Promotion.objects.latest("id").previous == first


def test_a_promoted_model_stays_when_a_newer_one_ships(shipped):
    shipped(b"one")
    shipped(b"other", name="other")
    model_store.install_pretrained()
    first, other = live(), ModelVersion.objects.get(name__startswith="other")
    ModelVersion.objects.filter(pk=first.pk).update(is_champion=False)
    ModelVersion.objects.filter(pk=other.pk).update(is_champion=True)
    Promotion.objects.create(action="promote", previous=first, promoted=other, reason="better")
    shipped(b"two")
    model_store.install_pretrained()
    assert live() == other


def test_a_better_calibration_of_a_known_model_replaces_the_one_before(shipped):
    shipped(b"one", judge={"temperature": 1.0})
    model_store.install_pretrained()
    shipped(b"one", judge={"temperature": 0.7})
    assert model_store.install_pretrained() == []
    assert live().card["judge"] == {"temperature": 0.7}
    assert ModelVersion.objects.count() == Promotion.objects.count() == 1


def test_a_registered_file_that_asks_for_code_is_not_loaded_and_a_foreign_one_not_even_read(
    shipped, settings
):
    shipped(b"no archive", judge={"temperature": 1.0})
    model_store.install_pretrained()
    with pytest.raises(model_store.ModelFileError, match=r"is no \.keras file"):
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
        model_store.install_pretrained()
    assert model_store.champion() is None


def test_a_flipped_byte_in_the_models_folder_is_refused_and_the_storages_copy_is_used(shipped, settings):
    shipped(b"one")
    model_store.install_pretrained()
    path = settings.MODELS_DIR / f"{live().sha256}.keras"
    path.write_bytes(b"0ne")
    assert model_store.model_file(live()) == path
    assert path.read_bytes() == b"one"
    path.unlink()
    assert model_store.model_file(live()).read_bytes() == b"one"


def test_a_flipped_byte_in_both_copies_is_refused_with_what_to_do(shipped, settings):
    shipped(b"one")
    model_store.install_pretrained()
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
    model_store.install_pretrained()
    first = live()
    shipped(b"two")
    model_store.install_pretrained()
    second = live()
    for version in (first, second, first):
        Promotion.objects.create(action="promote", previous=None, promoted=version, reason="for the test")
    assert model_store.earlier_champions() == [first]

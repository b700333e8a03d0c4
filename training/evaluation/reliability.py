"""What a version's card says of its verdicts, and of photos beside CIFAR-10.

A training run measures it at its end; this measures a version that is there already.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings

from training.data import cifar10_copy
from training.engine.data.cifar10 import SPLIT_SEED, Cifar10, load_cifar10, split_training
from training.engine.data.photo_set import PhotoSet, load_photos
from training.engine.recipes import RECIPES
from training.models import ModelVersion
from training.registry import model_store

Say = Callable[[str], None]


def photo_set() -> PhotoSet | None:
    """The photos that ``PHOTOS_DIR`` names; None where it names none.

    Raises:
        PhotosError: the folder does not hold such photos.
    """
    return load_photos(settings.PHOTOS_DIR) if settings.PHOTOS_DIR else None


def training_photos() -> PhotoSet | None:
    """The photos that ``TRAINING_PHOTOS_DIR`` names, for recipes to learn from; None where it names none.

    Raises:
        PhotosError: the folder does not hold photos.
    """
    return load_photos(settings.TRAINING_PHOTOS_DIR) if settings.TRAINING_PHOTOS_DIR else None


def measure_trust(
    version: ModelVersion, cifar: Cifar10 | None = None, say: Say = lambda sentence: None
) -> ModelVersion:
    """Measure verdicts on test images, photos and made-up images with the version's own judge; keep them.

    Its calibration and thresholds stay as they are. Figures on photos of before stay where there are
    no photos now.

    Raises:
        DatasetError: CIFAR-10 is not to be had.
        ModelFileError: the model's file is missing or damaged.
        PhotosError: ``PHOTOS_DIR`` does not hold photos.
    """
    from training.engine.evaluation.metrics import run_model
    from training.engine.evaluation.reliability import trust_figures

    photos = photo_set()
    cifar = cifar or load_cifar10(cifar10_copy.folder())
    predictor = model_store.predictor(version)
    say("Looking at verdicts" + (f" and {len(photos.labels) + len(photos.other)} photos." if photos else "."))
    recipe = RECIPES.get(version.recipe)
    data = split_training(cifar, recipe.validation_fraction if recipe else 0.05, SPLIT_SEED)
    found = trust_figures(
        predictor,
        version.preprocessing,
        (run_model(predictor, data.x_val, version.preprocessing), data.y_val),
        (run_model(predictor, cifar.x_test, version.preprocessing), cifar.y_test),
        photos,
        synthetic_ood_images=settings.SYNTHETIC_OOD_IMAGES,
    )
    card = version.card
    if "photos" in found and "note" in card.get("photos", {}):
        found["photos"]["note"] = card["photos"]["note"]
    version.card = {**card, **found}
    version.save(update_fields=["card"])
    return version

"""What a version's card says of its verdicts, and of photos beside CIFAR-10.

A training run measures it at its end; this measures a version that is there already.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings

from training import model_store
from training.engine.data import Cifar10, load_cifar10, split_training
from training.engine.photo_set import PhotoSet, load_photos
from training.engine.recipes import RECIPES
from training.models import ModelVersion

Say = Callable[[str], None]


def photo_set() -> PhotoSet | None:
    """The photos that ``PHOTOS_DIR`` names; None where it names none.

    Raises:
        PhotosError: the folder does not hold such photos.
    """
    return load_photos(settings.PHOTOS_DIR) if settings.PHOTOS_DIR else None


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
    from training.engine.evaluate import see
    from training.engine.package import SPLIT_SEED
    from training.engine.trust import trust_figures

    photos = photo_set()
    cifar = cifar or load_cifar10(settings.CIFAR10_DIR or None)
    predictor = model_store.predictor(version)
    say("Looking at verdicts" + (f" and {len(photos.labels) + len(photos.other)} photos." if photos else "."))
    recipe = RECIPES.get(version.recipe)
    data = split_training(cifar, recipe.validation_fraction if recipe else 0.05, SPLIT_SEED)
    found = trust_figures(
        predictor,
        version.preprocessing,
        (see(predictor, data.x_val, version.preprocessing), data.y_val),
        (see(predictor, cifar.x_test, version.preprocessing), cifar.y_test),
        photos,
        made_up_images=settings.MADE_UP_IMAGES,
    )
    card = version.card
    if "photos" in found and "note" in card.get("photos", {}):
        found["photos"]["note"] = card["photos"]["note"]
    version.card = {**card, **found}
    version.save(update_fields=["card"])
    return version

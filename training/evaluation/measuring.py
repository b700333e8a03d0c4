"""Run a model over a set of images; its figures are kept by training.evaluation.reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.translation import gettext as _

from training.data import cifar10_copy, dataset_versions
from training.engine.data.cifar10 import Cifar10, load_cifar10
from training.engine.data.image_set import ImageSet
from training.engine.data.labelled_images import CROSS_VALIDATION, TEST, VALIDATION, LabelledImages
from training.models import EvaluationReport, ModelVersion
from training.registry import model_store

if TYPE_CHECKING:
    from training.engine.evaluation.report import Measured
    from training.engine.packaging.package import Package
from training.evaluation.reports import keep

Say = Callable[[str], None]
# Images of 224x224 that are tried with each of 25 distortions: a thousand answers.
MOST_DISTORTED = 40


def evaluate(
    version: ModelVersion,
    images: ImageSet,
    *,
    cifar: Cifar10 | None = None,
    say: Say = lambda sentence: None,
    distorted: int | None = None,
) -> EvaluationReport:
    """Measure a model on a set and keep the report; an earlier one on the same set is replaced.

    Args:
        cifar: describe this data in the report, too, if the images are its own.
        say: is told what is being done.
        distorted: at most so many images are tried with each distortion; None: as many as the site's setting.

    Raises:
        ModelFileError: the model's file is missing or damaged.
    """
    from training.engine.evaluation.report import measure

    limit = settings.REPORT_DISTORTED_IMAGES
    limit = limit if distorted is None else min(limit, distorted)
    measured = measure(model_store.predictor(version), images, version.preprocessing, say, distorted=limit)
    say("Keeping the report.")
    return keep(version, images, measured, cifar=cifar)


def measure_new(
    made: Package,
    cifar: Cifar10,
    say: Say = lambda sentence: None,
    patiently: Callable[[Callable[[], Any]], Any] = lambda read: read(),
) -> list[tuple[ImageSet, Measured]]:
    """Measure a model that has no row yet: on CIFAR-10's test images, and on people's corrections
    where there are some that measure.

    Args:
        patiently: does what it is given again while the database or the store of files is away.
    """
    from training.engine.evaluation.report import measure

    distorted = settings.REPORT_DISTORTED_IMAGES
    images, preprocessing = cifar10_test(cifar), made.card["preprocessing"]
    of_test = measure(made.predictor, images, preprocessing, say, distorted=distorted, outputs=made.outputs)
    found = [(images, of_test)]
    photos = patiently(dataset_versions.newest_measuring_set)
    if photos is not None:
        say("Now the corrected photos.")
        found.append((photos, measure(made.predictor, photos, preprocessing, say, distorted=distorted)))
    return found


def measure_project(
    made: Package, images: LabelledImages, say: Say = lambda sentence: None
) -> list[tuple[ImageSet, Measured]]:
    """Measure a model of a project that has no row yet.

    Returns:
        Its report on the test images; where they are few, the cross-validated one on all images first, then
        the one on the test images, which other models can be held against.
    """
    from training.engine.evaluation.corruptions import robustness
    from training.engine.evaluation.report import measure

    predictor, preprocessing = made.predictor, made.card["preprocessing"]
    by, fair = made.card["measured_by"], fair_set(images)
    rows = images.rows() if by == CROSS_VALIDATION else images.rows(TEST)
    name = model_store.made_on(images.project, made.card) if images.project else _set_name(images)
    main = images.image_set(name, rows, model_store.measured_on(made.card))
    found = measure(predictor, main, preprocessing, say, distorted=0, outputs=made.outputs)
    found.figures.update(
        measured_by=by,
        advice=made.card.get("learning_curve"),
        judged_on=made.card["judged_on"],
        verdicts=made.card["verdicts"],
        fine_tuning=made.card["transfer"].get("fine_tuning"),
    )
    if fair is not None:
        # Only on images that it has not learned from.
        say("Distorting images.")
        limit = min(settings.REPORT_DISTORTED_IMAGES, MOST_DISTORTED)
        if limit:
            found.figures["panels"]["robustness"] = robustness(predictor, fair, preprocessing, limit)
    sets = [(main, found)]
    if by == CROSS_VALIDATION and fair is not None:
        sets.append((fair, measure(predictor, fair, preprocessing, say, distorted=0, timed=False)))
    return sets


def fair_set(images: LabelledImages) -> ImageSet | None:
    """The test images of a project, from which no model learns; None where there are none."""
    by, rows = images.measured()
    if by == CROSS_VALIDATION:
        rows = images.rows(TEST)
        # The dataset's own hash stands for the cross-validated report on all of its images.
        return images.image_set(f"{_set_name(images)}, held out", rows) if len(rows) else None
    return images.image_set(_set_name(images), rows, images.dataset_sha256)


def _set_name(images: LabelledImages) -> str:
    return model_store.test_set(images.project) if images.project else "test images"


def evaluate_on_project(
    version: ModelVersion, images: LabelledImages, say: Say = lambda sentence: None
) -> EvaluationReport:
    """Measure a registered model on the test images of its project, and note on its card what it answers to
    the images that the gate compares models on. The model may know other classes than the images have.

    Raises:
        NothingToMeasure: there are no test images.
        DatasetError: an image cannot be read.
        ModelFileError: the model's file is missing or damaged.
    """
    fair = fair_set(images)
    if fair is None:
        raise dataset_versions.NothingToMeasure(
            _("The project has no test images yet: add images, then try again.")
        )
    keep_held_out(version, images)
    return evaluate(version, fair, say=say, distorted=MOST_DISTORTED)


def measure_champion_of(project: str, images: LabelledImages, say: Say = lambda sentence: None) -> None:
    """Measure a project's champion on the images that a new model is measured on, where it was not yet.

    Raises:
        DatasetError: an image cannot be read.
        ModelFileError: its file is missing or damaged.
    """
    champion = model_store.champion(project)
    if champion is None:
        return
    if champion.card.get("held_out", {}).get("sha256") != images.sha256(images.rows(VALIDATION, TEST)):
        keep_held_out(champion, images)
    fair = fair_set(images)
    if fair is not None and not champion.reports.filter(dataset_sha256=fair.sha256).exists():
        say(f"Measuring {champion} on the same images: {fair.name}.")
        evaluate_on_project(champion, images, say)


def measure_champion(cifar: Cifar10, sets: list[ImageSet], say: Say = lambda sentence: None) -> None:
    """Measure the model that answers now on the held-out images, and on those of the sets that it has
    no report on, so that a new one can be held against it.

    Raises:
        ModelFileError: its file is missing or damaged.
    """
    champion = model_store.champion()
    if champion is None:
        return
    if champion.card.get("held_out", {}).get("sha256") != cifar.sha256:
        keep_held_out(champion, cifar)
    known = set(champion.reports.values_list("dataset_sha256", flat=True))
    for images in sets:
        if images.sha256 not in known:
            say(f"Measuring {champion} on the same images: {images.name}.")
            evaluate(champion, images, cifar=cifar, say=say)


def evaluate_on_cifar10(
    version: ModelVersion, cifar: Cifar10 | None = None, say: Say = lambda sentence: None
) -> EvaluationReport:
    """The report that every model has: CIFAR-10's test images.

    Raises:
        DatasetError: CIFAR-10 is not to be had.
        ModelFileError: the model's file is missing or damaged.
    """
    cifar = cifar or load_cifar10(cifar10_copy.folder())
    keep_held_out(version, cifar)
    return evaluate(version, cifar10_test(cifar), cifar=cifar, say=say)


def keep_held_out(version: ModelVersion, images: Cifar10 | LabelledImages) -> None:
    """Note on the card what a model answers to the images that the gate compares models on.

    Raises:
        ModelFileError: the model's file is missing or damaged.
    """
    from training.engine.evaluation.metrics import held_out_answers, held_out_of

    ask: Callable[..., dict[str, Any]] = held_out_answers if isinstance(images, Cifar10) else held_out_of
    found = ask(model_store.predictor(version), images, version.preprocessing)
    version.card = {**version.card, "held_out": found}
    version.save(update_fields=["card"])


def evaluate_on_corrections(
    version: ModelVersion, dataset: str = "", say: Say = lambda sentence: None
) -> EvaluationReport:
    """The report on people's accepted corrections: those photos of a dataset version that no model
    is trained on.

    Args:
        dataset: name or number of the dataset version; empty: the newest.

    Raises:
        NothingToMeasure: there are none.
        DatasetError: a photo's file is damaged.
        ModelFileError: the model's file is missing or damaged.
    """
    return evaluate(version, dataset_versions.find_measuring_set(dataset), say=say)


def cifar10_test(cifar: Cifar10) -> ImageSet:
    """CIFAR-10's test images as a set."""
    return ImageSet(model_store.TEST_SET, cifar.sha256, cifar.x_test, cifar.y_test)

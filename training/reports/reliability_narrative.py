"""How far a model can be trusted: real photos against CIFAR-10, by kind, in words and tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext as _

from cifarsite.core.numbers import count, decimal, measured, percent, percent_span, span
from training.engine.data.cifar10 import CLASS_NAMES
from training.reports.narrative import SYNTHETIC, class_title, thresholds

# Fewer photos of a class than this say nothing about it.
FEW = 5
# Fewer images than this do not tell whether confidence can be taken at its word: a perfect model would
# show a calibration error (ECE) of 0.1 on 63 images.
LEAST_FOR_CALIBRATION = 500


def is_of_project(card: dict[str, Any]) -> bool:
    """Is it a model of a project's own images? CIFAR-10's and photos of the ten say nothing of it."""
    return "judged_on" in card


def gap_sentences(card: dict[str, Any]) -> list[str]:
    """Real photos against CIFAR-10, or, of a project's model, what its thresholds stand on; empty where
    nothing was measured."""
    if is_of_project(card):
        return list(thresholds(card))
    photos, test = card.get("photos"), card.get("test")
    if not photos or not test:
        return []
    low, high = photos["interval"]
    said = _(
        "Accuracy on CIFAR-10's test images: %(test)s (n = %(n_test)s). Accuracy on real "
        "photos: %(photos)s (n = %(n)s; 95 %% interval %(interval)s; balanced accuracy "
        "%(balanced)s)."
    ) % {
        "test": percent(test["accuracy"]),
        "n_test": count(test["n"]),
        "photos": percent(photos["accuracy"]),
        "n": count(photos["n_ten"]),
        "interval": percent_span(photos["interval"]),
        "balanced": percent(photos["balanced"]),
    }
    if high < test["accuracy"]:
        meant = _("The model is less accurate on photos than on CIFAR-10.")
    elif low > test["accuracy"]:
        meant = _("The model is more accurate on these photos than on CIFAR-10.")
    else:
        meant = _("There are too few photos to say whether the model is more or less accurate on them.")
    return [f"{said} {meant}", *scarce(photos)]


def scarce(photos: dict[str, Any]) -> Iterator[str]:
    lacking = [class_title(name) for name in CLASS_NAMES if name not in photos["classes"]]
    few = [class_title(name) for name, (_hits, n) in photos["classes"].items() if n < FEW]
    if lacking:
        yield _("Classes without a photo: %(classes)s.") % {"classes": ", ".join(lacking)}
    if few:
        yield _("Classes with fewer than %(few)s photos: %(classes)s.") % {
            "few": FEW,
            "classes": ", ".join(few),
        }


def gap_rows(card: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(what, on CIFAR-10's test images, on photos); a dash where it was not measured."""
    return list(_gap_rows(card)) if "verdicts" in card and not is_of_project(card) else []


def _gap_rows(card: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    test, verdicts = card["test"], card["verdicts"]["test"]
    photos: dict[str, Any] = card.get("photos", {})
    known = "cifar_test" in photos
    ten = photos.get("verdicts_ten", {})
    n_ten, n_other = photos.get("n_ten", 0), photos.get("n_other", 0)

    def on_photos(text: str) -> str:
        return text if known else "–"

    def part(name: str) -> str:
        return on_photos(f"{count(ten.get(name, 0))} / {count(n_ten)}")

    yield _("Images of the ten things"), count(test["n"]), on_photos(count(n_ten))
    yield (
        _("Accuracy"),
        measured(test["accuracy"], test["interval"]),
        measured(photos["accuracy"], photos["interval"]) if known else "–",
    )
    yield (
        _("Calibration error, before and after"),
        f"{decimal(test['ece_before'], 4)} → {decimal(test['ece'], 4)}",
        f"{decimal(photos['ece_before'], 4)} → {decimal(photos['ece'], 4)}"
        if known and n_ten >= LEAST_FOR_CALIBRATION
        else "–",
    )
    yield _("Log loss, nats"), log_loss(test), on_photos(log_loss(photos))
    yield _("Recognised"), percent(verdicts["counts"]["recognised"] / verdicts["n"]), part("recognised")
    yield (
        _("Accuracy of the recognised"),
        percent(verdicts["recognised_right"]),
        on_photos(percent(photos.get("recognised_right"))),
    )
    yield _("Unsure"), percent(verdicts["counts"]["unsure"] / verdicts["n"]), part("unsure")
    yield (
        _("Prediction set contains the true label"),
        measured(verdicts["set_coverage"], verdicts["set_coverage_interval"]),
        measured(photos["set_coverage"], photos["set_coverage_interval"]) if known else "–",
    )
    yield (
        _("Wrongly classified as none of the ten"),
        percent(verdicts["counts"]["unknown"] / verdicts["n"]),
        part("unknown"),
    )
    if known:
        against, own = photos["cifar_test"], photos
        noticed = f"{count(photos['verdicts_other']['unknown'])} / {count(n_other)}"
        yield _("Photos of other things classified as none of the ten"), "–", noticed
        yield (
            _("AUROC against photos of other things"),
            decimal(against["auroc"], 3),
            decimal(own["auroc"], 3),
        )
        yield (
            _("False positive rate at %(share)s true positive rate (FPR95)") % {"share": percent(0.95, 0)},
            percent(against["false_positive_rate_at_95_recall"]),
            percent(own["false_positive_rate_at_95_recall"]),
        )


def log_loss(figures: dict[str, Any]) -> str:
    """'0.275 (0.120 – 0.431)'; cards of before have no interval."""
    if "log_loss" not in figures:
        return "–"
    shown = decimal(figures["log_loss"], 3)
    if "log_loss_interval" not in figures:
        return shown
    return f"{shown} ({span(figures['log_loss_interval'], 3)})"


def kind_rows(card: dict[str, Any]) -> list[dict[str, str]]:
    """Photos by source: of the ten and right, of other things and recognised."""
    names = {
        "web": _("From web sites"),
        "web_near": _("From web sites, much like one of the ten"),
        "collected": _("Collected for research, such as ImageNet"),
    }

    def share(hits: int, n: int, interval: list[float]) -> str:
        return f"{percent(hits / n)} ({percent_span(interval)}), n = {count(n)}" if n else "–"

    return [
        {
            "name": names[kind],
            "right": share(row["right"], row["n_ten"], row["interval"]),
            "none": f"{count(row['ten_called_none'])} / {count(row['n_ten'])}" if row["n_ten"] else "–",
            "recognised": share(row["other_recognised"], row["n_other"], row["other_interval"]),
        }
        for kind, row in card.get("photos", {}).get("kinds", {}).items()
    ]


def synthetic_rows(card: dict[str, Any]) -> list[dict[str, Any]]:
    """Synthetic images: how many of each kind the verdict detects, and the areas."""
    found = card.get("verdicts", {}).get("made_up", {})
    with_photos = card.get("photos", {}).get("made_up", {})
    return [
        {
            "kind": kind,
            "name": SYNTHETIC[kind],
            "n": row["n"],
            "noticed": row["noticed"],
            "auroc": decimal(row["auroc"], 3),
            "auroc_photos": decimal(with_photos[kind]["auroc"], 3) if kind in with_photos else "–",
        }
        for kind, row in found.items()
    ]

"""How far a model can be trusted, in words and tables: from its card, in the reader's language."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext as _

from cifarsite.core.numbers import count, decimal, measured, percent, percent_span, span
from training.engine.data.cifar10 import CLASS_NAMES
from training.reports.narrative import CORRUPTIONS, SYNTHETIC, class_title, thresholds

# From here on a figure speaks for a use, below it against it.
GOOD_ACCURACY, GOOD_AUROC, GOOD_CALIBRATION = 0.8, 0.9, 0.02
# Fewer photos of a class than this say nothing about it.
FEW = 5
# Weak classes that are named; of more, those with the least recall.
MOST_NAMED = 10
# Fewer images than this do not tell whether confidence can be taken at its word: a perfect model would
# show a calibration error (ECE) of 0.1 on 63 images.
LEAST_FOR_CALIBRATION = 500


def trust_context(card: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    """What report, model page, model card and the page on verdicts say; ``figures``: of a report."""
    return {
        "gap": gap_sentences(card),
        "gap_rows": gap_rows(card),
        "kind_rows": kind_rows(card),
        "synthetic": synthetic_rows(card),
        "good_for": good_for(card, figures),
        "not_for": not_for(card, figures),
    }


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
    return [f"{said} {meant}", *_scarce(photos)]


def _scarce(photos: dict[str, Any]) -> Iterator[str]:
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
    yield _("Log loss, nats"), _log_loss(test), on_photos(_log_loss(photos))
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


def _log_loss(figures: dict[str, Any]) -> str:
    """'0.275 (0.120 – 0.431)'; cards of before have no interval."""
    if "log_loss" not in figures:
        return "–"
    shown = decimal(figures["log_loss"], 3)
    if "log_loss_interval" not in figures:
        return shown
    return f"{shown} ({span(figures['log_loss_interval'], 3)})"


def auroc_lower(area: float, own: int, foreign: int) -> float:
    """The lower end of an AUROC's 95 % interval (J. Hanley and B. McNeil, 1982)."""
    one, two = area / (2 - area), 2 * area * area / (1 + area)
    spread = area * (1 - area) + (own - 1) * (one - area * area) + (foreign - 1) * (two - area * area)
    return area - 1.96 * math.sqrt(max(spread, 0.0) / (own * foreign))


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


def good_for(card: dict[str, Any], figures: dict[str, Any]) -> list[str]:
    """What the measurements speak for."""
    return [text for is_good, text in _uses(card, figures) if is_good]


def not_for(card: dict[str, Any], figures: dict[str, Any]) -> list[str]:
    """What they speak against, or say nothing about, and what no measurement could allow."""
    against = [text for is_good, text in _uses(card, figures) if not is_good]
    scarce = list(_scarce(card["photos"])) if "photos" in card else []
    if is_of_project(card):
        other = _("Anything other than its %(n)s classes: the model has no others.") % {
            "n": count(len(card["classes"]))
        }
    else:
        other = _(
            "Anything other than the ten things: the model has no other classes. Its training "
            "images have 32 × 32 pixels and date from before 2009."
        )
    return [
        *against,
        *scarce,
        other,
        _("Decisions about people or safety: the model was not evaluated for them."),
    ]


def _uses(card: dict[str, Any], figures: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    if is_of_project(card):
        yield (
            figures["interval"][0] >= GOOD_ACCURACY,
            _("Images like those it was trained on: accuracy %(share)s (n = %(n)s; %(interval)s).")
            % {
                "share": percent(figures["accuracy"]),
                "n": count(figures["n"]),
                "interval": percent_span(figures["interval"]),
            },
        )
        yield from _weak_classes(figures)
        yield from _weak_images(figures)
        return
    yield (
        figures["accuracy"] >= GOOD_ACCURACY,
        _("Small images like CIFAR-10's: accuracy %(share)s (n = %(n)s).")
        % {"share": percent(figures["accuracy"]), "n": count(figures["n"])},
    )
    photos, test = card.get("photos"), card.get("test", {})
    if photos:
        yield (
            photos["interval"][0] >= GOOD_ACCURACY,
            _("Photos that show one of the ten things: accuracy %(share)s (n = %(n)s; %(interval)s).")
            % {
                "share": percent(photos["accuracy"]),
                "n": count(photos["n_ten"]),
                "interval": percent_span(photos["interval"]),
            },
        )
        yield (
            auroc_lower(photos["auroc"], photos["n_ten"], photos["n_other"]) >= GOOD_AUROC,
            _(
                "Detecting that a photo shows none of the ten: %(noticed)s of %(n)s such photos are "
                "detected (AUROC %(area)s)."
            )
            % {
                "noticed": count(photos["verdicts_other"]["unknown"]),
                "n": count(photos["n_other"]),
                "area": decimal(photos["auroc"], 3),
            },
        )
    else:
        yield False, _("Photos from phones and cameras: the model was not measured on photos.")
    if "ece" in test and test["n"] >= LEAST_FOR_CALIBRATION:
        yield (
            test["ece"] <= GOOD_CALIBRATION,
            _(
                "Relying on its confidence on small images: the calibration error is %(points)s "
                "points on average."
            )
            % {"points": decimal(100 * test["ece"], 1)},
        )
    if photos and photos["n_ten"] >= LEAST_FOR_CALIBRATION and "surprise_interval" in photos:
        low, high = photos["surprise_interval"]
        yield (
            low <= 0,
            _(
                "Relying on its confidence on photos: the log loss exceeds the predictions' entropy by "
                "%(low)s to %(high)s nats (n = %(n)s; 0 for a calibrated model)."
            )
            % {"low": decimal(low, 3), "high": decimal(high, 3), "n": count(photos["n_ten"])},
        )
    yield from _weak_classes(figures)
    yield from _weak_images(figures)


def _weak_classes(figures: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    weak = [row for row in figures["classes"] if row["support"] and row["recall"] < GOOD_ACCURACY]
    named = sorted(weak, key=lambda row: row["recall"])[:MOST_NAMED] if len(weak) > MOST_NAMED else weak
    for row in named:
        yield (
            False,
            _("Finding every image of the class %(name)s: recall %(share)s (n = %(n)s).")
            % {
                "name": class_title(row["name"]),
                "share": percent(row["recall"]),
                "n": count(row["support"]),
            },
        )


def _weak_images(figures: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    found = figures.get("panels", {}).get("robustness")
    if not found:
        return
    worst = min(found["rows"], key=lambda row: row["steps"][-1]["share"])
    yield (
        False,
        _(
            "Corrupted images: with the strongest '%(name)s', accuracy is %(share)s instead of %(clean)s "
            "(n = %(n)s)."
        )
        % {
            "n": count(found["n"]),
            "name": CORRUPTIONS[worst["name"]],
            "share": percent(worst["steps"][-1]["share"]),
            "clean": percent(found["clean"]["share"]),
        },
    )


def verdict_facts(card: dict[str, Any]) -> dict[str, list[str]]:
    """What was measured of each verdict, in sentences; nothing for a card that has no such figures."""
    facts: dict[str, list[str]] = {"confidence": [], "recognised": [], "unsure": [], "unknown": []}
    if "verdicts" not in card:
        return facts
    test, said = card["test"], card["verdicts"]["test"]
    n = count(said["n"])
    facts["confidence"].append(
        _(
            "Calibration error on %(n)s test images: %(after)s points on average; before "
            "calibration: %(before)s points."
        )
        % {"n": n, "after": decimal(100 * test["ece"], 1), "before": decimal(100 * test["ece_before"], 1)}
    )
    facts["recognised"].append(
        _("Of %(n)s test images, %(share)s are recognised, and %(right)s of those predictions are correct.")
        % {
            "n": n,
            "share": percent(said["counts"]["recognised"] / said["n"]),
            "right": percent(said["recognised_right"]),
        }
    )
    facts["unsure"].append(
        _(
            "Prediction sets should contain the true label for at least %(goal)s of the images. "
            "Measured: %(share)s of %(n)s test images (95 %% interval %(interval)s), with "
            "%(size)s labels on average."
        )
        % {
            "goal": percent(card["verdicts"]["coverage_goal"], 0),
            "share": percent(said["set_coverage"]),
            "n": n,
            "interval": percent_span(said["set_coverage_interval"]),
            "size": decimal(said["set_size"], 2),
        }
    )
    if is_of_project(card):
        facts["unknown"].append(
            _(
                "The limit accepts %(goal)s of %(judged)s images of the classes, predicted by models that "
                "were fitted without them. Measured: %(share)s of %(n)s images are wrongly classified as "
                "none of these."
            )
            % {
                "goal": percent(1 - card["verdicts"]["false_alarm_goal"], 0),
                "judged": count(card["judged_on"]["n"]),
                "share": percent(said["counts"]["unknown"] / said["n"]),
                "n": n,
            }
        )
        return facts
    facts["unknown"].append(
        _(
            "The limit accepts %(goal)s of the validation images, which all show one of the ten. "
            "Measured: %(share)s of %(n)s test images are wrongly classified as none of the ten."
        )
        % {
            "goal": percent(1 - card["verdicts"]["false_alarm_goal"], 0),
            "share": percent(said["counts"]["unknown"] / said["n"]),
            "n": n,
        }
    )
    if "cifar_test" in card.get("photos", {}):
        _add_photo_facts(facts, card["photos"], test)
    return facts


def _add_photo_facts(facts: dict[str, list[str]], photos: dict[str, Any], test: dict[str, Any]) -> None:
    ten, n_ten = photos["verdicts_ten"], count(photos["n_ten"])
    facts["confidence"].append(
        _("On %(n)s real photos its log loss is %(loss)s nats; on CIFAR-10's test images, %(test)s.")
        % {"n": n_ten, "loss": _log_loss(photos), "test": _log_loss(test)}
    )
    facts["recognised"].append(
        _(
            "Of %(n)s real photos of the ten things, %(said)s are recognised, and %(right)s of "
            "those predictions are correct."
        )
        % {"n": n_ten, "said": count(ten["recognised"]), "right": percent(photos["recognised_right"])}
    )
    facts["unsure"].append(
        _(
            "For %(share)s of %(n)s real photos the prediction set contains the true label "
            "(95 %% interval %(interval)s)."
        )
        % {
            "share": percent(photos["set_coverage"]),
            "n": n_ten,
            "interval": percent_span(photos["set_coverage_interval"]),
        }
    )
    facts["unknown"] += [
        _(
            "Of %(n)s photos of other things, %(noticed)s are classified as none of the ten; of "
            "%(n_ten)s photos of the ten, %(wrong)s are wrongly classified so."
        )
        % {
            "n": count(photos["n_other"]),
            "noticed": count(photos["verdicts_other"]["unknown"]),
            "n_ten": n_ten,
            "wrong": count(ten["unknown"]),
        },
        _(
            "AUROC between photos of the ten and photos of other things: %(share)s. Between "
            "CIFAR-10's test images and photos of other things: %(test)s."
        )
        % {"share": percent(photos["auroc"]), "test": percent(photos["cifar_test"]["auroc"])},
    ]

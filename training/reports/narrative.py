"""What a report's figures mean, in sentences: written from the numbers, in the reader's language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from cifarsite.core.numbers import count, decimal, percent, points
from training.data.dataset_versions import MEASURED_NAME
from training.engine.data.cifar10 import CLASS_NAMES
from training.engine.data.labelled_images import CROSS_VALIDATION, LEAST_TEST_IMAGES
from training.engine.inference.calibration import SETS_FROM
from training.reports.fine_tuning import fine_tuning

COMMONEST = 3
# A gain of accuracy that is worth the work of collecting images.
HELPFUL = 0.02
# A model that notices fewer synthetic images takes many other images for one of its classes.
NOTICED = 0.8


def class_title(name: str) -> str:
    """A class's name for people: in their language where it is one of CIFAR-10's, else as it was given."""
    return _(name) if name in CLASS_NAMES else name


def set_name(dataset: str) -> str:
    """What a set is called, in the reader's language where the name is the site's own."""
    if dataset.startswith(MEASURED_NAME):
        return _("Corrected photos of %(name)s") % {"name": dataset.removeprefix(MEASURED_NAME).strip()}
    return dataset


def sentences(figures: dict[str, Any], dataset: str) -> list[str]:
    """The report in words, the most important first."""
    return [
        _accuracy(figures, dataset),
        *_classes(figures),
        *filter(None, [fine_tuning(figures.get("fine_tuning"))]),
        *advice(figures),
        *_kinds(figures),
        *_confidence(figures),
        *thresholds(figures),
        *_distortions(figures),
    ]


def _accuracy(figures: dict[str, Any], dataset: str) -> str:
    low, high = figures["interval"]
    values = {
        "n": count(figures["n"]),
        "dataset": set_name(dataset),
        "accuracy": percent(figures["accuracy"]),
        "low": percent(low),
        "high": percent(high),
        "top2": percent(figures["top2"]),
    }
    if figures.get("measured_by") == CROSS_VALIDATION:
        text = _(
            "Cross-validated over all %(n)s images, since some class has fewer than %(least)s test images: "
            "the accuracy is %(accuracy)s; on other images of the same kind, expect between %(low)s and "
            "%(high)s. Each image was predicted by a model that was fitted without it. For %(top2)s the true "
            "class is among the two most probable classes."
        )
        return text % {**values, "least": LEAST_TEST_IMAGES}
    text = ngettext(
        "On the one image of %(dataset)s, the model's accuracy is %(accuracy)s; on other "
        "images of the same kind, expect between %(low)s and %(high)s. For %(top2)s the true "
        "class is among the two most probable classes.",
        "On the %(n)s images of %(dataset)s, the model's accuracy is %(accuracy)s; on other "
        "images of the same kind, expect between %(low)s and %(high)s. For %(top2)s the true "
        "class is among the two most probable classes.",
        figures["n"],
    )
    return text % values


def advice(figures: dict[str, Any]) -> Iterator[str]:
    """Would more images help, and of which class? Nothing where no learning curve was measured."""
    curve = figures.get("advice")
    if not curve:
        return
    half, full = curve["steps"][1], curve["steps"][-1]
    values = {
        "half": count(half["images"]),
        "half_share": percent(half["accuracy"]),
        "full": count(full["images"]),
        "full_share": percent(full["accuracy"]),
        "low": points(curve["gain"]["interval"][0]),
        "high": points(curve["gain"]["interval"][1]),
        "n": count(curve["n"]),
    }
    if curve["helps"]:
        said = _("More images would probably help:")
    elif curve["gain"]["interval"][1] > HELPFUL:
        said = _("Whether more images would help cannot be told from so few:")
    else:
        said = _("More images of the same kind would help little:")
    measured = _(
        "from %(half)s to %(full)s training images, accuracy went from %(half_share)s to %(full_share)s "
        "(95 %% interval of the difference %(low)s to %(high)s points, n = %(n)s)."
    )
    yield f"{said} {measured % values}"
    weak = [
        _("%(name)s (recall %(recall)s, n = %(n)s; %(images)s training images)")
        % {
            "name": class_title(row["name"]),
            "recall": percent(row["recall"]),
            "n": count(row["n"]),
            "images": count(row["images"]),
        }
        for row in curve["classes"]
    ]
    if weak:
        yield _("If you add images, start with these classes: %(classes)s.") % {"classes": ", ".join(weak)}


def thresholds(figures: dict[str, Any]) -> Iterator[str]:
    """What calibration, sets and the limit for 'none of these' stand on, where they stand on little."""
    judged, said = figures.get("judged_on"), figures.get("verdicts")
    if not judged or not said:
        return
    yield _(
        "Calibration, prediction sets and the limit of 'none of these' were fitted to %(n)s images: "
        "%(crossed)s cross-validated, %(validation)s for validation."
    ) % {
        "n": count(judged["n"]),
        "crossed": count(judged["cross_validated"]),
        "validation": count(judged["validation"]),
    }
    test = said["test"]
    yield _(
        "Of %(n)s images, the prediction set contains the true label for %(share)s (goal: %(goal)s; 95 %% "
        "interval %(low)s to %(high)s), with %(size)s labels on average; %(unknown)s are wrongly classified "
        "as none of these (goal: %(alarms)s)."
    ) % {
        "n": count(test["n"]),
        "share": percent(test["set_coverage"]),
        "goal": percent(said["coverage_goal"], 0),
        "low": percent(test["set_coverage_interval"][0]),
        "high": percent(test["set_coverage_interval"][1]),
        "size": decimal(test["set_size"], 2),
        "unknown": percent(test["counts"]["unknown"] / max(test["n"], 1)),
        "alarms": percent(said["false_alarm_goal"], 0),
    }
    if judged["n"] < SETS_FROM:
        yield _(
            "From so few images no prediction set can keep this goal: each contains every class, so no photo "
            "is recognised. Add training images: it takes %(least)s images to fit them to."
        ) % {"least": count(SETS_FROM)}
    strange = said.get("made_up", {})
    n, noticed = (sum(row[key] for row in strange.values()) for key in ("n", "noticed"))
    if noticed < NOTICED * n:
        weak = {kind: row for kind, row in strange.items() if row["noticed"] < NOTICED * row["n"]}
        yield _(
            "It takes many other images for one of its classes: of %(n)s synthetic images, %(noticed)s were "
            "classified as none of these (%(kinds)s)."
        ) % {
            "n": count(n),
            "noticed": count(noticed),
            "kinds": ", ".join(
                f"{SYNTHETIC[k]}: {count(r['noticed'])} / {count(r['n'])}" for k, r in weak.items()
            ),
        }


def _classes(figures: dict[str, Any]) -> Iterator[str]:
    present = [row for row in figures["classes"] if row["support"]]
    if len(present) < 2:
        return
    best, worst = (pick(present, key=lambda row: row["recall"]) for pick in (max, min))
    yield _(
        "Best class: %(best)s, with a recall of %(best_share)s. Hardest class: %(worst)s, "
        "with a recall of %(worst_share)s and a precision of %(precision)s."
    ) % {
        "best": class_title(best["name"]),
        "best_share": percent(best["recall"]),
        "worst": class_title(worst["name"]),
        "worst_share": percent(worst["recall"]),
        "precision": percent(worst["precision"]),
    }


def common_confusions(matrix: list[list[int]]) -> list[tuple[int, int, int, int]]:
    """(class, class, first taken for second, second taken for first), the most frequent pairs first."""
    return confused_pairs(matrix)[:COMMONEST]


def confused_pairs(matrix: list[list[int]]) -> list[tuple[int, int, int, int]]:
    """All pairs of ``common_confusions``."""
    counts = np.array(matrix).reshape(len(matrix), len(matrix))
    pairs = []
    for a, b in np.argwhere(np.tril(counts + counts.T, -1)).tolist():
        there, back = int(counts[a, b]), int(counts[b, a])
        pairs.append((a, b, there, back) if there >= back else (b, a, back, there))
    return sorted(pairs, key=lambda pair: -(pair[2] + pair[3]))


def confusion_sentence(pair: tuple[int, int, int, int], classes: Sequence[str] = CLASS_NAMES) -> str:
    """One pair of ``common_confusions`` in words."""
    a, b, there, back = pair
    first_name = class_title(classes[a])
    names = {"a": first_name[:1].upper() + first_name[1:], "b": class_title(classes[b])}
    first = ngettext("%(a)s predicted as %(b)s: %(n)s image", "%(a)s predicted as %(b)s: %(n)s images", there)
    second = ngettext("the other way round: %(n)s image", "the other way round: %(n)s images", back)
    return f"{first % {**names, 'n': count(there)}}; {second % {'n': count(back)}}"


def _kinds(figures: dict[str, Any]) -> Iterator[str]:
    if "animals_or_vehicles" not in figures:
        return
    # None where a set lacks the kind.
    found = {row["name"]: row["exact"]["share"] for row in figures.get("panels", {}).get("kinds", [])}
    text = _("The model distinguishes animals from vehicles in %(share)s of the images.") % {
        "share": percent(figures["animals_or_vehicles"], 2)
    }
    if found.get("animals") is not None and found.get("vehicles") is not None:
        text += " " + _("Accuracy on animals: %(animals)s; on vehicles: %(vehicles)s.") % {
            "animals": percent(found["animals"]),
            "vehicles": percent(found["vehicles"]),
        }
    yield text


def _confidence(figures: dict[str, Any]) -> Iterator[str]:
    yield _("Calibration error (ECE): %(after)s points; before calibration: %(before)s points.") % {
        "after": decimal(100 * figures["ece"], 1),
        "before": decimal(100 * figures["ece_before"], 1),
    }
    rows = figures.get("panels", {}).get("sweep", [])
    chosen = next((row for row in rows if row["threshold"] == 0.9 and row["share"] is not None), None)
    if chosen:
        yield _(
            "With only predictions of at least 90 %% confidence, coverage is %(coverage)s and "
            "accuracy %(share)s."
        ) % {"coverage": percent(chosen["coverage"]), "share": percent(chosen["share"])}


def _distortions(figures: dict[str, Any]) -> Iterator[str]:
    found = figures.get("panels", {}).get("robustness")
    if not found:
        return
    worst = min(found["rows"], key=lambda row: row["steps"][-1]["share"])
    mildest = max(found["rows"], key=lambda row: row["steps"][-1]["share"])
    yield _(
        "Of the corruptions applied to %(n)s of the images, '%(worst)s' does the most harm: "
        "at full strength, accuracy is %(worst_share)s instead of %(clean)s. '%(mildest)s' "
        "does the least: %(mildest_share)s."
    ) % {
        "n": count(found["n"]),
        "worst": CORRUPTIONS[worst["name"]],
        "worst_share": percent(worst["steps"][-1]["share"]),
        "clean": percent(found["clean"]["share"]),
        "mildest": CORRUPTIONS[mildest["name"]],
        "mildest_share": percent(mildest["steps"][-1]["share"]),
    }


CORRUPTIONS = {
    "noise": gettext_lazy("noise"),
    "blur": gettext_lazy("blur"),
    "jpeg": gettext_lazy("JPEG compression"),
    "darker": gettext_lazy("darker"),
    "brighter": gettext_lazy("brighter"),
}
SYNTHETIC = {
    "noise": gettext_lazy("Noise"),
    "text": gettext_lazy("Text"),
    "plain": gettext_lazy("Plain colours"),
    "screen": gettext_lazy("Screenshots"),
}
SLICES = {
    "brightness": gettext_lazy("Brightness (mean grey level)"),
    "contrast": gettext_lazy("Contrast (spread of grey levels)"),
    "sharpness": gettext_lazy("Sharpness (mean change between neighbours)"),
    "colour": gettext_lazy("Colour (span between channels)"),
    "size": gettext_lazy("Size of the original (side, pixels)"),
    "confidence": gettext_lazy("Confidence"),
}
KINDS = {"animals": gettext_lazy("animals"), "vehicles": gettext_lazy("vehicles")}

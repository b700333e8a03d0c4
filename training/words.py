"""What a report's figures mean, in sentences: written from the numbers, in the reader's language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from training.charts import decimal, percent
from training.datasets import MEASURED_NAME
from training.engine.data import CLASS_NAMES

# Above this p a difference may as well be chance.
CHANCE = 0.05
COMMONEST = 3


def count(number: int) -> str:
    """10000 as '10,000' in the reader's way."""
    return number_format(number, force_grouping=True)


def points(share: float, digits: int = 1) -> str:
    """A difference of shares as percentage points with its sign."""
    sign = "+" if share > 0 else "−" if share < 0 else "±"
    return f"{sign}{decimal(abs(100 * share), digits)}"


def set_name(dataset: str) -> str:
    """What a set is called, in the reader's language where the name is the site's own."""
    if dataset.startswith(MEASURED_NAME):
        return _("Corrected photos of %(name)s") % {"name": dataset.removeprefix(MEASURED_NAME).strip()}
    return dataset


def sentences(figures: dict[str, Any], dataset: str) -> list[str]:
    """The report in words, the most important first."""
    return list(_sentences(figures, dataset))


def _sentences(figures: dict[str, Any], dataset: str) -> Iterator[str]:
    low, high = figures["interval"]
    yield ngettext(
        "Of the one image of %(dataset)s it names %(accuracy)s correctly; with other images of the same "
        "kind, expect between %(low)s and %(high)s. For %(top2)s the right answer is among its two "
        "likeliest.",
        "Of the %(n)s images of %(dataset)s it names %(accuracy)s correctly; with other images of the same "
        "kind, expect between %(low)s and %(high)s. For %(top2)s the right answer is among its two "
        "likeliest.",
        figures["n"],
    ) % {
        "n": count(figures["n"]),
        "dataset": set_name(dataset),
        "accuracy": percent(figures["accuracy"]),
        "low": percent(low),
        "high": percent(high),
        "top2": percent(figures["top2"]),
    }
    yield from _classes(figures)
    yield from _kinds(figures)
    yield from _confidence(figures)
    yield from _distortions(figures)


def _classes(figures: dict[str, Any]) -> Iterator[str]:
    present = [row for row in figures["classes"] if row["support"]]
    if len(present) < 2:
        return
    best, worst = (pick(present, key=lambda row: row["recall"]) for pick in (max, min))
    yield _(
        "It knows %(best)s best: it finds %(best_share)s of them. The hardest is %(worst)s: it finds "
        "%(worst_share)s of them, and %(precision)s of what it calls so is right."
    ) % {
        "best": _(best["name"]),
        "best_share": percent(best["recall"]),
        "worst": _(worst["name"]),
        "worst_share": percent(worst["recall"]),
        "precision": percent(worst["precision"]),
    }


def common_confusions(matrix: list[list[int]]) -> list[tuple[int, int, int, int]]:
    """(class, class, first taken for second, second taken for first), the commonest pairs first."""
    pairs = [
        (a, b, matrix[a][b], matrix[b][a])
        if matrix[a][b] >= matrix[b][a]
        else (b, a, matrix[b][a], matrix[a][b])
        for a in range(len(matrix))
        for b in range(a)
    ]
    kept = sorted((pair for pair in pairs if pair[2]), key=lambda pair: -(pair[2] + pair[3]))
    return kept[:COMMONEST]


def confusion_sentence(pair: tuple[int, int, int, int]) -> str:
    """One pair of ``common_confusions`` in words."""
    a, b, there, back = pair
    names = {"a": _(CLASS_NAMES[a]).capitalize(), "b": _(CLASS_NAMES[b])}
    first = ngettext("%(a)s taken for %(b)s: %(n)s image", "%(a)s taken for %(b)s: %(n)s images", there)
    second = ngettext("the other way round: %(n)s image", "the other way round: %(n)s images", back)
    return f"{first % {**names, 'n': count(there)}}; {second % {'n': count(back)}}"


def _kinds(figures: dict[str, Any]) -> Iterator[str]:
    # None where a set lacks the kind.
    found = {row["name"]: row["exact"]["share"] for row in figures.get("panels", {}).get("kinds", [])}
    text = _("It tells animals from vehicles in %(share)s of the images.") % {
        "share": percent(figures["animals_or_vehicles"], 2)
    }
    if found.get("animals") is not None and found.get("vehicles") is not None:
        text += " " + _("Of the animals it names %(animals)s correctly, of the vehicles %(vehicles)s.") % {
            "animals": percent(found["animals"]),
            "vehicles": percent(found["vehicles"]),
        }
    yield text


def _confidence(figures: dict[str, Any]) -> Iterator[str]:
    yield _("Its confidence is off by %(after)s points on average; before calibration, by %(before)s.") % {
        "after": decimal(100 * figures["ece"], 1),
        "before": decimal(100 * figures["ece_before"], 1),
    }
    rows = figures.get("panels", {}).get("sweep", [])
    chosen = next((row for row in rows if row["threshold"] == 0.9 and row["share"] is not None), None)
    if chosen:
        yield _(
            "If only answers of at least 90 %% confidence count, %(coverage)s of the images are answered, "
            "and %(share)s of those answers are right."
        ) % {"coverage": percent(chosen["coverage"]), "share": percent(chosen["share"])}


def _distortions(figures: dict[str, Any]) -> Iterator[str]:
    found = figures.get("panels", {}).get("robustness")
    if not found:
        return
    worst = min(found["rows"], key=lambda row: row["steps"][-1]["share"])
    mildest = max(found["rows"], key=lambda row: row["steps"][-1]["share"])
    yield _(
        "Of the distortions tried on %(n)s of the images, '%(worst)s' harms most: at its strongest, "
        "%(worst_share)s are right instead of %(clean)s. '%(mildest)s' harms least: %(mildest_share)s."
    ) % {
        "n": count(found["n"]),
        "worst": DISTORTIONS[worst["name"]],
        "worst_share": percent(worst["steps"][-1]["share"]),
        "clean": percent(found["clean"]["share"]),
        "mildest": DISTORTIONS[mildest["name"]],
        "mildest_share": percent(mildest["steps"][-1]["share"]),
    }


DISTORTIONS = {
    "noise": gettext_lazy("noise"),
    "blur": gettext_lazy("blur"),
    "jpeg": gettext_lazy("JPEG compression"),
    "darker": gettext_lazy("darker"),
    "brighter": gettext_lazy("brighter"),
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


def change(compared: dict[str, Any], before: str) -> str:
    """What is different from another model, in words. ``compared``: see ``training.comparison``."""
    accuracy = compared["accuracy"]
    values = {
        "before": before,
        "points": points(accuracy["difference"], 2),
        "low": points(accuracy["interval"][0], 2),
        "high": points(accuracy["interval"][1], 2),
    }
    may_be_chance = compared["p"] >= CHANCE
    if may_be_chance:
        text = _("Against %(before)s: %(points)s points of accuracy (95 %% interval %(low)s to %(high)s).")
    elif accuracy["difference"] > 0:
        text = _(
            "Against %(before)s it is more accurate: %(points)s points (95 %% interval %(low)s to %(high)s)."
        )
    else:
        text = _(
            "Against %(before)s it is less accurate: %(points)s points (95 %% interval %(low)s to %(high)s)."
        )
    parts = (text % values, _moved_images(compared, may_be_chance), _moved_classes(compared))
    return " ".join(filter(None, parts))


def _moved_images(compared: dict[str, Any], may_be_chance: bool) -> str:
    repaired, broken = compared["repaired"], compared["broken"]
    repairs = ngettext("It repairs %(n)s image", "It repairs %(n)s images", repaired)
    breaks = ngettext("breaks %(n)s image", "breaks %(n)s images", broken)
    if may_be_chance:
        text = _("%(repairs)s and %(breaks)s, which may be chance (McNemar's p %(p)s).")
    else:
        text = _("%(repairs)s and %(breaks)s (McNemar's p %(p)s).")
    return text % {
        "repairs": repairs % {"n": count(repaired)},
        "breaks": breaks % {"n": count(broken)},
        "p": p_value(compared["p"]),
    }


def _moved_classes(compared: dict[str, Any]) -> str:
    present = [row for row in compared["classes"] if row["n"]]
    if len(present) < 2:
        return ""
    moved = sorted(present, key=lambda row: row["difference"])
    if moved[0]["difference"] < 0:
        extra = _("Most gained: %(best)s (%(gain)s points of recall); most lost: %(worst)s (%(loss)s).")
    else:
        extra = _("Most gained: %(best)s (%(gain)s points of recall); least: %(worst)s (%(loss)s).")
    return extra % {
        "best": _(moved[-1]["name"]),
        "gain": points(moved[-1]["difference"]),
        "worst": _(moved[0]["name"]),
        "loss": points(moved[0]["difference"]),
    }


def p_value(p: float) -> str:
    """'= 0.034', or '< 0.001'."""
    return f"< {decimal(0.001, 3)}" if p < 0.001 else f"= {decimal(p, 3)}"

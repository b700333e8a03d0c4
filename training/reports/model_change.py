"""How a model differs from the champion, in sentences."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from cifarsite.core.numbers import count, decimal, points
from training.reports.narrative import class_title

# Above this p a difference may as well be chance.
CHANCE = 0.05


def change(compared: dict[str, Any], before: str) -> str:
    """How two models differ, in words. ``compared``: see ``training.evaluation.comparison``."""
    accuracy = compared["accuracy"]
    values = {
        "before": before,
        "points": points(accuracy["difference"], 2),
        "low": points(accuracy["interval"][0], 2),
        "high": points(accuracy["interval"][1], 2),
    }
    may_be_chance = compared["p"] >= CHANCE
    if may_be_chance:
        text = _("Against %(before)s: %(points)s points of accuracy (95 %% interval %(low)s to %(high)s).")
    elif accuracy["difference"] > 0:
        text = _(
            "Against %(before)s it is more accurate: %(points)s points (95 %% interval %(low)s to %(high)s)."
        )
    else:
        text = _(
            "Against %(before)s it is less accurate: %(points)s points (95 %% interval %(low)s to %(high)s)."
        )
    parts = (text % values, _moved_images(compared, may_be_chance), _moved_classes(compared))
    return " ".join(filter(None, parts))


def _moved_images(compared: dict[str, Any], may_be_chance: bool) -> str:
    fixed, regressed = compared["fixed"], compared["regressed"]
    repairs = ngettext("It fixes %(n)s image", "It fixes %(n)s images", fixed)
    breaks = ngettext("regresses on %(n)s image", "regresses on %(n)s images", regressed)
    if may_be_chance:
        text = _("%(repairs)s and %(breaks)s, which may be chance (McNemar's p %(p)s).")
    else:
        text = _("%(repairs)s and %(breaks)s (McNemar's p %(p)s).")
    return text % {
        "repairs": repairs % {"n": count(fixed)},
        "breaks": breaks % {"n": count(regressed)},
        "p": p_value(compared["p"]),
    }


def _moved_classes(compared: dict[str, Any]) -> str:
    present = [row for row in compared["classes"] if row["n"]]
    if len(present) < 2:
        return ""
    moved = sorted(present, key=lambda row: row["difference"])
    if moved[-1]["difference"] <= 0:
        extra = _(
            "No class gained. Lost least: %(best)s (%(gain)s points of recall), most: %(worst)s (%(loss)s)."
        )
    elif moved[0]["difference"] < 0:
        extra = _("Most gained: %(best)s (%(gain)s points of recall); most lost: %(worst)s (%(loss)s).")
    else:
        extra = _("Most gained: %(best)s (%(gain)s points of recall); least: %(worst)s (%(loss)s).")
    return extra % {
        "best": class_title(moved[-1]["name"]),
        "gain": points(moved[-1]["difference"]),
        "worst": class_title(moved[0]["name"]),
        "loss": points(moved[0]["difference"]),
    }


def p_value(p: float) -> str:
    """'= 0.034', or '< 0.001'."""
    return f"< {decimal(0.001, 3)}" if p < 0.001 else f"= {decimal(p, 3)}"

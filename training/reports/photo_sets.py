"""On which photos models were measured: figures on photos are only compared where the set is the same one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext as _

from cifarsite.core.numbers import count, measured, points
from training.models import ModelVersion


def photo_set_name(card: dict[str, Any]) -> str:
    """'photos 020f315c', a name and a short hash; empty where the card says nothing of photos."""
    photos = card.get("photos")
    if not photos:
        return ""
    known = photos.get("set")
    return f"{known['name']} {known['sha256'][:8]}" if known else _("set not recorded")


def are_mixed(versions: Iterable[ModelVersion]) -> bool:
    """Were some of them measured on different photos, or on photos that no card names?"""
    measured = [version.card["photos"] for version in versions if version.card.get("photos")]
    sets = {photos.get("set", {}).get("sha256", "") for photos in measured}
    return len(sets) > 1 or (len(measured) > 1 and "" in sets)


def photos_compared(new: ModelVersion, old: ModelVersion) -> dict[str, Any] | None:
    """Accuracy on photos of both, and the difference where the set is the same; None: one has no figures."""
    if not new.card.get("photos") or not old.card.get("photos"):
        return None
    mine, theirs = new.card["photos"], old.card["photos"]
    are_same = not are_mixed((new, old))
    return {
        "sides": [
            {
                "model": version.name,
                "set": photo_set_name(version.card),
                "accuracy": measured(photos["accuracy"], photos["interval"]),
                "n": count(photos["n_ten"]),
            }
            for version, photos in ((new, mine), (old, theirs))
        ],
        "difference": points(mine["accuracy"] - theirs["accuracy"]) if are_same else "",
    }

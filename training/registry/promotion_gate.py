"""May a challenger go live? Paired figures on held-out validation images, and fixed floors.

CIFAR-10's test images are left for the last look: what decides who goes live chooses a model, and
that is done on validation images, those that no recipe learns from. A project of one's own has few
images, so there the test images count, too: no model is trained on them either, and a photo stays on its
side of the split when others are added.

Source: A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched
proportions", 2005: half an image added to each cell of the table.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from cifarsite.core.numbers import count, decimal, percent, points
from training.engine.inference.calibration import wilson_interval
from training.models import DEFAULT_PROJECT, ModelVersion, Promotion
from training.registry import model_store

# One-sided, 95 %.
Z = 1.645
# The margin holds for so many held-out images, CIFAR-10's. Of fewer, the smallest difference that they could
# show at all grows with the root, and the margin with it; of more it stays.
MARGIN_IMAGES = 2_500
# Of fewer images of a class, a low recall may be chance: then the upper end of its interval counts.
FEW_OF_A_CLASS = 30
# Of fewer images, the error by bins (ECE) is mostly chance: it counts where the model is proved too sure.
FEW_FOR_BINS = 1_000
Answers = dict[str, Any]


def examine(challenger: ModelVersion) -> dict[str, Any]:
    """Hold a challenger against its project's champion, and against the best model that was live before.

    Models with other classes are compared by the classes' names on the challenger's held-out images.

    Returns:
        ``refusals``: sentences, empty where it may go live; ``champion``: the number of the model
        that it was held against, or None; ``against``: its name; ``n``, ``accuracy``,
        ``difference``, ``lowest`` (shares), ``fixed``, ``regressed``, ``ece``; ``best``: the same
        against the best model of before, where that is another one; ``seconds`` and
        ``champion_seconds`` for one image, where both were tried side by side.
    """
    champion = model_store.champion(challenger.project_id)
    found: dict[str, Any] = {"refusals": [], "champion": champion.pk if champion else None}
    mine = challenger.card.get("held_out")
    if mine is None:
        found["refusals"].append(
            _("%(model)s was not measured on the held-out images yet: run 'manage.py evaluate %(id)s'.")
            % {"model": challenger, "id": challenger.pk}
        )
        return found
    if not mine["n"]:
        if champion not in (None, challenger):
            found["refusals"].append(
                _("No image is held out to compare models on: add images to the project, then train again.")
            )
        return found
    found |= {"n": mine["n"], "accuracy": _accuracy(mine), "ece": mine["ece"]}
    found["refusals"] += _floors(mine, challenger)
    if champion is None or champion == challenger:
        return found
    found["against"] = champion.name
    theirs = champion.card.get("held_out")
    if theirs is None or not _same_images(mine, theirs):
        found["refusals"].append(
            _(
                "The champion was not measured on the same held-out images: "
                "run 'manage.py evaluate %(id)s' first."
            )
            % {"id": champion.pk}
        )
    else:
        found |= _pair(_named(challenger), _named(champion))
        found["refusals"] += _too_much_worse(challenger, champion, found)
    best = _best_of_before(challenger, {champion.pk, challenger.pk})
    if best and (theirs is None or _accuracy(best.card["held_out"]) > _accuracy(theirs)):
        found["best"] = {"against": best.name, **_pair(_named(challenger), _named(best))}
        found["refusals"] += _too_much_worse(challenger, best, found["best"])
    _time(found, challenger, champion)
    return found


def live_models(project: str = DEFAULT_PROJECT) -> list[tuple[int, bool]]:
    """A project's models that went live one after the other, the present one last: number, gate overruled.

    A roll-back takes the model away that it left.
    """
    live: list[tuple[int, bool]] = []
    rows = Promotion.objects.filter(promoted__project=project).order_by("id")
    lines = rows.values_list("action", "promoted_id", "overridden")
    for action, promoted, overridden in lines:
        if action == Promotion.Action.ROLLBACK and len(live) > 1:
            live.pop()
        else:
            live.append((promoted, overridden))
    return live


def _best_of_before(challenger: ModelVersion, others: set[int]) -> ModelVersion | None:
    """Of the models that were live, the most accurate one on the challenger's held-out images.

    Without it each promotion could lose a little, and many of them much. Whoever overrules the gate
    sets a new standard: what was live before that does not count. Nor does what was measured on a
    project's earlier images alone.
    """
    mine: Answers = challenger.card["held_out"]
    numbers: set[int] = set()
    for number, overridden in live_models(challenger.project_id):
        numbers = {number} if overridden else numbers | {number}
    rows = ModelVersion.objects.filter(pk__in=numbers - others).only("name", "classes", "card")
    comparable = [row for row in rows if _same_images(mine, row.card.get("held_out") or {})]
    return max(comparable, key=lambda row: _accuracy(row.card["held_out"]), default=None)


def _same_images(one: Answers, other: Answers) -> bool:
    return bool(one["sha256"] == other.get("sha256") and len(one["truth"]) == len(other["truth"]))


def _accuracy(answers: Answers) -> float:
    pairs = zip(answers["truth"], answers["predicted"], strict=True)
    right: int = sum(truth == said for truth, said in pairs)
    return right / len(answers["truth"])


def _named(version: ModelVersion) -> tuple[list[str], list[str]]:
    """Truth and answers of a model's held-out images by the classes' names; '' for what it has no class for.

    Where a champion was measured on images with classes of which it knows none, ``held_out`` has the
    classes that its numbers mean.
    """
    answers = version.card["held_out"]
    names = answers.get("classes") or version.classes

    def called(numbers: Any) -> list[str]:
        return [names[int(number)] if int(number) >= 0 else "" for number in numbers]

    return called(answers["truth"]), called(answers["predicted"])


def _pair(mine: tuple[list[str], list[str]], theirs: tuple[list[str], list[str]]) -> dict[str, Any]:
    """Image by image: what one repairs and breaks, and the lowest difference that 95 % leave room for."""
    triples = list(zip(mine[1], theirs[1], mine[0], strict=True))
    fixed = sum(m == t != o for m, o, t in triples)
    regressed = sum(o == t != m for m, o, t in triples)
    return {
        "n": len(triples),
        "fixed": fixed,
        "regressed": regressed,
        "difference": (fixed - regressed) / len(triples),
        "lowest": lowest_difference(fixed, regressed, len(triples)),
    }


def lowest_difference(fixed: int, regressed: int, n: int) -> float:
    """The lower end of the one-sided 95 % interval of the difference in accuracy, -1 to 1."""
    b, c, total = fixed + 0.5, regressed + 0.5, n + 2
    difference = (b - c) / total
    return difference - Z * math.sqrt(max(b + c - (b - c) ** 2 / total, 0.0)) / total


def _too_much_worse(challenger: ModelVersion, other: ModelVersion, pair: dict[str, Any]) -> list[str]:
    """Not inferior: even the lowest difference that the images leave room for is within the margin."""
    margin = settings.GATE_MARGIN * math.sqrt(max(1.0, MARGIN_IMAGES / pair["n"]))
    # Of a handful of images no interval is narrow: what makes no new error is not worse.
    if pair["lowest"] >= -margin or not pair["regressed"]:
        return []
    return [
        _(
            "%(model)s may be less accurate than %(other)s by more than the margin of "
            "%(margin)s points: on %(n)s held-out images it fixes %(fixed)s and regresses on "
            "%(regressed)s, a difference of %(difference)s points (lower 95 %% bound %(lowest)s)."
        )
        % {
            "model": challenger,
            "other": other,
            "margin": decimal(100 * margin, 1),
            "n": count(pair["n"]),
            "fixed": count(pair["fixed"]),
            "regressed": count(pair["regressed"]),
            "difference": points(pair["difference"], 2),
            "lowest": points(pair["lowest"], 2),
        }
    ]


def _time(found: dict[str, Any], challenger: ModelVersion, champion: ModelVersion) -> None:
    """Forward times, if the last smoke_test was beside this champion; a promotion sees to that."""
    smoke_test = challenger.smoke_test
    if smoke_test.get("champion") != champion.sha256 or not smoke_test.get("champion_seconds"):
        return
    mine, theirs = smoke_test["seconds"], smoke_test["champion_seconds"]
    found.update(seconds=mine, champion_seconds=theirs)
    if mine > settings.GATE_SLOWDOWN * theirs:
        found["refusals"].append(
            _(
                "It takes %(mine)s ms for one photo, %(times)s times as long as the champion "
                "(%(theirs)s ms, timed side by side); the limit is %(limit)s times."
            )
            % {
                "mine": decimal(1000 * mine, 1),
                "theirs": decimal(1000 * theirs, 1),
                "times": decimal(mine / theirs, 1),
                "limit": decimal(settings.GATE_SLOWDOWN, 1),
            }
        )


def _floors(mine: Answers, challenger: ModelVersion) -> list[str]:
    refusals = []
    pairs = list(zip(map(int, mine["truth"]), map(int, mine["predicted"]), strict=True))
    images, hits = Counter(truth for truth, _said in pairs), Counter(t for t, said in pairs if t == said)
    for number, name in enumerate(challenger.classes):
        n, right = images[number], hits[number]
        if n and _recall(right, n) < settings.GATE_CLASS_FLOOR:
            refusals.append(
                _(
                    "Its recall of the class %(name)s is only %(recall)s (%(right)s of %(n)s held-out "
                    "images); the minimum is %(floor)s."
                )
                % {
                    # CIFAR-10's are words of the site's; those of others are their own.
                    "name": _(name) if challenger.project_id == DEFAULT_PROJECT else name,
                    "recall": percent(right / n, 0),
                    "right": count(right),
                    "n": count(n),
                    "floor": percent(settings.GATE_CLASS_FLOOR, 0),
                }
            )
    if mine["ece"] > settings.GATE_ECE and _is_proved(mine):
        refusals.append(
            _("Its calibration error (ECE) is %(ece)s; the limit is %(limit)s.")
            % {"ece": decimal(mine["ece"], 3), "limit": decimal(settings.GATE_ECE, 3)}
        )
    return refusals


def _recall(right: int, n: int) -> float:
    return right / n if n >= FEW_OF_A_CLASS else wilson_interval(right, n)[1]


def _is_proved(mine: Answers) -> bool:
    """Many images, or a model that is surer of itself than chance explains."""
    return bool(mine["n"] >= FEW_FOR_BINS or mine.get("surprise_interval", [0.0])[0] > 0)


def mcnemar(fixed: int, regressed: int) -> float:
    """Two-sided p that changes in both directions are equally likely; 1.0 where there is none.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated
    proportions", 1947; the exact binomial form.
    """
    n, k = fixed + regressed, min(fixed, regressed)
    if n == 0:
        return 1.0
    # In logarithms: 2 ** -10000 is below the smallest float.
    tail = math.fsum(
        math.exp(math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2))
        for i in range(k + 1)
    )
    return min(1.0, 2 * tail)

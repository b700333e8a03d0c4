"""May a challenger go live? Paired figures on the same frozen test images, and fixed floors.

Source: Q. McNemar, "Note on the sampling error of the difference between correlated
proportions", 1947; the exact binomial form.
"""

from __future__ import annotations

import math
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from training import model_store
from training.models import EvaluationReport, ModelVersion


def examine(challenger: ModelVersion) -> dict[str, Any]:
    """Hold a challenger against the champion.

    Returns:
        ``refusals``: sentences, empty where it may go live; ``against``: the champion's name;
        ``accuracy``, ``difference`` (shares), ``p`` (McNemar, two-sided), ``ece``; ``seconds`` and
        ``champion_seconds`` for one image, where both were tried side by side.
    """
    champion = model_store.champion()
    report = challenger.reports.filter(dataset=model_store.TEST_SET).first()
    if report is None:
        return {
            "refusals": [
                _("%(model)s has no report on the test images yet: run 'manage.py evaluate'.")
                % {"model": challenger}
            ]
        }
    found: dict[str, Any] = {
        "accuracy": report.accuracy,
        "ece": report.figures["ece"],
        "refusals": _floors(challenger, report),
    }
    if champion and champion != challenger:
        found["against"] = champion.name
        theirs = champion.reports.filter(dataset_sha256=report.dataset_sha256).first()
        if theirs is None:
            found["refusals"].append(
                _(
                    "The champion was not measured on the same test images: "
                    "run 'manage.py evaluate' on it first."
                )
            )
        else:
            _pair(found, challenger, report, theirs)
        _time(found, challenger, champion)
    return found


def _time(found: dict[str, Any], challenger: ModelVersion, champion: ModelVersion) -> None:
    """Forward times, if the last trial was beside this champion; a promotion sees to that."""
    trial = challenger.trial
    if trial.get("champion") != champion.sha256 or not trial.get("champion_seconds"):
        return
    mine, theirs = trial["seconds"], trial["champion_seconds"]
    found.update(seconds=mine, champion_seconds=theirs)
    if mine > settings.GATE_SLOWDOWN * theirs:
        found["refusals"].append(
            _(
                "It takes %(mine).1f ms for one photo, %(times).1f times as long as the champion "
                "(%(theirs).1f ms, timed side by side); the limit is %(limit).1f times."
            )
            % {
                "mine": 1000 * mine,
                "theirs": 1000 * theirs,
                "times": mine / theirs,
                "limit": settings.GATE_SLOWDOWN,
            }
        )


def _pair(
    found: dict[str, Any], challenger: ModelVersion, report: EvaluationReport, theirs: EvaluationReport
) -> None:
    mine, other, truth = report.figures["predicted"], theirs.figures["predicted"], report.figures["truth"]
    repaired = sum(m == t != o for m, o, t in zip(mine, other, truth, strict=True))
    broken = sum(o == t != m for m, o, t in zip(mine, other, truth, strict=True))
    found.update(
        difference=(repaired - broken) / len(truth),
        repaired=repaired,
        broken=broken,
        p=mcnemar(repaired, broken),
    )
    if broken > repaired and found["p"] < settings.GATE_P_VALUE:
        found["refusals"].append(
            _(
                "%(model)s is less accurate than the champion on the same %(n)s test images: it repairs "
                "%(repaired)s and breaks %(broken)s (McNemar's p = %(p).2g)."
            )
            % {
                "model": challenger,
                "n": len(truth),
                "repaired": repaired,
                "broken": broken,
                "p": found["p"],
            }
        )


def _floors(challenger: ModelVersion, report: EvaluationReport) -> list[str]:
    refusals = []
    for row in report.figures["classes"]:
        if row["recall"] < settings.GATE_CLASS_FLOOR:
            refusals.append(
                _("Of the class %(name)s it recognises only %(recall).0f %%; the floor is %(floor).0f %%.")
                % {
                    "name": row["name"],
                    "recall": 100 * row["recall"],
                    "floor": 100 * settings.GATE_CLASS_FLOOR,
                }
            )
    if report.figures["ece"] > settings.GATE_ECE:
        refusals.append(
            _("Its confidence is off by %(ece).3f on average (ECE); the limit is %(limit).3f.")
            % {"ece": report.figures["ece"], "limit": settings.GATE_ECE}
        )
    return refusals


def mcnemar(repaired: int, broken: int) -> float:
    """Two-sided p that changes in both directions are equally likely; 1.0 where there is none."""
    n, k = repaired + broken, min(repaired, broken)
    if n == 0:
        return 1.0
    # In logarithms: 2 ** -10000 is below the smallest float.
    tail = math.fsum(
        math.exp(math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2))
        for i in range(k + 1)
    )
    return min(1.0, 2 * tail)

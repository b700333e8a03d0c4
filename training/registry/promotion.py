"""Which model is a project's champion: promote through a gate, roll back; each in one transaction, with a
record. Every project has a champion and a promotion history of its own."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.utils.translation import gettext as _

from cifarsite.core import audit
from cifarsite.core.wakeups import publish
from training import workers
from training.models import DEFAULT_PROJECT, EvaluationReport, ModelVersion, Promotion, Refusal
from training.registry import model_store, smoke_test
from training.registry.promotion_gate import examine, live_models

PREDICTING = "predict"


class PromotionRefused(Exception):
    """The gate says no; ``detail`` says why in one sentence."""

    def __init__(self, detail: str, gate: dict[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.gate = gate or {}


def promote(
    version: ModelVersion, *, by: AbstractBaseUser | None, reason: str, override: bool = False
) -> Promotion:
    """Make ``version`` its project's champion. Every next prediction of the project uses it.

    It is loaded and tried first, which takes some seconds unless it was tried before.

    Args:
        override: promote although the gate refuses; marked as such in the promotion history.

    Raises:
        PromotionRefused: it is the champion already, no reason is given, its file cannot be
            loaded, it does not answer, the gate refuses, or another model became champion meanwhile.
    """
    if not reason.strip():
        raise PromotionRefused(_("Say why in a sentence: the reason is kept with the promotion."))
    champion = model_store.champion(version.project_id)
    if champion == version:
        raise PromotionRefused(_("%(model)s is already the champion.") % {"model": version})
    refused = partial(_refuse, version, by=by, reason=reason)
    gate = examine(version)
    if gate["refusals"] and not override:
        raise refused(" ".join(gate["refusals"]), gate)
    try:
        smoke_test.tried(version, champion)
    except (smoke_test.SmokeTestFailed, model_store.ModelFileError) as error:
        # Nobody can overrule this: such a model makes no predictions.
        raise refused(str(error), gate) from error
    gate = examine(version)
    if gate["refusals"] and not override:
        raise refused(" ".join(gate["refusals"]), gate)
    try:
        return _switch(
            Promotion.Action.PROMOTE,
            version,
            instead_of=gate["champion"],
            by=by,
            reason=reason,
            gate=gate,
            overridden=bool(gate["refusals"]),
        )
    except PromotionRefused as error:
        raise refused(error.detail, gate) from error


def _refuse(
    version: ModelVersion, detail: str, gate: dict[str, Any], *, by: AbstractBaseUser | None, reason: str
) -> PromotionRefused:
    """Keep what the gate found, and return the error to raise."""
    audit.record("promotion_refused", by=by, detail=f"model {version.pk}")
    Refusal.objects.create(
        model=version, by_id=by.pk if by else None, reason=reason.strip(), detail=detail, gate=gate
    )
    return PromotionRefused(detail, gate)


def roll_back(*, by: AbstractBaseUser | None, reason: str, project: str = DEFAULT_PROJECT) -> Promotion:
    """Make the model that was live in a project before the present one its champion again.

    Raises:
        PromotionRefused: there is none, no reason is given, or its file cannot be loaded.
    """
    if not reason.strip():
        raise PromotionRefused(_("Say why in a sentence: the reason is kept with the promotion."))
    live = live_models(project)
    previous = ModelVersion.objects.filter(pk=live[-2][0]).first() if len(live) > 1 else None
    if previous is None:
        raise PromotionRefused(_("There is no earlier champion to roll back to."))
    try:
        smoke_test.still_answers(previous)
    except (smoke_test.SmokeTestFailed, model_store.ModelFileError) as error:
        raise PromotionRefused(str(error)) from error
    return _switch(
        Promotion.Action.ROLLBACK,
        previous,
        instead_of=live[-1][0],
        by=by,
        reason=reason,
        gate={},
        overridden=False,
    )


def _switch(
    action: Promotion.Action,
    version: ModelVersion,
    *,
    instead_of: int | None,
    by: AbstractBaseUser | None,
    reason: str,
    gate: dict[str, Any],
    overridden: bool,
) -> Promotion:
    """The one transaction; ``instead_of``: the champion that this was decided against."""
    try:
        model_store.model_file(version)
    except model_store.ModelFileError as error:
        raise PromotionRefused(str(error)) from error
    report = model_store.main_report(version)
    champions = ModelVersion.objects.filter(project=version.project_id, is_champion=True)
    with transaction.atomic():
        # One lock for all switches of the project: the champion's row, or on SQLite the whole write.
        previous = champions.select_for_update().first()
        if previous == version:
            raise PromotionRefused(_("%(model)s is already the champion.") % {"model": version})
        if (previous.pk if previous else None) != instead_of:
            raise PromotionRefused(
                _(
                    "Another model has become the champion in the meantime: compare with the new "
                    "champion, then decide again."
                )
            )
        champions.update(is_champion=False)
        ModelVersion.objects.filter(pk=version.pk).update(is_champion=True)
        kind = "model_rolled_back" if action == Promotion.Action.ROLLBACK else "model_promoted"
        past = f" instead of {previous.pk}" if previous else ""
        detail = f"model {version.pk}{past}{', the gate overruled' if overridden else ''}"
        audit.record(kind, by=by, detail=detail)
        transaction.on_commit(partial(tell_workers, version.project_id))
        return Promotion.objects.create(
            action=action,
            previous=previous,
            promoted=version,
            report=report,
            report_sha256=_hash(report) if report else "",
            by_id=by.pk if by else None,
            reason=reason.strip(),
            gate=gate,
            overridden=overridden,
        )


def _hash(report: EvaluationReport) -> str:
    figures = json.dumps(report.figures, sort_keys=True)
    return hashlib.sha256(f"{report.dataset_sha256}:{figures}".encode()).hexdigest()


def tell_workers(project: str = DEFAULT_PROJECT) -> int:
    """One message for each live worker that predicts: load the project's new champion before a photo comes.

    A worker that misses it loads the model with its next photo. Returns how many were sent.
    """
    alive = workers.alive(PREDICTING)
    for _number in range(alive):
        publish("training.tasks.preload_champion", project)
    return alive

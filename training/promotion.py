"""Which model answers: promote through a gate, roll back; one transaction and one ledger line each."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.utils.translation import gettext as _

from training import audit, leases, model_store, trial
from training.gate import examine
from training.messages import publish
from training.models import EvaluationReport, ModelVersion, Promotion, Refusal

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
    """Make ``version`` the champion. Every next prediction uses it.

    It is loaded and tried first, which takes some seconds unless it was tried before.

    Args:
        override: promote although the gate refuses; marked as such in the ledger.

    Raises:
        PromotionRefused: it is the champion already, no reason is given, its file cannot be
            loaded, it does not answer, or the gate refuses.
    """
    if not reason.strip():
        raise PromotionRefused(_("Say why in a sentence: the reason is kept with the promotion."))
    champion = model_store.champion()
    if champion == version:
        raise PromotionRefused(_("%(model)s is the champion already.") % {"model": version})
    refused = partial(_refuse, version, by=by, reason=reason)
    gate = examine(version)
    if gate["refusals"] and not override:
        raise refused(" ".join(gate["refusals"]), gate)
    try:
        trial.tried(version, champion)
    except (trial.TrialFailed, model_store.ModelFileError) as error:
        # Nobody can overrule that: a model that does not answer answers nobody.
        raise refused(str(error), gate) from error
    gate = examine(version)
    if gate["refusals"] and not override:
        raise refused(" ".join(gate["refusals"]), gate)
    return _switch(
        Promotion.Action.PROMOTE,
        version,
        by=by,
        reason=reason,
        gate=gate,
        overridden=bool(gate["refusals"]),
    )


def _refuse(
    version: ModelVersion, detail: str, gate: dict[str, Any], *, by: AbstractBaseUser | None, reason: str
) -> PromotionRefused:
    """Keep what the gate found, and return the error to raise."""
    audit.record("promotion_refused", by=by, detail=f"model {version.pk}")
    Refusal.objects.create(
        model=version, by_id=by.pk if by else None, reason=reason.strip(), detail=detail, gate=gate
    )
    return PromotionRefused(detail, gate)


def roll_back(*, by: AbstractBaseUser | None, reason: str) -> Promotion:
    """Make the model that was live before the present one the champion again.

    Raises:
        PromotionRefused: there is none, no reason is given, or its file cannot be loaded.
    """
    if not reason.strip():
        raise PromotionRefused(_("Say why in a sentence: the reason is kept with the promotion."))
    previous = _previous()
    if previous is None:
        raise PromotionRefused(_("There is no earlier model to go back to."))
    try:
        trial.still_answers(previous)
    except (trial.TrialFailed, model_store.ModelFileError) as error:
        raise PromotionRefused(str(error)) from error
    return _switch(Promotion.Action.ROLLBACK, previous, by=by, reason=reason, gate={}, overridden=False)


def _previous() -> ModelVersion | None:
    """Walk the ledger: a promotion goes on the stack, a rollback takes one off."""
    live: list[int] = []
    lines = Promotion.objects.order_by("id").values_list("action", "promoted_id")
    for action, promoted in lines:
        if action == Promotion.Action.ROLLBACK and len(live) > 1:
            live.pop()
        else:
            live.append(promoted)
    return ModelVersion.objects.filter(pk=live[-2]).first() if len(live) > 1 else None


def _switch(
    action: Promotion.Action,
    version: ModelVersion,
    *,
    by: AbstractBaseUser | None,
    reason: str,
    gate: dict[str, Any],
    overridden: bool,
) -> Promotion:
    try:
        model_store.model_file(version)
    except model_store.ModelFileError as error:
        raise PromotionRefused(str(error)) from error
    report = version.reports.filter(dataset=model_store.TEST_SET).first()
    with transaction.atomic():
        # One lock for all switches: the champion's row, or on SQLite the whole write.
        previous = ModelVersion.objects.select_for_update().filter(is_champion=True).first()
        if previous == version:
            raise PromotionRefused(_("%(model)s is the champion already.") % {"model": version})
        ModelVersion.objects.filter(is_champion=True).update(is_champion=False)
        ModelVersion.objects.filter(pk=version.pk).update(is_champion=True)
        kind = "model_rolled_back" if action == Promotion.Action.ROLLBACK else "model_promoted"
        past = f" instead of {previous.pk}" if previous else ""
        detail = f"model {version.pk}{past}{', the gate overruled' if overridden else ''}"
        audit.record(kind, by=by, detail=detail)
        transaction.on_commit(tell_workers)
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


def tell_workers() -> int:
    """One message for each live worker that predicts: load the new champion before a photo comes.

    A worker that misses it loads the model with its next photo. Returns how many were sent.
    """
    alive = leases.alive(PREDICTING)
    for _number in range(alive):
        publish("training.tasks.change_over")
    return alive

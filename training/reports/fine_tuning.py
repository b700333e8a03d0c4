"""What came of fine-tuning a network for a project's images, in a sentence."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from cifarsite.core.numbers import decimal, percent


def fine_tuning(said: dict[str, Any] | None) -> str:
    """Of what the card of such a model says, see ``training.engine.transfer.fitted``; empty: nothing."""
    if not said:
        return ""
    if said.get("why") == "few":
        return _(
            "Fine-tuning was left out: it needs %(least)s validation images and %(least)s test images, and "
            "there are %(validation)s and %(test)s. The features of ImageNet were kept."
        ) % {name: said[name] for name in ("least", "validation", "test")}
    if said.get("why") == "stopped":
        return _(
            "Fine-tuning was stopped before its first epoch was over. The features of ImageNet were kept."
        )
    values: dict[str, Any] = {"n": said["n"], "epochs": said["trained"]}
    for when in ("before", "after"):
        values |= {
            f"accuracy_{when}": percent(said[when]["accuracy"]),
            f"loss_{when}": decimal(said[when]["log_loss"], 3),
        }
    if said["kept"]:
        text = _(
            "Fine-tuning helped: on the %(n)s validation images, the accuracy was %(accuracy_before)s before "
            "and %(accuracy_after)s after it (epochs: %(epochs)s), the log loss %(loss_before)s and "
            "%(loss_after)s. The fine-tuned network was kept; it is calibrated on the validation images and "
            "measured on the test images alone."
        )
    else:
        text = _(
            "Fine-tuning did not help: on the %(n)s validation images, the accuracy was %(accuracy_before)s "
            "before and %(accuracy_after)s after it (epochs: %(epochs)s), the log loss %(loss_before)s and "
            "%(loss_after)s. The features of ImageNet were kept."
        )
    return text % values

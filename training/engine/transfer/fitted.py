"""A network, what it makes of a project's images, and the head fitted to that; fine-tuned where it helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.engine.data.labelled_images import TEST, TRAINING, VALIDATION, LabelledImages
from training.engine.inference.calibration import log_loss, softmax
from training.engine.training.fit import Fitted
from training.engine.training.recipe import Values
from training.engine.transfer.features import Computed, Progress
from training.engine.transfer.finetune import LEAST_IMAGES, fine_tune
from training.engine.transfer.head import (
    Examples,
    Head,
    choose_strength,
    choose_strength_on,
    fit,
)
from training.engine.transfer.judge import careful_temperature


@dataclass(frozen=True)
class Fit:
    """What a model is made of.

    Attributes:
        network: images to features; computed: those of all images.
        everything: the same, as examples for a head; ``training`` and ``validation`` are its parts.
        rows: numbers of the images of each split.
        strength, tried: of the head, see ``choose_strength``.
        tuned: how the network was fine-tuned; None: its features are ImageNet's.
        said: of fine-tuning, for the card: ``kept`` and, where it is false, ``why`` ('few', 'stopped',
            'no_help'); ``before`` and ``after``: accuracy and log loss on the validation images.
    """

    network: Any
    computed: Computed
    everything: Examples
    training: Examples
    validation: Examples
    rows: dict[str, NDArray[np.int64]]
    head: Head
    strength: float
    tried: list[tuple[float, float]]
    tuned: Fitted | None = None
    said: dict[str, Any] = field(default_factory=dict)

    def logits(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of these images, float32 [N, K]."""
        return self.head.logits(self.everything.part(places).plain())


def fit_head(images: LabelledImages, network: Any, computed: Computed, seed: int, progress: Progress) -> Fit:
    """On ImageNet's features."""
    rows = {split: images.rows(split) for split in (TRAINING, VALIDATION, TEST)}
    everything = Examples(computed.features, images.labels.astype(np.int64), len(images.classes))
    shown, held_out = everything.part(rows[TRAINING]), everything.part(rows[VALIDATION])
    strength, tried = choose_strength(shown, seed, progress)
    head = fit(shown, strength)
    return Fit(network, computed, everything, shown, held_out, rows, head, strength, tried)


def fine_tuned(
    fitted: Fit,
    images: LabelledImages,
    values: Values,
    *,
    checkpoints: Path | None,
    callbacks: Sequence[keras.callbacks.Callback],
    progress: Progress,
    should_stop: Callable[[], bool],
) -> Fit:
    """Fine-tune the network and fit the head anew; where the validation images say that this is no better,
    all is as it was, but for ``said``.

    It is better if it is right as often at least and its log loss is less. Whoever measures it must know
    that the network has learned the training images: no answer to them is worth anything, cross-validated or
    not.
    """
    epochs = {"epochs": int(values["epochs"])}

    def not_kept(why: str, **found: Any) -> Fit:
        return replace(fitted, said={"kept": False, "why": why, **epochs, **found})

    held_out = {split: len(fitted.rows[split]) for split in (VALIDATION, TEST)}
    if min(held_out.values()) < LEAST_IMAGES:
        return not_kept("few", least=LEAST_IMAGES, **held_out)
    if should_stop():
        return not_kept("stopped")
    weights = fitted.network.get_weights()
    computed, tuned = fine_tune(
        images,
        fitted.network,
        fitted.computed,
        fitted.head,
        values,
        checkpoints=checkpoints,
        callbacks=callbacks,
        progress=progress,
    )
    if not tuned.history.get("loss"):
        fitted.network.set_weights(weights)
        return not_kept("stopped")
    everything = replace(fitted.everything, features=computed.features)
    shown, by = everything.part(fitted.rows[TRAINING]), everything.part(fitted.rows[VALIDATION])
    head, strength, tried = choose_strength_on(shown, by)
    before, after = _on_validation(fitted.head, fitted.validation), _on_validation(head, by)
    found = {"before": before, "after": after, "n": len(by.labels), "trained": len(tuned.history["loss"])}
    if after["accuracy"] < before["accuracy"] or after["log_loss"] >= before["log_loss"]:
        fitted.network.set_weights(weights)
        return not_kept("no_help", **found)
    said = {"kept": True, **epochs, **found}
    return Fit(
        fitted.network,
        computed,
        everything,
        shown,
        by,
        fitted.rows,
        head,
        strength,
        tried,
        tuned,
        said,
    )


def _on_validation(head: Head, by: Examples) -> dict[str, float]:
    logits = head.logits(by.plain())
    chances = softmax(logits, careful_temperature(logits, by.labels))
    accuracy = float((logits.argmax(axis=1) == by.labels).mean())
    return {"accuracy": round(accuracy, 5), "log_loss": round(log_loss(chances, by.labels), 5)}

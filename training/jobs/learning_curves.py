"""The numbers of a run, epoch by epoch: for the charts, for export, for the progress bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.models import ModelVersion, TrainingJob

# A chart is no better with more of them, and a page slower.
MAX_POINTS = 500
# Keras' own names, in its order; the last two are ours.
HISTORY = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
NUMBERS = (*HISTORY, "seconds", "images_per_second")


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        done: whole epochs.
        step, steps: of the epoch after those.
        images_per_second: None where nothing is known, as ``seconds_left``, an estimate.
        phase: of a run on a project's images, whose ``step`` and ``steps`` are the phase's images; else ''.
    """

    done: int
    epochs: int
    step: int
    steps: int
    images_per_second: float | None = None
    seconds_left: float | None = None
    phase: str = ""

    @property
    def epoch(self) -> int:
        """The one under way, counted from 1."""
        return min(self.done + 1, self.epochs)

    @property
    def epoch_percent(self) -> float:
        return min(100.0, 100 * self.step / self.steps) if self.steps else 0.0

    @property
    def percent(self) -> float:
        return min(100.0, (100 * self.done + self.epoch_percent) / self.epochs)


def thinned(count: int, points: int = MAX_POINTS) -> list[int]:
    """Positions of at most ``points`` of ``count`` rows, evenly spread; the first and the last are in."""
    if count <= points:
        return list(range(count))
    return [round(i * (count - 1) / (points - 1)) for i in range(points)]


def of_job(job: TrainingJob) -> dict[str, Any]:
    """What the charts of a job draw: ``epochs`` (asked for), ``epoch`` and lists of equal length."""
    rows = list(job.epochs.order_by("number").values_list("number", *NUMBERS))
    return _lists(rows, int(job.parameters.get("epochs", 0)))


def of_model(version: ModelVersion) -> dict[str, Any]:
    """The same from a model's card, which outlives its job."""
    history = version.card.get("history", {})
    names = [history.get(name, []) for name in NUMBERS]
    count = len(history.get("loss", []))
    whole = [values if len(values) == count else [None] * count for values in names]
    return _lists(list(zip(range(1, count + 1), *whole, strict=True)), count)


def history(job: TrainingJob) -> dict[str, list[float]]:
    """All epochs in the shape of ``keras.callbacks.History.history``."""
    rows = list(job.epochs.order_by("number").values_list(*HISTORY))
    return {name: [row[i] for row in rows] for i, name in enumerate(HISTORY)}


def progress(job: TrainingJob) -> Progress:
    is_running = job.state == TrainingJob.State.RUNNING
    return Progress(
        done=job.epochs.count(),
        epochs=int(job.parameters.get("epochs", 0)) or 1,
        step=0 if job.is_over else job.step,
        steps=job.steps,
        images_per_second=job.live.get("images_per_second"),
        seconds_left=job.live.get("seconds_left") if is_running else None,
    )


def _lists(rows: list[tuple[Any, ...]], epochs: int) -> dict[str, Any]:
    kept = [rows[i] for i in thinned(len(rows))]
    lists = {name: [row[i] for row in kept] for i, name in enumerate(("epoch", *NUMBERS))}
    return {"epochs": max(epochs, len(rows)), "count": len(rows), **lists}

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
    """How far a job is; shares go from 0 to 100, ``seconds_left`` is None where nothing is known."""

    done: int
    epochs: int
    epoch: int
    percent: float
    epoch_percent: float
    seconds_left: float | None


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
    done = job.epochs.count()
    epochs = int(job.parameters.get("epochs", 0)) or 1
    part = job.step / job.steps if job.steps and not job.is_over else 0.0
    left = job.live.get("seconds_left")
    return Progress(
        done=done,
        epochs=epochs,
        epoch=min(done + 1, epochs),
        percent=min(100.0, 100 * (done + part) / epochs),
        epoch_percent=min(100.0, 100 * part),
        seconds_left=left if job.state == TrainingJob.State.RUNNING else None,
    )


def _lists(rows: list[tuple[Any, ...]], epochs: int) -> dict[str, Any]:
    kept = [rows[i] for i in thinned(len(rows))]
    lists = {name: [row[i] for row in kept] for i, name in enumerate(("epoch", *NUMBERS))}
    return {"epochs": max(epochs, len(rows)), "count": len(rows), **lists}

"""What an answer was made with: enough to make it again, digit for digit."""

from __future__ import annotations

from typing import Any

from classifier.images.crops import stored_crop
from classifier.models import Prediction

# The judge's settings that make probabilities of what the model says; its others make the verdict.
CALIBRATION = ("temperature", "rise", "fall", "shift")
# What the model's judge found out about this very photo; the rest of it are its settings.
FOUND = ("score", "labels")


def provenance_of(prediction: Prediction) -> dict[str, Any]:
    """The provenance of a finished answer, JSON-able; ``prediction`` with its model loaded."""
    settings = {name: value for name, value in prediction.provenance.items() if name not in FOUND}
    part = stored_crop(prediction.crop)
    return {
        "model_sha256": prediction.model.sha256 if prediction.model else None,
        "preprocessing": prediction.preprocessing,
        "input_sha256": prediction.input_sha256,
        "crop": part and part.shares,
        "calibration": {name: settings.pop(name) for name in CALIBRATION if name in settings},
        "thresholds": settings,
        "score": prediction.provenance.get("score"),
        "labels": prediction.provenance.get("labels", []),
        "seconds": prediction.seconds,
        "answered_at": prediction.finished_at and prediction.finished_at.isoformat(),
    }

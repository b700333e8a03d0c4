"""Projects of any number of classes, with a model that answers without a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cifarsite.test import drawn_model
from classifier.models import User
from training.models import ModelVersion, Project, ProjectClass

# Names that a page, a spreadsheet, an address or a script could stumble over.
HARD_NAMES = (
    "<b>bold",
    'Frau "Holle" & Co\'s',
    "🦊 fox",
    "x" * 100,
    "=1+1",
    "filename",
    "a/b?c=d#e",
    "wrong",
    "Cà chua",
    "{{ braces }}",
    "of-3 dot",
)


def make_project(slug: str, count: int, *, is_open: bool = True, members: Sequence[User] = ()) -> Project:
    """A project with ``count`` classes and a champion."""
    project = Project.objects.create(slug=slug, name=f"<i>{slug}</i>", is_open=is_open)
    project.members.set(members)
    names = [*HARD_NAMES, *(f"class {number}" for number in range(count))][:count]
    rows = [ProjectClass(project=project, position=place, name=name) for place, name in enumerate(names)]
    for row in rows:
        row.save()
    drawn_model(slug, is_champion=True)
    return project


class DrawnPredictor:
    """Says the same of each image: its first class, with 0.9."""

    def __init__(self, version: ModelVersion, verdict: str = "recognised") -> None:
        self.classes, self.verdict = version.classes, verdict
        self.batches: list[int] = []

    def predict(self, images: np.ndarray) -> Any:
        self.batches.append(len(images))
        return DrawnAnswers(self.classes, len(images), self.verdict)


class DrawnAnswers:
    def __init__(self, classes: list[str], n: int, verdict: str) -> None:
        rest = 0.1 / (len(classes) - 1)
        self.probabilities = np.full((n, len(classes)), rest)
        self.probabilities[:, 0] = 0.9
        self.verdicts = [verdict] * n
        self.classes = classes

    def provenance(self, number: int) -> dict[str, Any]:
        return {"score": 1.0, "labels": self.classes[:1], "temperature": 1.0}

"""manage.py classify: labels for files, without a web site or a worker."""

from __future__ import annotations

import io
import json
import os
from argparse import ArgumentParser
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from classifier.images import inputs
from classifier.images.errors import ImageRefused
from classifier.images.sandbox import CHILDREN, check_isolated
from classifier.photos.labels import NAMES_SHOWN
from training.engine.data.preprocessing import to_array
from training.management.commands.evaluate import find_version
from training.management.tensorflow import need_tensorflow
from training.models import DEFAULT_PROJECT, Project
from training.models.versions import cifar10_classes
from training.registry import model_store, pretrained

if TYPE_CHECKING:
    from training.engine.inference.predictor import Predictor

BATCH = 256


class Command(BaseCommand):
    help = (
        "Classify photos with the champion, or with the shipped model if the database has none. "
        "Exits with 1 if any file failed."
    )

    # It needs neither pages nor a database in order.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", metavar="FILE")
        parser.add_argument("--json", action="store_true", help="one JSON object a line, in the order given")
        parser.add_argument("--model", metavar="VERSION", help="a model version's name or number")
        parser.add_argument("--project", metavar="SLUG", help="the project whose champion answers (cifar10)")

    def handle(self, *args: Any, **options: Any) -> None:
        need_tensorflow("upload the files to the site, where a prediction worker classifies them")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            predictor, preprocessing, classes = find_model(options["model"], options["project"])
        except model_store.ModelFileError as error:
            raise CommandError(str(error)) from error
        failed = 0
        for answer in classify(options["files"], predictor, preprocessing, classes):
            failed += "error" in answer
            if options["json"]:
                self.stdout.write(json.dumps(answer))
            elif "error" in answer:
                self.stderr.write(f"{shown(answer['file'])}: {answer['error']['detail']}")
            else:
                verdict = answer["verdict"].replace("_", " ")
                confidence = f"{100 * answer['confidence']:.0f} %"
                self.stdout.write(f"{shown(answer['file'])}: {answer['label']} {confidence} ({verdict})")
        if failed:
            raise SystemExit(1)


def shown(name: str) -> str:
    """A file name for people; bytes that are no text are replaced."""
    return os.fsencode(name).decode(errors="replace")


def find_model(wanted: str | None, project: str | None = None) -> tuple[Predictor, str, list[str]]:
    """The wanted version, the champion, or the shipped model; its preprocessing and its classes.

    Raises:
        CommandError: there is no such version or project, or the project has no model.
        ModelFileError: its file is gone or damaged.
    """
    if wanted and project:
        raise CommandError("Name a model or a project, not both: a model belongs to one project.")
    try:
        version = find_version(wanted) if wanted else model_store.champion(project or DEFAULT_PROJECT)
        if version is None and project and project != DEFAULT_PROJECT:
            raise CommandError(without_model(project))
    except DatabaseError as error:
        if wanted or project:
            raise CommandError(f"The database cannot be read ({error}): run 'manage.py migrate'.") from error
        version = None
    if version is not None:
        return model_store.predictor(version), version.preprocessing, version.classes
    return shipped_model()


def without_model(project: str) -> str:
    """Why nothing answers for a project of one's own."""
    if Project.objects.filter(pk=project).exists():
        return f"The project '{project}' has no model yet: train one and promote it."
    slugs = ", ".join(Project.objects.values_list("pk", flat=True)[:NAMES_SHOWN])
    return f"There is no project '{project}'. Projects: {slugs}."


def shipped_model() -> tuple[Predictor, str, list[str]]:
    from training.engine.inference.predictor import Predictor
    from training.engine.inference.verdict import DecisionPolicy

    card = pretrained.shipped_card(pretrained.SHIPPED_CHAMPION)
    file = pretrained.shipped_file(pretrained.SHIPPED_CHAMPION)
    classes = card.get("classes") or cifar10_classes()
    return Predictor(file, DecisionPolicy.from_card(card["judge"])), card["preprocessing"], classes


def classify(
    files: list[str], predictor: Predictor, preprocessing: str, classes: list[str]
) -> Iterator[dict[str, Any]]:
    """An answer a file, in the order given: read and checked side by side, predicted in batches."""
    with ThreadPoolExecutor(CHILDREN) as pool:
        for start in range(0, len(files), BATCH):
            names = files[start : start + BATCH]
            read = list(pool.map(lambda name: read_input(name, preprocessing), names))
            inputs = [found for found in read if isinstance(found, np.ndarray)]
            answers = iter(predicted(inputs, predictor, classes))
            for name, found in zip(names, read, strict=True):
                yield {"file": name, **(found if isinstance(found, dict) else next(answers))}


def read_input(name: str, preprocessing: str) -> np.ndarray | dict[str, Any]:
    """The model's input of a file, checked as an upload is; or why there is none."""
    try:
        with Path(name).open("rb") as file:
            checked = check_isolated(file, preprocessing=preprocessing)
    except ImageRefused as refusal:
        return {"error": {"code": refusal.code, "detail": str(refusal.detail)}}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return {"error": {"code": "unreadable", "detail": f"This file cannot be read: {reason}."}}
    return to_array(inputs.read_input(io.BytesIO(checked.input)))


def predicted(inputs: list[np.ndarray], predictor: Predictor, classes: list[str]) -> Iterator[dict[str, Any]]:
    if not inputs:
        return
    answers = predictor.predict(np.stack(inputs))
    for row, verdict in zip(answers.probabilities, answers.verdicts, strict=True):
        best = int(row.argmax())
        yield {
            "label": classes[best],
            "confidence": round(float(row[best]), 6),
            "verdict": verdict,
            "probabilities": {name: round(float(p), 6) for name, p in zip(classes, row, strict=True)},
        }

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
from PIL import Image

from classifier.decoder import CHILDREN, check_isolated
from classifier.image_checks import ImageRefused
from training import model_store
from training.engine.data import CLASS_NAMES
from training.engine.preprocessing import to_array
from training.management.commands.evaluate import find_version

if TYPE_CHECKING:
    from training.engine.predictor import Predictor

BATCH = 256


class Command(BaseCommand):
    help = (
        "Say what is in photos. The champion answers, or the model that ships with the project where the "
        "database has none. Ends with 1 if any file failed."
    )

    # It needs neither pages nor a database in order.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", metavar="FILE")
        parser.add_argument("--json", action="store_true", help="one JSON object a line, in the order given")
        parser.add_argument("--model", metavar="VERSION", help="a model version's name or number")

    def handle(self, *args: Any, **options: Any) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            predictor, preprocessing = find_model(options["model"])
        except model_store.ModelFileError as error:
            raise CommandError(str(error)) from error
        failed = 0
        for answer in classify(options["files"], predictor, preprocessing):
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


def find_model(wanted: str | None) -> tuple[Predictor, str]:
    """The wanted version, the champion, or the shipped model; and its preprocessing.

    Raises:
        CommandError: there is no such version.
        ModelFileError: its file is gone or damaged.
    """
    try:
        version = find_version(wanted) if wanted else model_store.champion()
    except DatabaseError as error:
        if wanted:
            raise CommandError(f"The database cannot be read ({error}): run 'manage.py migrate'.") from error
        version = None
    if version is not None:
        return model_store.predictor(version), version.preprocessing
    return shipped_model()


def shipped_model() -> tuple[Predictor, str]:
    from training.engine.predictor import Predictor
    from training.engine.verdict import Judge

    card = model_store.shipped_card(model_store.SHIPPED_CHAMPION)
    file = model_store.shipped_file(model_store.SHIPPED_CHAMPION)
    return Predictor(file, Judge.from_card(card["judge"])), card["preprocessing"]


def classify(files: list[str], predictor: Predictor, preprocessing: str) -> Iterator[dict[str, Any]]:
    """An answer a file, in the order given: read and checked side by side, predicted in batches."""
    with ThreadPoolExecutor(CHILDREN) as pool:
        for start in range(0, len(files), BATCH):
            names = files[start : start + BATCH]
            read = list(pool.map(lambda name: read_input(name, preprocessing), names))
            inputs = [found for found in read if isinstance(found, np.ndarray)]
            answers = iter(predicted(inputs, predictor))
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
    with Image.open(io.BytesIO(checked.input), formats=["PNG"]) as image:
        return to_array(image)


def predicted(inputs: list[np.ndarray], predictor: Predictor) -> Iterator[dict[str, Any]]:
    if not inputs:
        return
    answers = predictor.predict(np.stack(inputs))
    for row, verdict in zip(answers.probabilities, answers.verdicts, strict=True):
        best = int(row.argmax())
        yield {
            "label": CLASS_NAMES[best],
            "confidence": round(float(row[best]), 6),
            "verdict": verdict,
            "probabilities": {name: round(float(p), 6) for name, p in zip(CLASS_NAMES, row, strict=True)},
        }

"""A model to take away: a ZIP with its file in a format, its classes, its preprocessing and its card.

Made once in a process of its own, since the web never holds TensorFlow, and kept in the storage; a web
host without TensorFlow lets a worker make it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import tempfile
import time
from importlib import util
from pathlib import Path

import numpy as np
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.http import FileResponse
from django.utils.translation import gettext as _

from cifarsite.core.wakeups import publish
from training.models import ModelVersion
from training.registry import engine_process, model_store
from training.registry.neighbour_index import some_inputs

logger = logging.getLogger(__name__)

FORMATS = ("keras", "tflite")
# Training images that the numbers of an int8 model are scaled to.
SAMPLES = 100
TASK = "training.tasks.export_model"
TIMEOUT_SECONDS = 300.0
# How long somebody waits for a worker to make it.
WORKER_SECONDS = 90.0


class ExportFailed(Exception):
    """There is no file to give; the message says why and what to do."""


def export(version: ModelVersion, format: str) -> str:
    """The name in the storage of a model's ZIP, which is made where it is not there yet.

    Raises:
        ExportFailed: the format is unknown, the model cannot be converted, or nobody could do it.
        ModelFileError: the model's file is missing or damaged.
        StorageUnavailable: the store of files does not answer.
    """
    if format not in FORMATS:
        raise ExportFailed(
            _("There is no format '%(format)s'; there are: %(known)s.")
            % {"format": format, "known": ", ".join(FORMATS)}
        )
    name = stored_name(version, format)
    if default_storage.exists(name):
        return name
    if util.find_spec("tensorflow"):
        return make_here(version, format)
    published = publish(TASK, version.pk, format)
    deadline = time.monotonic() + WORKER_SECONDS
    while published and time.monotonic() < deadline:
        time.sleep(0.5)
        if default_storage.exists(name):
            return name
    raise ExportFailed(_("No worker has made the file yet. Check the workers, then ask for it again."))


def sent(version: ModelVersion, format: str) -> FileResponse:
    """The ZIP as an answer to a request; see ``export``."""
    name = export(version, format)
    return FileResponse(
        default_storage.open(name, "rb"),
        as_attachment=True,
        filename=f"{version.name}-{format}.zip",
        content_type="application/zip",
    )


def stored_name(version: ModelVersion, format: str) -> str:
    """By the file and the card: a new calibration makes another export."""
    card = hashlib.sha256(json.dumps(version.card, sort_keys=True).encode()).hexdigest()
    return f"exports/{version.sha256}/{card[:16]}-{format}.zip"


def make_here(version: ModelVersion, format: str) -> str:
    """Make it in a process on this host and keep it; see ``export``."""
    model = model_store.model_file(version)
    with tempfile.TemporaryDirectory() as folder:
        card, made = Path(folder) / "card.json", Path(folder) / "export.zip"
        # A card from before projects names no classes.
        card.write_text(json.dumps({"name": version.name, **version.card, "classes": version.classes}))
        words = [str(model), str(card), format, str(made)]
        if format == "tflite" and (samples := some_inputs(version, SAMPLES)) is not None:
            np.savez(Path(folder) / "samples.npz", images=samples)
            words.append(str(Path(folder) / "samples.npz"))
        done = _run(words)
        if done.returncode or not made.is_file():
            logger.error("Model %s was not exported as %s: %s", version.pk, format, done.stderr[-2_000:])
            raise ExportFailed(
                _("The model could not be written as %(format)s: %(error)s")
                % {"format": format, "error": engine_process.last_words(done)}
            )
        name = stored_name(version, format)
        if not default_storage.exists(name):
            default_storage.save(name, ContentFile(made.read_bytes()))
    return name


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return engine_process.run("packaging.export", words, TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ExportFailed(
            _("The model was not written within %(seconds)d s: try again when the host has less to do.")
            % {"seconds": TIMEOUT_SECONDS}
        ) from error

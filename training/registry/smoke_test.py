"""A model is loaded and tried before it goes live, beside the champion, in a process of its own.

The result stays on the model's row: its file never changes, so it is tried anew only for another
champion, or after Keras or TensorFlow changed.
"""

from __future__ import annotations

import json
import logging
import subprocess
import time
from importlib import metadata, util
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from cifarsite.core.wakeups import publish
from training.models import ModelVersion
from training.registry import engine_process, model_store

logger = logging.getLogger(__name__)

LIBRARIES = ("keras", "tensorflow", "tensorflow-cpu")
TIMEOUT_SECONDS = 180.0
# How long a web host without TensorFlow waits for a worker that has it.
WORKER_SECONDS = 90.0
TASK = "training.tasks.try_model"


class SmokeTestFailed(Exception):
    """The model did not answer, or nobody could try it; the message says why."""


def tried(version: ModelVersion, champion: ModelVersion | None) -> dict[str, Any]:
    """Try a model unless that was done; what is known of it then.

    Returns:
        ``seconds`` for one image; beside a champion also ``champion`` (its sha256) and
        ``champion_seconds``, timed in turn on the same machine.

    Raises:
        SmokeTestFailed: it cannot be loaded, does not answer, or there was nobody to try it.
        ModelFileError: its file is missing or damaged.
    """
    model_store.model_file(version)
    if is_valid(version, champion):
        return dict(version.smoke_test)
    if util.find_spec("tensorflow"):
        return try_here(version, champion)
    return _have_tried(version, champion)


def still_answers(version: ModelVersion) -> None:
    """Try a model alone that was live before, unless that was done with the libraries of today.

    Raises:
        SmokeTestFailed, ModelFileError: see ``tried``.
    """
    model_store.model_file(version)
    if util.find_spec("tensorflow") and version.smoke_test.get("versions") != versions():
        try_here(version, None)


def is_valid(version: ModelVersion, champion: ModelVersion | None) -> bool:
    """It was tried beside this champion, with the libraries of today."""
    known: dict[str, Any] = version.smoke_test
    return (
        bool(known.get("seconds"))
        and known.get("champion") == (champion.sha256 if champion else None)
        and (known["versions"] == versions() or not util.find_spec("tensorflow"))
    )


def versions() -> dict[str, str]:
    """The libraries that load models here; nothing is imported."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def try_here(version: ModelVersion, champion: ModelVersion | None) -> dict[str, Any]:
    """Try it in a process on this host, and keep the result.

    Raises:
        SmokeTestFailed, ModelFileError: see ``tried``.
    """
    files = [model_store.model_file(version)]
    if champion:
        try:
            files.append(model_store.model_file(champion))
        except model_store.ModelFileError:
            # A damaged champion is no reason to keep it.
            logger.warning("The champion's file is damaged: there is nothing to time the new model beside.")
    found = _run([str(file) for file in files])
    if "error" in found:
        _keep(version, {"error": found["error"]})
        raise SmokeTestFailed(_("The model makes no predictions: %(error)s") % {"error": found["error"]})
    seconds = found["seconds"]
    kept = {
        "seconds": seconds[0],
        "champion": champion.sha256 if champion else None,
        "champion_seconds": seconds[1] if len(seconds) > 1 else None,
        "versions": versions(),
    }
    return _keep(version, kept)


def _run(files: list[str]) -> dict[str, Any]:
    try:
        done = engine_process.run("packaging.smoke_test", files, TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return {"error": f"It did not answer within {TIMEOUT_SECONDS:.0f} s."}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"error": f"Exit status {done.returncode}. {done.stderr[-500:]}"}
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _keep(version: ModelVersion, kept: dict[str, Any]) -> dict[str, Any]:
    version.smoke_test = {**kept, "at": timezone.now().isoformat()}
    ModelVersion.objects.filter(pk=version.pk).update(smoke_test=version.smoke_test)
    return dict(version.smoke_test)


def _have_tried(version: ModelVersion, champion: ModelVersion | None) -> dict[str, Any]:
    """Ask a worker, and wait for what it writes."""
    before = version.smoke_test.get("at")
    published = publish(TASK, version.pk, champion.pk if champion else None)
    deadline = time.monotonic() + WORKER_SECONDS
    while published and time.monotonic() < deadline:
        time.sleep(0.5)
        version.refresh_from_db(fields=["smoke_test"])
        if version.smoke_test.get("at") == before:
            continue
        if error := version.smoke_test.get("error"):
            raise SmokeTestFailed(_("The model makes no predictions: %(error)s") % {"error": error})
        return dict(version.smoke_test)
    raise SmokeTestFailed(
        _("No worker could run the model's smoke test. Check the workers, then promote the model again.")
    )

"""What LiteRT answers with, made of a model's file once on each host."""

from __future__ import annotations

import hmac
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

from django.utils.crypto import salted_hmac

from training.engine.training.checkpoints import write_durably
from training.registry import engine_process

# A model of 20 MB takes two, and TensorFlow some to start. Less than CELERY_WORKER_PROC_ALIVE_TIMEOUT.
CONVERSION_SECONDS = 240
MAC_BYTES = 32

logger = logging.getLogger(__name__)


def converted(file: Path) -> bytes:
    """What LiteRT answers with, kept beside a model's file; made anew where it is not there or not whole.

    Raises:
        ValueError: the model cannot be converted.
    """
    kept = file.with_suffix(".tflite")
    if kept.exists():
        found = kept.read_bytes()
        mac, content = found[:MAC_BYTES], found[MAC_BYTES:]
        if hmac.compare_digest(mac, _mac(file, content)):
            return content
        logger.error("%s is damaged, or of another secret key: it is made anew.", kept)
    content = _convert(file)
    keep(file, content)
    return content


def keep(file: Path, content: bytes) -> None:
    """Beside the model's file, so that no worker waits for that again."""
    try:
        write_durably(file.with_suffix(".tflite"), _mac(file, content) + content)
    except OSError as error:
        logger.warning("What %s was converted to is not kept, and made anew next time: %s", file.name, error)


def _mac(file: Path, content: bytes) -> bytes:
    """Keyed, since no hash of it is registered: it is this site's own, and of this model."""
    return salted_hmac(f"converted model {file.stem}", content, algorithm="sha256").digest()


def _convert(file: Path) -> bytes:
    if "tensorflow" in sys.modules:
        from training.engine.inference.keras_network import KerasNetwork

        return KerasNetwork(file).to_litert()
    # A process of its own: TensorFlow would stay in this one, and take more than all the rest.
    logger.info("Converting %s for this host's processor, which takes some seconds, once.", file.name)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "network.tflite"
        try:
            words = [str(file), str(made)]
            done = engine_process.run("inference.keras_network", words, CONVERSION_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ValueError(
                f"The model was not converted within {CONVERSION_SECONDS} s: it is tried again."
            ) from error
        if done.returncode or not made.is_file():
            raise ValueError(engine_process.last_words(done))
        return made.read_bytes()

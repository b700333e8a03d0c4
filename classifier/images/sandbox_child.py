"""The program of a decoder process; see ``classifier.images.sandbox``."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from dataclasses import asdict
from typing import Any

from classifier.images.decoding import Limits
from classifier.images.errors import ImageRefused
from classifier.images.sandbox import BLOBS, Gone, receive, send
from classifier.images.training_copies import make_training_copy
from classifier.images.validation import check_image

MEMORY_BYTES = 1 << 30


def _bound_this_process() -> None:
    import resource

    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the limits of each request count, and are checked first
    for what, value in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # macOS cannot limit the address space
            resource.setrlimit(what, (value, value))


def _answer(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    limits = Limits(**request["limits"])
    try:
        if request["preprocessing"] is None:
            copy = asdict(make_training_copy(data, limits=limits))
            return copy, [copy.pop("content")]
        checked = check_image(data, preprocessing=request["preprocessing"], limits=limits)
    except ImageRefused as refusal:
        return {"reason": refusal.reason, "figures": refusal.figures}, []
    except MemoryError:
        return {"reason": "too_costly", "figures": {}}, []
    values = asdict(checked)
    blobs = [values.pop(name) for name in BLOBS]
    return values, blobs


def main() -> None:
    """Answer one file after the other, until the other end of standard input closes."""
    logging.basicConfig(level=logging.WARNING, format="decoder %(process)d: %(message)s")
    link = socket.socket(fileno=os.dup(0))
    _bound_this_process()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a parent may have ignored it
    with contextlib.suppress(Gone, BrokenPipeError, ConnectionResetError):
        send(link, {"ready": True}, [], None)
        while True:
            request, (data,) = receive(link, None)
            # Ends this process even inside a decoder's loop, should the parent be gone by then.
            signal.alarm(int(request["seconds"]) + 5)
            answer, blobs = _answer(request, data)
            signal.alarm(0)
            del data
            send(link, answer, blobs, None)


if __name__ == "__main__":
    main()

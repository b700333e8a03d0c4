"""Commands that run a model say so in a sentence where TensorFlow is missing."""

from __future__ import annotations

from importlib import util

from django.core.management.base import CommandError


def has_tensorflow() -> bool:
    return util.find_spec("tensorflow") is not None


def need_tensorflow(otherwise: str = "") -> None:
    """Go on where TensorFlow is installed.

    Args:
        otherwise: what one can do instead, as the end of a sentence.

    Raises:
        CommandError: it is not.
    """
    if not has_tensorflow():
        end = f", or {otherwise}" if otherwise else ""
        raise CommandError(
            f"TensorFlow is not installed on this host: run 'pip install -r requirements.txt'{end}."
        )

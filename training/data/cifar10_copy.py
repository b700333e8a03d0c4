"""Where this site's copy of CIFAR-10 lies: the operator's folder, what was fetched, or Keras' download."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from training.engine.data.cifar10 import find_cifar10


def fetched_folder() -> Path:
    """Where ``training.jobs.cifar10_fetch`` puts the batches."""
    return Path(settings.VAR_DIR) / "cifar10"


def folder() -> Path | None:
    """What ``load_cifar10`` and ``find_cifar10`` are given; None: Keras' own download.

    Where CIFAR10_DIR names a folder without CIFAR-10, what was fetched counts.
    """
    named = Path(settings.CIFAR10_DIR) if settings.CIFAR10_DIR else None
    if named and find_cifar10(named):
        return named
    return fetched_folder() if find_cifar10(fetched_folder()) else named


def is_missing() -> bool:
    """Has this host no copy of CIFAR-10? Then training would download it."""
    return find_cifar10(folder()) is None

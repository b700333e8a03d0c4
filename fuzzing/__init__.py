"""Fuzzing of what strangers' bytes reach; see ``__main__``."""

from collections.abc import Callable


def load_targets() -> tuple[dict[str, Callable[[bytes], None]], Callable[[str], list[bytes]]]:
    import logging

    import django

    django.setup()
    logging.disable(logging.CRITICAL)
    from classifier.tests.images.fuzz_targets import TARGETS, seeds

    return TARGETS, seeds


def list_targets() -> list[str]:
    return list(load_targets()[0])

"""Files in the storage that belong to no row any more."""

import logging
from collections.abc import Iterable

from django.core.files.storage import default_storage

logger = logging.getLogger(__name__)


def remove_files(names: Iterable[str | None]) -> None:
    """Remove each; one that cannot be removed costs a line of the log. Empty names are passed over."""
    for name in filter(None, names):
        try:
            default_storage.delete(name)
        except OSError:
            logger.warning("%s could not be removed.", name)

"""Files in the storage that belong to no row any more."""

import logging
from collections.abc import Iterable

from django.core.files.storage import default_storage

from cifarsite.core.storage import StorageUnavailable

logger = logging.getLogger(__name__)


def remove_files(names: Iterable[str | None]) -> None:
    """Remove each; one that cannot be removed costs a line of the log. Empty names are passed over.

    Where the store of files is away, the rest is not tried: each would wait for it.
    """
    for name in filter(None, names):
        try:
            default_storage.delete(name)
        except StorageUnavailable as error:
            logger.warning("%s and what comes after it could not be removed: %s", name, error)
            return
        except OSError:
            logger.warning("%s could not be removed.", name)

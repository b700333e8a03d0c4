"""The store of files: what its outage is called, whichever it is, a full disk, and files that go."""

import errno
import logging
from collections.abc import Iterable

from django.core.files.storage import default_storage
from django.db import OperationalError

logger = logging.getLogger(__name__)


class StorageUnavailable(OSError):
    """The store of files does not answer, or refuses: nobody's file is at fault; it passes."""


def is_full(error: BaseException) -> bool:
    """A disk is full: that of files, or that of the database."""
    if isinstance(error, OperationalError):  # SQLite's and PostgreSQL's words for it
        return "is full" in str(error) or "No space left" in str(error)
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def remove_files(names: Iterable[str | None]) -> tuple[list[str], list[str]]:
    """Remove files; empty names are passed over, and one that cannot be removed costs a line of the log.

    Where the store of files is away, the rest is not tried: each would wait for it.

    Returns:
        Names of those that are gone, those that were not there too, and of those that are left.
    """
    gone: list[str] = []
    left: list[str] = []
    away = False
    for name in filter(None, names):
        try:
            if not away:
                default_storage.delete(name)
        except FileNotFoundError:
            pass
        except OSError as error:
            away = isinstance(error, StorageUnavailable)
            logger.warning("%s could not be removed: %s", name, error)
            left.append(name)
            continue
        (left if away else gone).append(name)
    return gone, left

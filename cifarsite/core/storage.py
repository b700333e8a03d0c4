"""What an outage of the store of files is called, whichever store it is; and a full disk, wherever."""

import errno

from django.db import OperationalError


class StorageUnavailable(OSError):
    """The store of files does not answer, or refuses: nobody's file is at fault; it passes."""


def is_full(error: BaseException) -> bool:
    """A disk is full: that of files, or that of the database."""
    if isinstance(error, OperationalError):  # SQLite's and PostgreSQL's words for it
        return "is full" in str(error) or "No space left" in str(error)
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)

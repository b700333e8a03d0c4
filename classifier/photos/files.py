"""A photo's files in the storage: handed out, and removed where they belong to no row any more."""

import io
import logging
from collections.abc import Iterable
from pathlib import PurePath
from typing import IO, Any

from django.core.files.storage import default_storage
from django.db.models.fields.files import FieldFile

from cifarsite.core.storage import StorageUnavailable
from classifier.images.inputs import input_as_png

logger = logging.getLogger(__name__)


def open_for_download(file: FieldFile) -> tuple[IO[Any], str]:
    """A stored file and the ending that its name gets; a model input as a PNG.

    Raises:
        OSError, ValueError, SyntaxError: it is missing or damaged.
    """
    ending = PurePath(file.name or "").suffix
    if ending != ".bmp":
        return file.open("rb"), ending
    with file.open("rb") as packed:
        return io.BytesIO(input_as_png(packed)), ".png"


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

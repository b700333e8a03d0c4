"""A photo's files in the storage, as they are handed out."""

import io
from pathlib import PurePath
from typing import IO, Any

from django.db.models.fields.files import FieldFile

from classifier.images.inputs import input_as_png


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

"""Real ZIP archives for tests, good and bad."""

import io
import zipfile

from cifarsite.test import image_bytes

COLOURS = ("steelblue", "tomato", "gold", "orchid", "teal", "sienna", "khaki", "navy", "plum", "olive")


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    """The same files are the same bytes, whenever: a ZIP notes the time, in steps of two seconds."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    buffer.seek(0)
    return buffer


def photos(count: int) -> dict[str, bytes]:
    return {f"photo-{n:04}.jpg": image_bytes(colour=COLOURS[n % len(COLOURS)]) for n in range(count)}

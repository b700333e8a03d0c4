"""Real ZIP archives for tests, good and bad."""

import io
import zipfile

from cifarsite.test import image_bytes

COLOURS = ("steelblue", "tomato", "gold", "orchid", "teal", "sienna", "khaki", "navy", "plum", "olive")


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    buffer.seek(0)
    return buffer


def photos(count: int) -> dict[str, bytes]:
    return {f"photo-{n:04}.jpg": image_bytes(colour=COLOURS[n % len(COLOURS)]) for n in range(count)}

"""What strangers' bytes reach: each target takes any bytes and may only refuse in its own words.

``make fuzz`` runs them under atheris; ``test_fuzz_corpus`` replays what was found, and hypothesis
tries them a little with every run of the tests.
"""

from __future__ import annotations

import io
import tempfile
import unicodedata
import warnings
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import QueryDict
from django.http.multipartparser import MultiPartParserError

from cifarsite.core.keyset import BadCursor
from classifier.images.decoding import Limits
from classifier.images.errors import ImageRefused
from classifier.images.validation import check_image
from classifier.pages.forms import HistoryFilters
from classifier.photos.history import ORDERS
from classifier.tests.images.test_validation import encode, picture
from classifier.uploads.errors import ArchiveRefused, EntryRefused, TruthRefused
from classifier.uploads.filenames import MultiPartParser
from classifier.uploads.ground_truth import match, read_truth
from classifier.uploads.zip_reader import open_archive
from training.engine.data.cifar10 import DatasetError, _read_python
from training.engine.inference.model_file_check import UnsafeModelFile, look_into

SMALL = Limits(max_bytes=5_000_000, max_pixels=1_000_000)
PRETRAINED = Path(__file__).resolve().parents[3] / "training" / "pretrained"


def image_checks(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check_image(data, preprocessing="squash32-v1", limits=SMALL)
        except ImageRefused as refusal:
            assert refusal.code


def zip_reader(data: bytes) -> None:
    try:
        archive = open_archive(io.BytesIO(data))
        entries = archive.entries()
    except ArchiveRefused as refusal:
        assert refusal.code
        return
    for entry in entries[:20]:
        try:
            archive.read(entry.number)
        except EntryRefused as refusal:
            assert refusal.code


def cifar_reader(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            _read_python(Path(file.name))
        except DatasetError:
            pass


def model_loader(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".keras") as file:
        file.write(data)
        file.flush()
        try:
            look_into(file.name)
        except UnsafeModelFile:
            pass


def cursor(data: bytes) -> None:
    """Whatever is read must also reach the database: as a time in UTC, or as a number."""
    for order in ORDERS.values():
        try:
            _newer, (key, _photo) = order.decode(data.decode("utf-8", "replace"))
        except BadCursor:
            continue
        if isinstance(key, datetime):
            key.astimezone(UTC)


def filters(data: bytes) -> None:
    form = HistoryFilters(QueryDict(data))
    if form.is_valid():
        assert set(form.chosen) <= set(form.fields)


def truth_table(data: bytes) -> None:
    names = ["cat/a.jpg", "b.jpg", "Ä.jpg"]
    try:
        found = match(read_truth(io.BytesIO(data), ("cat", "dog")), names)
    except TruthRefused as refusal:
        assert refusal.code
        return
    assert 0 <= found.matched <= found.lines and set(found.labels) <= set(range(len(names)))


def multipart_form(data: bytes) -> None:
    """A form with files: names are texts without control characters or folders."""
    meta = {"CONTENT_TYPE": "multipart/form-data; boundary=b", "CONTENT_LENGTH": len(data)}
    try:
        parser = MultiPartParser(meta, io.BytesIO(data), [MemoryFileUploadHandler()])
        _form, files = parser.parse()
    except (MultiPartParserError, SuspiciousOperation, RequestDataTooBig):
        return
    for name in (str(sent.name) for _field, some in files.lists() for sent in some):
        assert name not in ("", ".", "..") and "/" not in name
        assert not any(unicodedata.category(letter) == "Cc" for letter in name)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        *(image_checks, zip_reader, cifar_reader, model_loader, cursor, filters, truth_table),
        multipart_form,
    )
}


def seeds(name: str) -> list[bytes]:
    """Good inputs to begin with."""
    if name == "image_checks":
        return [
            encode(picture(24, 18), kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "HEIF", "AVIF")
        ]
    if name in ("zip_reader", "model_loader"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("photos/a.jpg", encode(picture(8, 8), "JPEG"))
            archive.writestr("config.json", '{"class_name": "Dense", "module": "keras.layers"}')
            archive.writestr("metadata.json", "{}")
            archive.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(64))
        return [buffer.getvalue()]
    if name == "cifar_reader":
        return [b"\x80\x02}q\x00(U\x04dataq\x01]q\x02U\x06labelsq\x03]q\x04u.", b"cos\nsystem\n(S'true'\ntR."]
    if name == "cursor":
        return [b"bjIwMjYtMDEtMDFUMDA6MDA6MDArMDA6MDB8NmQ3YTJlMGMtOGYwYi00ZjNjLTlkMWMtMGYxZjZhOWYwYzEx"]
    if name == "filters":
        return [b"label=cat&verdict=unsure&date_from=2026-01-01&search=a&status=done"]
    if name == "multipart_form":
        head = (
            'Content-Disposition: form-data; name="file"; filename="%s"\r\nContent-Type: image/jpeg\r\n\r\nx'
        )
        names = ("a.jpg", "cafe\u0301.jpg", "a&#46;b\u3000c.jpg", "..\\\\x.png")
        return [
            f"--b\r\n{head % one}\r\n--b--\r\n".encode(c, "replace")
            for one in names
            for c in ("utf-8", "cp1252")
        ]
    table = "filename;label\na.jpg;cat\nÄ.jpg;dog\n"
    return [b"filename,label\na.jpg,cat\n", *(table.encode(e) for e in ("utf-8-sig", "utf-16", "cp1252"))]

"""Read a stranger's ZIP archive: nothing that it says about itself is believed.

Sizes are counted while reading, never taken from headers. An entry that is not plainly a file is
refused by itself; the archive is refused only where its directory cannot be read or is too long.
Nothing is ever written: ``read`` returns bytes, and an entry's name stays data.
"""

from __future__ import annotations

import io
import stat
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from django.conf import settings
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

CHUNK = 64 * 1024
# The directory is held in memory: at most this much of it. 10,000 names of 800 bytes fit.
DIRECTORY_BYTES = 8 * 1024 * 1024
# Small files of one colour pack well and harm nobody.
RATIO_COUNTS_FROM = 1024 * 1024
NAME_LENGTH = 1_000
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
ENCRYPTED = 0x1 | 0x40 | 0x2000
UNIX_SYSTEMS = {3, 19}  # Unix, macOS: the upper half of external_attr is a file mode
ARCHIVE_ENDINGS = tuple(
    f".{ending}"
    for ending in (
        *("zip", "jar", "apk", "docx", "xlsx", "pptx", "epub", "7z", "rar", "cab", "iso"),
        *("tar", "gz", "tgz", "bz2", "tbz2", "xz", "txz", "zst", "lz4"),
    )
)
ARCHIVE_BEGINNINGS = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PK\x07\x08",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\x00",
    b"\x28\xb5\x2f\xfd",
)
# What macOS and Windows put beside photos by themselves.
SYSTEM_FOLDERS = {"__MACOSX"}
SYSTEM_FILES = {".DS_Store", "Thumbs.db", "desktop.ini"}

SENTENCES: dict[str, StrOrPromise] = {
    # Of the whole archive.
    "archive_empty": _("This archive holds no files. Put photos into it and upload it again."),
    "archive_too_large": _("This archive is larger than {limit} MB. Split it into several ones."),
    "not_an_archive": _("This file is not a ZIP archive. Pack the photos as ZIP and upload that."),
    "archive_damaged": _("This ZIP archive is damaged or incomplete. Make it again, then upload it."),
    "too_many_entries": _("This archive holds more than {limit} files. Split it into several ones."),
    # Of one entry.
    "unsafe_path": _(
        "The name of this entry points outside the archive. Pack the file again by its plain name."
    ),
    "too_deep": _("This file lies more than {limit} folders deep. Move it up and pack it again."),
    "name_too_long": _("The name of this entry is longer than {limit} characters. Shorten it."),
    "not_a_file": _("This entry is a link or a device, not a file. Pack the photo itself."),
    "nested_archive": _("This is an archive inside the archive. Unpack it, then upload its photos."),
    "encrypted": _("This entry is encrypted. Pack the photos without a password."),
    "unsupported_compression": _(
        "This entry is packed by a method other than 'deflate'. Pack it as a usual ZIP."
    ),
    "entry_damaged": _("This entry is damaged or incomplete. Make the archive again."),
    "too_large": _(
        "This file is larger than {limit} MB. Use a smaller copy of the photo, a JPEG for instance."
    ),
    "ratio": _("This entry unpacks to more than {limit} times its size, as no photo does. Save it as JPEG."),
    "unpacked_too_large": _(
        "The files before this one already unpack to {limit} MB. Upload the rest by itself."
    ),
}


class Refused(Exception):
    """Base of the two refusals: ``code`` for programs, ``detail`` for people (lazy)."""

    def __init__(self, code: str, **figures: int | float | str) -> None:
        super().__init__(code)
        self.code = code
        self.detail: StrOrPromise = format_lazy(SENTENCES[code], **figures)


class ArchiveRefused(Refused):
    """Nothing of this archive can be used."""


class EntryRefused(Refused):
    """This entry is not read; the others may be."""


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may hold.

    Attributes:
        archive_bytes: the file itself.
        entries: files in it.
        entry_bytes: one file, unpacked.
        unpacked_bytes: all files, unpacked.
        ratio: unpacked by packed bytes of an entry beyond 1 MiB.
        depth: folders above a file.
    """

    archive_bytes: int
    entries: int
    entry_bytes: int
    unpacked_bytes: int
    ratio: int = 200
    depth: int = 16


def archive_limits() -> ArchiveLimits:
    """Those of the site's settings."""
    mib = 1024 * 1024
    return ArchiveLimits(
        archive_bytes=settings.BATCH_MAX_MB * mib,
        entries=settings.BATCH_MAX_FILES,
        entry_bytes=settings.UPLOAD_MAX_MB * mib,
        unpacked_bytes=settings.BATCH_MAX_UNPACKED_MB * mib,
    )


@dataclass(frozen=True)
class Entry:
    """One file of the archive.

    Attributes:
        number: its place in the directory; what ``Archive.read`` wants.
        name: for people, with its folders; up to 1,000 characters.
        refusal: set where the directory alone shows that it will not be read.
    """

    number: int
    name: str
    refusal: EntryRefused | None = None


class Archive:
    """An open ZIP archive.

    Args:
        file: seekable, opened for reading in binary; it stays the caller's to close.

    Raises:
        ArchiveRefused: with a code and a sentence.
    """

    def __init__(self, file: BinaryIO, limits: ArchiveLimits) -> None:
        self.limits = limits
        self._file = _Counted(file)
        try:
            # Whatever a forged directory makes zipfile raise, the answer is the same.
            self._zip = zipfile.ZipFile(self._file)
        except ArchiveRefused:
            raise
        except Exception as error:
            file.seek(0)
            is_zip = file.read(2) == b"PK"
            raise ArchiveRefused("archive_damaged" if is_zip else "not_an_archive") from error

    def reopen(self, file: Any) -> None:
        """Go on with another open file of the same archive: its directory is not read again."""
        self._file.file = file

    def entries(self) -> list[Entry]:
        """All files; folders, and what macOS and Windows add by themselves, are left out.

        Raises:
            ArchiveRefused: there are none, or too many.
        """
        found: list[Entry] = []
        for number, info in enumerate(self._zip.infolist()):
            name = _readable_name(info)
            # Not is_dir, which stumbles over an empty name.
            if info.filename.endswith("/") or _is_system_file(name):
                continue
            if len(found) == self.limits.entries:
                raise ArchiveRefused("too_many_entries", limit=self.limits.entries)
            found.append(Entry(number, name[-NAME_LENGTH:], self._refusal(info, name)))
        if not found:
            raise ArchiveRefused("archive_empty")
        return found

    def read(self, number: int) -> bytes:
        """Unpack one entry into memory, at most ``entry_bytes`` of it.

        Raises:
            EntryRefused: with a code and a sentence.
            OSError: the archive's own file cannot be read.
        """
        try:
            info = self._zip.infolist()[number]
        except IndexError as error:
            raise EntryRefused("entry_damaged") from error
        refusal = self._refusal(info, _readable_name(info))
        if refusal:
            raise refusal
        try:
            content = self._unpack(info)
        except (EntryRefused, OSError):
            raise
        except Exception as error:  # zlib.error, BadZipFile, EOFError, NotImplementedError, struct.error
            raise EntryRefused("entry_damaged") from error
        if content.startswith(ARCHIVE_BEGINNINGS):
            raise EntryRefused("nested_archive")
        return content

    def _unpack(self, info: zipfile.ZipInfo) -> bytes:
        limits, content = self.limits, io.BytesIO()
        before = self._file.consumed
        with self._zip.open(info) as packed:
            while chunk := packed.read(CHUNK):
                content.write(chunk)
                size = content.tell()
                if size > limits.entry_bytes:
                    raise EntryRefused("too_large", limit=limits.entry_bytes // 1024**2)
                if size > RATIO_COUNTS_FROM and size > limits.ratio * (self._file.consumed - before):
                    raise EntryRefused("ratio", limit=limits.ratio)
        return content.getvalue()

    def _refusal(self, info: zipfile.ZipInfo, name: str) -> EntryRefused | None:
        parts = name.split("/")
        if _is_unsafe(info, name, parts):
            return EntryRefused("unsafe_path")
        if len(parts) - 1 > self.limits.depth:
            return EntryRefused("too_deep", limit=self.limits.depth)
        if len(name) > NAME_LENGTH:
            return EntryRefused("name_too_long", limit=NAME_LENGTH)
        mode = info.external_attr >> 16 if info.create_system in UNIX_SYSTEMS else 0
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            return EntryRefused("not_a_file")
        if info.flag_bits & ENCRYPTED:
            return EntryRefused("encrypted")
        if info.compress_type not in METHODS:
            return EntryRefused("unsupported_compression")
        if name.lower().endswith(ARCHIVE_ENDINGS):
            return EntryRefused("nested_archive")
        return None


class _Counted:
    """The archive's file: counts the bytes that are read, and refuses to hand out many at once.

    zipfile reads the directory in one call of the length that the archive claims.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.consumed = 0

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(DIRECTORY_BYTES + 1 if size < 0 else min(size, DIRECTORY_BYTES + 1))
        if len(content) > DIRECTORY_BYTES:
            raise ArchiveRefused("too_many_entries", limit=settings.BATCH_MAX_FILES)
        self.consumed += len(content)
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """The caller closes the file."""


def _readable_name(info: zipfile.ZipInfo) -> str:
    """macOS writes UTF-8 and does not say so; zipfile then reads it as code page 437."""
    name = info.orig_filename
    if not info.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return name


def _is_unsafe(info: zipfile.ZipInfo, name: str, parts: list[str]) -> bool:
    return (
        name.startswith("/")
        or ".." in parts
        or "\\" in name
        or ":" in parts[0][:2]
        or not parts[-1]
        or any(ord(character) < 32 or ord(character) == 127 for character in name)
    )


def _is_system_file(name: str) -> bool:
    parts = name.split("/")
    return parts[0] in SYSTEM_FOLDERS or parts[-1] in SYSTEM_FILES or parts[-1].startswith("._")


def open_archive(file: Any) -> Archive:
    """Open with the site's limits. Raises ``ArchiveRefused``."""
    return Archive(file, archive_limits())

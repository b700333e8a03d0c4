"""Read a stranger's ZIP archive: nothing that it says about itself is believed.

Sizes are counted while reading, never taken from headers. An entry that is not plainly a file is
refused by itself; the archive is refused only where its directory cannot be read or is too long.
Nothing is ever written: ``read`` returns bytes, and an entry's name stays data.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from django.conf import settings

from classifier.uploads.errors import ArchiveRefused, EntryRefused
from classifier.uploads.filenames import is_system_file, is_unsafe, readable_name

if TYPE_CHECKING:
    pass

CHUNK = 64 * 1024
# The directory is held in memory: at most this much of it. 10,000 names of 800 bytes fit.
DIRECTORY_BYTES = 8 * 1024 * 1024
# Before an entry's name and content.
LOCAL_HEADER_BYTES = 30
# Entries of all kinds for each file that an archive may hold: macOS adds one to each.
LISTED_A_FILE = 3
# Small files of one colour pack well and harm nobody.
RATIO_COUNTS_FROM = 1024 * 1024
NAME_LENGTH = 1_000
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
ENCRYPTED = 0x1 | 0x40 | 0x2000
UNIX_SYSTEMS = {3, 19}  # Unix, macOS: the upper half of external_attr is a file mode
DOS_FOLDER = 0x10
UTF8_NAME = 0x800
DIRECTORY_ENTRY, DIRECTORY_ENTRY_BYTES = b"PK\x01\x02", 46
ENTRY_HEADER, ENTRY_HEADER_BYTES = b"PK\x03\x04", 30
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
            self._file.is_open = True
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
        """All files; folders, and what systems add by themselves, are left out.

        Raises:
            ArchiveRefused: there are none, or too many, or they share bytes.
        """
        found: list[Entry] = []
        listed = self._zip.infolist()
        # Folders, and what macOS adds to each file, are not counted as files, but not without end either.
        if len(listed) > LISTED_A_FILE * self.limits.entries:
            raise ArchiveRefused("too_many_entries", limit=self.limits.entries)
        if _overlap(listed):
            raise ArchiveRefused("entries_overlap")
        for number, info in enumerate(listed):
            name = self._name(number, info)
            if _is_folder(info, name) or is_system_file(name):
                continue
            if len(found) == self.limits.entries:
                raise ArchiveRefused("too_many_entries", limit=self.limits.entries)
            found.append(Entry(number, name[-NAME_LENGTH:], self._refusal(info, name)))
        if not found:
            raise ArchiveRefused("archive_empty")
        return found

    def check(self, number: int) -> None:
        """Raises ``EntryRefused`` where the directory alone shows that the entry will not be read."""
        info = self._zip.infolist()[number]
        if refusal := self._refusal(info, self._name(number, info)):
            raise refusal

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
        refusal = self._refusal(info, self._name(number, info))
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

    def _name(self, number: int, info: zipfile.ZipInfo) -> str:
        return readable_name(info, said_to_be_utf8=number in self._file.in_utf8)

    def _refusal(self, info: zipfile.ZipInfo, name: str) -> EntryRefused | None:
        parts = name.split("/")
        if is_unsafe(name):
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


def _overlap(listed: list[zipfile.ZipInfo]) -> bool:
    """Do two entries lie over each other? A few bytes would then be unpacked thousands of times."""
    end = 0
    for info in sorted(listed, key=lambda info: info.header_offset):
        if info.header_offset < end:
            return True
        end = info.header_offset + LOCAL_HEADER_BYTES + info.compress_size
    return False


class _Counted:
    """The archive's file: counts the bytes that are read, and refuses to hand out many at once.

    zipfile reads the directory in one call of the length that the archive claims. It also decodes names
    strictly, so that a single one in bad UTF-8 would end the archive, and compares those of directory and
    entry as text. So the flag 'UTF-8' is taken out of what it reads: names are then bytes in disguise (code
    page 437 has a character for each), and ``readable_name`` reads them. ``in_utf8`` holds the numbers of
    the entries that had the flag.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.consumed = 0
        self.in_utf8: set[int] = set()
        self.is_open = False

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(DIRECTORY_BYTES + 1 if size < 0 else min(size, DIRECTORY_BYTES + 1))
        if len(content) > DIRECTORY_BYTES:
            raise ArchiveRefused("too_many_entries", limit=settings.BATCH_MAX_FILES)
        self.consumed += len(content)
        if content.startswith(DIRECTORY_ENTRY) and not self.is_open:
            return self._directory(content)
        if content.startswith(ENTRY_HEADER) and len(content) == ENTRY_HEADER_BYTES:
            (flags,) = struct.unpack_from("<H", content, 6)
            return content[:6] + struct.pack("<H", flags & ~UTF8_NAME) + content[8:]
        return content

    def _directory(self, content: bytes) -> bytes:
        changed, at, number = bytearray(content), 0, 0
        self.in_utf8 = set()
        while content.startswith(DIRECTORY_ENTRY, at) and at + DIRECTORY_ENTRY_BYTES <= len(content):
            (flags,) = struct.unpack_from("<H", content, at + 8)
            if flags & UTF8_NAME:
                self.in_utf8.add(number)
                struct.pack_into("<H", changed, at + 8, flags & ~UTF8_NAME)
            at += DIRECTORY_ENTRY_BYTES + sum(struct.unpack_from("<HHH", content, at + 28))
            number += 1
        return bytes(changed)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """The caller closes the file."""


def _is_folder(info: zipfile.ZipInfo, name: str) -> bool:
    if name.endswith("/"):
        return True
    if info.create_system in UNIX_SYSTEMS:
        return stat.S_ISDIR(info.external_attr >> 16)
    return bool(info.external_attr & DOS_FOLDER) and not info.file_size


def open_archive(file: Any) -> Archive:
    """Open with the site's limits. Raises ``ArchiveRefused``."""
    return Archive(file, archive_limits())

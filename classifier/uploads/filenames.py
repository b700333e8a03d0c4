"""Names of files as people have them: kept as they look, safe to show; from forms, and from ZIP archives.

Of a form, Django passes over the head of a part that is not UTF-8, and so over its file without a word; and
it drops every character that Python does not call printable: spaces of other kinds, what joins an emoji.
"""

from __future__ import annotations

import html
import re
import struct
import unicodedata
import zipfile
import zlib
from typing import Any

from django.http import multipartparser, request

# Parts of one sign: emoji of several persons, letters of Indic and Persian words, flags of regions.
JOINERS = {"\u200c", "\u200d", *map(chr, range(0xE0020, 0xE0080))}
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def as_shown(name: str) -> str:
    """Spaces of every kind become a space, joiners stay, what is invisible goes; control characters stay.

    Half surrogates, which no text holds, become replacement characters.
    """
    return "".join(map(_as_shown, name))


def without_controls(name: str) -> str:
    """The same, less control characters, and less what surrounds the name."""
    shown = as_shown(name)
    return "".join(c for c in shown if unicodedata.category(c) != "Cc").strip()


def _as_shown(character: str) -> str:
    if character.isascii() or character in JOINERS:
        return character
    kind = unicodedata.category(character)
    if kind.startswith("Z"):
        return " "
    if kind == "Cs":
        return REPLACEMENT
    # Marks that turn the direction of writing make a name look like another one.
    return "" if kind == "Cf" else character


END_OF_HEAD = b"\r\n\r\n"
_read_head = multipartparser.parse_boundary_stream  # type: ignore[attr-defined]


class MultiPartParser(multipartparser.MultiPartParser):
    def sanitize_file_name(self, file_name: str) -> str | None:
        """As Django: the last part of a path, or None where that is no name."""
        last = html.unescape(file_name).replace("\\", "/").rpartition("/")[2]
        name = without_controls(last)
        return None if name in ("", ".", "..") else name


def read_head(stream: Any, max_header_size: int) -> Any:
    """Have the head of a part read as UTF-8, with replacement characters where it is not."""
    begin = stream.read(max_header_size)
    head, end, rest = begin.partition(END_OF_HEAD)
    stream.unget(head.decode(errors="replace").encode() + end + rest if end else begin)
    return _read_head(stream, max_header_size)


def install() -> None:
    """Once, when the site starts."""
    multipartparser.parse_boundary_stream = read_head  # type: ignore[attr-defined]
    request.MultiPartParser = MultiPartParser  # type: ignore[attr-defined]


DOS_SYSTEMS = {0, 10, 14}  # FAT, NTFS, VFAT: a backslash may part folders
UNICODE_PATH = 0x7075  # an extra field: the name in UTF-8, beside one in some code page
DRIVE = re.compile(r"[A-Za-z]:[/\\]")
# Japanese names in code page 932, where the second byte of a character may be that of a backslash.
HALF_A_CHARACTER = re.compile(rb"[\x81-\x9f\xe0-\xfc]\x5c")
JAPANESE = re.compile(r"[ -\x7e\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]+")
# What macOS, Windows, phones, network storage and photo programs put beside photos by themselves, in small
# letters: indexes, bins, their own thumbnails, notes on edits.
SYSTEM_FOLDERS = {
    *("__macosx", ".appledouble", ".spotlight-v100", ".trashes", ".temporaryitems", ".fseventsd"),
    *("$recycle.bin", "system volume information", ".thumbnails", ".picasaoriginals", ".git", ".svn"),
    *("@eadir", "#recycle", "#snapshot", "@recycle", ".@__thumb", ".@upload_cache", "lost+found"),
}
SYSTEM_FILES = {
    *(".ds_store", ".localized", "icon\r", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
    *("picasa.ini", ".picasa.ini", ".nomedia", ".directory", ".gitignore", ".gitattributes", ".gitkeep"),
    *("zbthumbnail.info", ".bridgesort", ".bridgelabelsandratings", "@synoresource"),
}
SYSTEM_BEGINNINGS = ("._", ".trashed-", ".pending-")
SYSTEM_ENDINGS = (".aae", ".xmp")


def readable_name(info: zipfile.ZipInfo, *, said_to_be_utf8: bool) -> str:
    """The name with ``/`` between folders, whatever system and code page it was written in."""
    raw = info.orig_filename.encode("cp437")
    name = _unicode_path(info.extra, raw)
    if name is None:
        try:
            name = raw.decode()  # macOS and Linux write UTF-8, and do not always say so
        except UnicodeDecodeError:
            name = raw.decode(errors="replace") if said_to_be_utf8 else _from_code_page(raw)
    if info.create_system in DOS_SYSTEMS:
        name = name.replace("\\", "/")
    return as_shown(name)


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """What Info-ZIP, 7-Zip and others note beside a name in a code page, where it belongs to that name."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        field = extra[at + 4 : at + 4 + length]
        is_path = kind == UNICODE_PATH and field[:1] == b"\x01" and len(field) > 5
        if is_path and int.from_bytes(field[1:5], "little") == zlib.crc32(raw):
            return field[5:].decode(errors="replace")
        at += 4 + length
    return None


def _from_code_page(raw: bytes) -> str:
    """The archive does not say which one: letters with accents may look odd, but folders are right."""
    if HALF_A_CHARACTER.search(raw):
        try:
            name = raw.decode("cp932")
        except UnicodeDecodeError:
            pass
        else:
            if JAPANESE.fullmatch(name):
                return name
    return raw.decode("cp437")


def is_unsafe(name: str) -> bool:
    parts = re.split(r"[/\\]", name)
    return (
        name.startswith("/")
        or ".." in parts
        or DRIVE.match(name) is not None
        or not parts[-1]
        or any(ord(character) < 32 or ord(character) == 127 for character in name)
    )


def is_system_file(name: str) -> bool:
    *folders, file = name.lower().split("/")
    return (
        not SYSTEM_FOLDERS.isdisjoint(folders)
        or file in SYSTEM_FILES
        or file.startswith(SYSTEM_BEGINNINGS)
        or file.endswith(SYSTEM_ENDINGS)
    )

"""ZIP archives as Windows, macOS, Linux, phones and network storage write them."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from classifier.tests.uploads.archives import zipped
from classifier.uploads.errors import EntryRefused
from classifier.uploads.photos import clean_filename
from classifier.uploads.zip_reader import Archive, ArchiveLimits

LIMITS = ArchiveLimits(archive_bytes=10**7, entries=100, entry_bytes=10**7, unpacked_bytes=10**8)
DOS, UNIX = 0, 3


def archive_of(*names: bytes, system: int = UNIX, flags: int = 0, extra: bytes = b"") -> Archive:
    """An archive whose names are these very bytes."""
    content = b""
    directory = b""
    for name in names:
        crc = zlib.crc32(b"content")
        head = struct.pack("<HHHHIIIHH", flags, 0, 0, 0, crc, 7, 7, len(name), len(extra))
        entry = struct.pack("<HHIHI", 0, 0, 0, 0, 0)[: 2 + 2 + 2] + struct.pack("<II", 0, len(content))
        directory += b"PK\1\2" + struct.pack("<BBH", 20, system, 20) + head + entry + name + extra
        content += b"PK\3\4" + struct.pack("<H", 20) + head + name + extra + b"content"
    end = struct.pack("<HHHHIIH", 0, 0, len(names), len(names), len(directory), len(content), 0)
    return Archive(io.BytesIO(content + directory + b"PK\5\6" + end), LIMITS)


def outcomes(archive: Archive) -> dict[str, str]:
    """What became of each entry: what was read, or the code of the refusal."""
    found = {}
    for entry in archive.entries():
        try:
            found[entry.name] = archive.read(entry.number).decode()
        except EntryRefused as refusal:
            found[entry.name] = refusal.code
    return found


def names_in(path: Path) -> dict[str, str]:
    """Each entry of a file and its refusal, or nothing."""
    with path.open("rb") as file:
        archive = Archive(file, LIMITS)
        names = {entry.name: entry.refusal.code if entry.refusal else "" for entry in archive.entries()}
        for entry in archive.entries():
            if not entry.refusal:
                assert archive.read(entry.number) is not None
    return names


def test_a_backslash_of_windows_parts_folders(shared_dir: Path) -> None:
    names = names_in(shared_dir / "faults" / "zip_backslash.zip")
    assert names == {"dog/rex.jpg": "", "cat/tom.jpg": "", "automobile/sub/c.jpg": ""}


@pytest.mark.parametrize("system", [0, 10, 14])
def test_a_backslash_counts_before_the_way_out_is_looked_for(system: int) -> None:
    archive = archive_of(
        b"dog\\rex.jpg", b"..\\up.jpg", b"a\\..\\..\\up.jpg", b"\\\\host\\up.jpg", b"dog\\", system=system
    )
    assert outcomes(archive) == {
        "dog/rex.jpg": "content",
        "../up.jpg": "unsafe_path",
        "a/../../up.jpg": "unsafe_path",
        "//host/up.jpg": "unsafe_path",
    }


def test_a_backslash_of_unix_is_a_letter_and_no_way_out() -> None:
    archive = archive_of(b"a\\b.jpg", b"..\\up.jpg")
    assert outcomes(archive) == {"a\\b.jpg": "content", "..\\up.jpg": "unsafe_path"}


def test_half_a_japanese_character_is_no_backslash(shared_dir: Path) -> None:
    names = names_in(shared_dir / "faults" / "zip_shift_jis_0x5c.zip")
    assert list(names.values()) == ["", "", ""]
    assert [name.count("/") for name in names] == [1, 1, 0]
    assert ("表/ソート.jpg" in names and "予定.jpg" in names) or len(names) == 3


def test_folders_with_accents_of_a_code_page_stay_folders() -> None:
    # 'caf\x82' ends with the first byte of a Japanese character and is followed by a backslash.
    assert outcomes(archive_of(b"caf\x82\\rex.jpg", system=DOS)) == {"café/rex.jpg": "content"}


def test_only_letter_colon_slash_is_a_drive(shared_dir: Path) -> None:
    names = names_in(shared_dir / "faults" / "zip_colon_second_char.zip")
    assert names == {"12:30 dog.jpg": "", "a:b.jpg": "", "photos/10:45.jpg": ""}
    drives = archive_of(b"C:/up.jpg", b"c:\\up.jpg")
    assert set(outcomes(drives).values()) == {"unsafe_path"}


def test_what_systems_add_is_left_out_and_the_rest_is_not(shared_dir: Path) -> None:
    names = names_in(shared_dir / "faults" / "zip_system_files.zip")
    assert set(names) == {"a/dog.jpg", "a/.hidden.jpg", "a/README.txt", "a/labels.csv", "a/IMG_1.MOV"}


@pytest.mark.parametrize(
    "name",
    [
        *("THUMBS.DB", "a/Ehthumbs_Vista.db", "Desktop.INI", "Icon\r", ".localized", ".nomedia"),
        *("a/__macosx/._x.jpg", "@eaDir/x.jpg/SYNOPHOTO_THUMB_XL.jpg", "#recycle/x.jpg", "@Recycle/x.jpg"),
        *(".@__thumb/default_x.jpg", "$RECYCLE.BIN/x.jpg", "System Volume Information/x"),
        *("DCIM/.thumbnails/1.jpg", ".Picasaoriginals/x.jpg", "Picasa.ini", "IMG_1.AAE", "IMG_1.xmp"),
        *(".trashed-1735-IMG_2.jpg", "lost+found/x.jpg"),
        *(".pending-1735-IMG_3.jpg", ".Trashes/501/x.jpg", ".AppleDouble/x.jpg", "._x.jpg"),
    ],
)
def test_each_system_file_is_left_out_whatever_its_case(name: str) -> None:
    for written in (name, name.upper(), name.lower()):
        file = zipped({written: b"x", "rex.jpg": b"x"})
        assert [entry.name for entry in Archive(file, LIMITS).entries()] == ["rex.jpg"]


def test_a_folder_is_left_out_however_it_is_marked() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, system, attributes in (("unix", UNIX, 0o40755 << 16), ("dos", DOS, 0x10)):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = system, attributes
            archive.writestr(info, b"")
        archive.writestr("rex.jpg", b"x")
    assert [entry.name for entry in Archive(buffer, LIMITS).entries()] == ["rex.jpg"]


def test_a_name_in_bad_utf8_costs_neither_the_archive_nor_the_entry() -> None:
    archive = archive_of(b"caf\xe9.jpg", b"rex.jpg", flags=0x800)
    assert outcomes(archive) == {"caf\N{REPLACEMENT CHARACTER}.jpg": "content", "rex.jpg": "content"}


def test_a_name_in_utf8_is_read_with_the_flag_and_without() -> None:
    for flags in (0, 0x800):
        assert outcomes(archive_of("mèo/ảnh.jpg".encode(), flags=flags)) == {"mèo/ảnh.jpg": "content"}


def test_the_unicode_path_field_goes_before_the_code_page() -> None:
    name = b"Gr\x81\xe1e.jpg"  # 'Grüße' in code page 437
    for noted, expected in ((zlib.crc32(name), "Ảnh 写真.jpg"), (zlib.crc32(b"renamed since"), "Grüße.jpg")):
        field = b"\1" + struct.pack("<I", noted) + "Ảnh 写真.jpg".encode()
        extra = struct.pack("<HH", 0x7075, len(field)) + field
        assert outcomes(archive_of(name, system=DOS, extra=extra)) == {expected: "content"}


@pytest.mark.parametrize("extra", [b"\x75\x70", b"\x75\x70\x03\x00\x01\x00\x00"])
def test_a_broken_extra_field_is_passed_over(extra: bytes) -> None:
    assert list(outcomes(archive_of(b"rex.jpg", extra=extra)).values()) in (["content"], ["entry_damaged"])


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("Screenshot 3.45.10\u202fPM.png", "Screenshot 3.45.10 PM.png"),
        ("a\u00a0b\u3000c\u2009d.jpg", "a b c d.jpg"),
        ("👨\u200d👩\u200d👧.jpg", "👨\u200d👩\u200d👧.jpg"),
        ("می\u200cروم.jpg", "می\u200cروم.jpg"),
        ("🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f.jpg",) * 2,
        ("❤\ufe0f.jpg", "❤\ufe0f.jpg"),
        ("bad\udcff.jpg", "bad\N{REPLACEMENT CHARACTER}.jpg"),
        ("gpj.\u202eexe.jpg", "gpj.exe.jpg"),
        ("a\tb\0c\n.jpg", "abc.jpg"),
        ("dog\\rex.jpg", "rex.jpg"),
        (" \u00a0 ", "photo"),
    ],
)
def test_names_keep_their_look(name: str, kept: str) -> None:
    assert clean_filename(name) == kept
    kept.encode()

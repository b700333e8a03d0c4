"""What the ZIP reader takes, what it refuses, and that it believes no header."""

import copy
import io
import stat
import struct
import tempfile
import zipfile
from pathlib import Path

from django.test import SimpleTestCase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from classifier.tests.uploads.archives import zipped
from classifier.uploads.errors import ArchiveRefused, EntryRefused
from classifier.uploads.zip_reader import Archive, ArchiveLimits

LIMITS = ArchiveLimits(
    archive_bytes=10_000_000,
    entries=100,
    entry_bytes=3 * 1024**2,
    unpacked_bytes=50_000_000,
    ratio=200,
    depth=4,
)


def entries_of(file: io.BytesIO, limits: ArchiveLimits = LIMITS) -> dict[str, str | None]:
    """Name and code of the refusal, as the directory alone shows it."""
    return {e.name: e.refusal.code if e.refusal else None for e in Archive(file, limits).entries()}


def with_info(name: str, **fields: object) -> io.BytesIO:
    buffer = io.BytesIO()
    info = zipfile.ZipInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, b"content")
    buffer.seek(0)
    return buffer


class ReadingArchives(SimpleTestCase):
    def refused(self, file: io.BytesIO, number: int = 0, limits: ArchiveLimits = LIMITS) -> str:
        with self.assertRaises(EntryRefused) as caught:
            Archive(file, limits).read(number)
        self.assertTrue(str(caught.exception.detail))
        return caught.exception.code

    def refused_whole(self, file: io.BytesIO, limits: ArchiveLimits = LIMITS) -> str:
        with self.assertRaises(ArchiveRefused) as caught:
            Archive(file, limits).entries()
        self.assertTrue(str(caught.exception.detail))
        return caught.exception.code

    def test_it_reads_files_and_leaves_out_folders_and_what_systems_add(self) -> None:
        names = ["cat/", "cat/one.jpg", "__MACOSX/cat/._one.jpg", "cat/.DS_Store", "Thumbs.db", "._two.jpg"]
        file = zipped(dict.fromkeys(names, b"bytes"))
        self.assertEqual(entries_of(file), {"cat/one.jpg": None})
        (entry,) = Archive(file, LIMITS).entries()
        self.assertEqual(Archive(file, LIMITS).read(entry.number), b"bytes")

    def test_it_refuses_names_that_point_outside(self) -> None:
        for name in ("../up.jpg", "a/../../up.jpg", "/etc/up.jpg", "C:/up.jpg", "..\\up.jpg", "a\nb.jpg"):
            with self.subTest(name=name):
                file = zipped({name: b"x"})
                self.assertEqual(list(entries_of(file).values()), ["unsafe_path"])
                self.assertEqual(self.refused(file), "unsafe_path")

    def test_it_refuses_a_name_with_a_zero_byte(self) -> None:
        content = zipped({"photo_jpg": b"x"}).getvalue().replace(b"photo_jpg", b"photo\0jpg")
        self.assertEqual(self.refused(io.BytesIO(content)), "unsafe_path")

    def test_an_entry_without_a_name_does_not_stop_the_others(self) -> None:
        content = zipped({"cat.jpg": b"first", "dog.jpg": b"second"}).getvalue()
        archive = Archive(io.BytesIO(content.replace(b"cat.jpg", b"\0at.jpg")), LIMITS)
        names = [entry.name for entry in archive.entries()]
        self.assertIn("dog.jpg", names)

    def test_it_refuses_links_and_devices(self) -> None:
        for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK):
            with self.subTest(kind=kind):
                file = with_info("link.jpg", create_system=3, external_attr=(kind | 0o777) << 16)
                self.assertEqual(self.refused(file), "not_a_file")

    def test_it_refuses_an_archive_inside_by_name_and_by_content(self) -> None:
        inner = zipped({"photo.jpg": b"x"}).getvalue()
        self.assertEqual(self.refused(zipped({"inner.zip": b"x"})), "nested_archive")
        self.assertEqual(self.refused(zipped({"inner.jpg": inner})), "nested_archive")
        self.assertEqual(self.refused(zipped({"a.TAR.GZ": b"x"})), "nested_archive")

    def test_it_refuses_an_encrypted_entry(self) -> None:
        content = bytearray(zipped({"photo.jpg": b"x"}).getvalue())
        directory = content.index(b"PK\x01\x02")
        content[directory + 8] |= 1
        self.assertEqual(self.refused(io.BytesIO(bytes(content))), "encrypted")

    def test_it_refuses_a_method_that_needs_much_memory(self) -> None:
        self.assertEqual(
            self.refused(zipped({"a.jpg": b"x" * 99}, zipfile.ZIP_LZMA)), "unsupported_compression"
        )
        self.assertEqual(
            self.refused(zipped({"a.jpg": b"x" * 99}, zipfile.ZIP_BZIP2)), "unsupported_compression"
        )

    def test_it_refuses_what_lies_too_deep_and_what_is_called_too_long(self) -> None:
        self.assertEqual(self.refused(zipped({"1/2/3/4/5/a.jpg": b"x"})), "too_deep")
        self.assertEqual(self.refused(zipped({"a" * 1_200 + ".jpg": b"x"})), "name_too_long")

    def test_it_refuses_a_bomb_by_its_ratio(self) -> None:
        self.assertEqual(self.refused(zipped({"bomb.bmp": bytes(2 * 1024**2)})), "ratio")

    def test_it_refuses_a_file_that_is_too_large(self) -> None:
        file = zipped({"a.bmp": bytes(range(256)) * 16 * 1024}, zipfile.ZIP_STORED)
        self.assertEqual(self.refused(file), "too_large")

    def test_a_header_that_claims_less_does_not_help_a_bomb(self) -> None:
        content = bytearray(zipped({"bomb.bmp": bytes(8 * 1024**2)}).getvalue())
        directory = content.index(b"PK\x01\x02")
        struct.pack_into("<I", content, directory + 24, 100)  # unpacked bytes, so it says
        self.assertEqual(self.refused(io.BytesIO(bytes(content))), "entry_damaged")

    def test_entries_that_share_their_bytes_are_each_measured(self) -> None:
        content = bytearray(zipped({"a.bmp": bytes(2 * 1024**2), "b.bmp": b"x"}).getvalue())
        second = content.rindex(b"PK\x01\x02")
        struct.pack_into("<I", content, second + 42, 0)  # begins where the first one does
        self.assertEqual(self.refused(io.BytesIO(bytes(content)), 1), "entry_damaged")

    def test_a_damaged_entry_does_not_harm_the_others(self) -> None:
        file = zipped({"a.jpg": b"first" * 50, "b.jpg": b"second" * 50}, zipfile.ZIP_STORED)
        damaged = io.BytesIO(file.getvalue().replace(b"first", b"fIrst"))
        self.assertEqual(self.refused(damaged, 0), "entry_damaged")
        self.assertEqual(Archive(damaged, LIMITS).read(1), b"second" * 50)

    def test_it_refuses_what_is_no_archive(self) -> None:
        self.assertEqual(self.refused_whole(io.BytesIO(b"not a zip")), "not_an_archive")
        self.assertEqual(self.refused_whole(io.BytesIO(b"")), "not_an_archive")
        whole = zipped({"a.jpg": b"x" * 500}).getvalue()
        self.assertEqual(self.refused_whole(io.BytesIO(whole[:-40])), "archive_damaged")
        self.assertEqual(self.refused_whole(zipped({})), "archive_empty")

    def test_it_refuses_too_many_entries(self) -> None:
        file = zipped({f"{n}.jpg": b"x" for n in range(101)})
        self.assertEqual(self.refused_whole(file), "too_many_entries")

    def test_it_does_not_read_a_directory_of_the_length_that_is_claimed(self) -> None:
        content = bytearray(9 * 1024**2) + zipped({"a.jpg": b"x"}).getvalue()
        end = content.rindex(b"PK\x05\x06")
        struct.pack_into("<II", content, end + 12, len(content) - 22, 0)
        self.assertEqual(self.refused_whole(io.BytesIO(bytes(content))), "too_many_entries")

    def test_it_reads_names_that_macos_writes(self) -> None:
        name = "ảnh/mèo.jpg"
        plain = name.encode().decode("cp437")
        content = zipped({"x" * len(name.encode()): b"x"}).getvalue()
        content = content.replace(b"x" * len(name.encode()), plain.encode("cp437"))
        self.assertEqual(list(entries_of(io.BytesIO(content))), [name])

    def test_nothing_is_written(self) -> None:
        with tempfile.TemporaryDirectory() as folder, self.settings(MEDIA_ROOT=folder):
            file = zipped({"../outside.jpg": b"x", "inside.jpg": b"y"})
            archive = Archive(file, LIMITS)
            for entry in archive.entries():
                try:
                    archive.read(entry.number)
                except EntryRefused:
                    continue
            self.assertEqual(list(Path(folder).iterdir()), [])

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def test_a_forged_archive_raises_nothing_but_refusals(self, data: st.DataObject) -> None:
        content = bytearray(zipped({"cat/a.jpg": b"first" * 20, "b.jpg": bytes(3_000)}).getvalue())
        for _change in range(data.draw(st.integers(1, 12))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(content)))
        try:
            archive = Archive(
                io.BytesIO(bytes(content[:cut] if data.draw(st.booleans()) else content)), LIMITS
            )
            entries = archive.entries()
        except ArchiveRefused:
            return
        for entry in entries:
            try:
                self.assertLessEqual(len(archive.read(entry.number)), LIMITS.entry_bytes)
            except EntryRefused:
                continue


class ManyEntriesOfFewBytes(SimpleTestCase):
    def refused_whole(self, file: io.BytesIO, limits: ArchiveLimits = LIMITS) -> str:
        with self.assertRaises(ArchiveRefused) as caught:
            Archive(file, limits).entries()
        return caught.exception.code

    def test_entries_that_share_their_bytes_are_refused(self) -> None:
        """Fifty lines in the directory, one file behind them."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("one.jpg", b"bytes" * 1_000)
            (info,) = archive.filelist
            for number in range(49):
                again = copy.copy(info)
                again.filename = again.orig_filename = f"{number}.jpg"
                archive.filelist.append(again)
        self.assertEqual(self.refused_whole(file), "entries_overlap")

    def test_entries_that_lie_partly_over_each_other_are_refused(self) -> None:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("one.jpg", b"bytes" * 1_000)
            archive.writestr("two.jpg", b"bytes" * 1_000)
            archive.filelist[1].header_offset -= 100
        self.assertEqual(self.refused_whole(file), "entries_overlap")

    def test_folders_are_not_listed_without_end(self) -> None:
        folders = {f"folder-{number}/": b"" for number in range(3 * LIMITS.entries)}
        self.assertEqual(self.refused_whole(zipped({**folders, "one.jpg": b"bytes"})), "too_many_entries")

    def test_as_many_files_as_may_be_in_folders_and_with_what_macos_adds_are_taken(self) -> None:
        names = [f"cat/{number}.jpg" for number in range(LIMITS.entries)]
        added = [f"__MACOSX/cat/._{number}.jpg" for number in range(LIMITS.entries)]
        file = zipped(dict.fromkeys(["cat/", *names, "__MACOSX/", *added], b"bytes"))
        self.assertEqual(len(entries_of(file)), LIMITS.entries)

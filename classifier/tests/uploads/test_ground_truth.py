"""Tables of true labels, as spreadsheets save them, find their photos."""

from __future__ import annotations

import io
import unicodedata
from pathlib import Path

import pytest
from django.utils import translation

from cifarsite.test import ApiTestCase, image_bytes
from cifarsite.test import answer as write_answer
from classifier.models import Batch, Photo
from classifier.tests.api.test_api_batches import archive
from classifier.tests.uploads.archives import zipped
from classifier.tests.uploads.test_batches import BatchTestCase
from classifier.uploads import batch_worker, batches
from classifier.uploads.errors import TruthRefused
from classifier.uploads.ground_truth import Line, Matched, match, read_truth
from classifier.uploads.zip_reader import open_archive

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
ROWS = [("rex.jpg", "dog"), ("cà chua.jpg", "cat")]
EXPECTED = [Line(*row) for row in ROWS]


def read(content: bytes) -> list[Line]:
    return read_truth(io.BytesIO(content), CLASSES)


def found(names: list[str], *lines: str) -> Matched:
    return match([Line(line, "cat") for line in lines], names)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["filename{}label", "File{}Class", "", "\r\n"])
def test_each_separator_and_encoding_is_read(encoding: str, separator: str, header: str) -> None:
    lines = [header.format(separator), *(separator.join(row) for row in ROWS)]
    assert read("\r\n".join(lines).encode(encoding)) == EXPECTED


def test_code_page_1252_is_read_where_it_is_not_utf8() -> None:
    assert read("Grüße.jpg;dog\r\n".encode("cp1252")) == [Line("Grüße.jpg", "dog")]
    assert read(b"\x81\x8d.jpg;dog\r\n") == [Line("\N{REPLACEMENT CHARACTER}" * 2 + ".jpg", "dog")]


def test_a_header_says_which_columns_count() -> None:
    assert read(b"number;label;filename\n1;dog;rex.jpg\n2;cat;tom.jpg\n") == [
        Line("rex.jpg", "dog"),
        Line("tom.jpg", "cat"),
    ]


def test_excels_own_line_names_the_separator() -> None:
    assert read(b"sep=;\r\nfilename;label\r\na,b.jpg;dog\r\n") == [Line("a,b.jpg", "dog")]


def test_a_separator_inside_a_name_does_not_mislead() -> None:
    assert read(b"a,b.jpg;dog\n") == [Line("a,b.jpg", "dog")]
    assert read(b'"a;b.jpg",dog\n') == [Line("a;b.jpg", "dog")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"rex.jpg dog\n", "separated by a comma, a semicolon or a tab"),
        (b"filename,label\nrex.jpg,dog\ntom.jpg,tiger\n", "Line 3"),
        (b"filename;label\nrex.jpg;dog\ntom.jpg\n", "Line 3"),
        (b"", "empty"),
        (b"filename,label\n", "empty"),
        (b"\xff\xfe\x00\xd8", "not a CSV file"),
        (b"x" * 200_000 + b",dog\n", "not a CSV file"),
    ],
)
def test_what_is_no_such_table_is_refused_in_words(content: bytes, said: str) -> None:
    with translation.override("en"), pytest.raises(TruthRefused) as caught:
        read(content)
    assert said in str(caught.value.detail)


def test_upper_and_lower_case_are_the_same_unless_both_are_there() -> None:
    assert found(["dog/rex.jpg"], "DOG/REX.JPG").labels == {0: "cat"}
    both = match([Line("A.jpg", "cat"), Line("a.jpg", "dog")], ["a.jpg", "A.jpg"])
    assert both.labels == {0: "dog", 1: "cat"}
    assert found(["a.jpg", "A.JPG"], "A.jpg").labels == {}


def test_composed_and_decomposed_accents_are_the_same() -> None:
    composed, apart = (unicodedata.normalize(form, "con chó.jpg") for form in ("NFC", "NFD"))
    assert composed != apart
    assert found([apart], composed).matched == 1
    assert found([composed], apart.upper()).matched == 1


def test_other_spaces_are_the_same() -> None:
    assert found(["at 3.45\N{NARROW NO-BREAK SPACE}PM.png"], "at 3.45 PM.png").matched == 1


def test_paths_are_matched_from_their_end() -> None:
    names = ["photos/dog/rex.jpg", "photos/cat/tom.jpg", "photos/cat/rex.jpg"]
    for line, place in (
        ("photos/dog/rex.jpg", 0),
        ("./photos/dog/rex.jpg", 0),
        ("dog\\rex.jpg", 0),
        ("C:\\Users\\Lan\\photos\\cat\\rex.jpg", 2),
        ("tom.jpg", 1),
        ("elsewhere/tom.jpg", 1),
    ):
        assert found(names, line).labels == {place: "cat"}, line


def test_a_name_that_several_files_have_means_none_of_them() -> None:
    result = found(["dog/rex.jpg", "cat/rex.jpg"], "cat/rex.jpg", "rex.jpg")
    assert (result.labels, result.lines, result.matched, result.first_unmatched) == (
        {1: "cat"},
        2,
        1,
        "rex.jpg",
    )


def test_a_looser_line_does_not_take_a_file_from_an_exact_one() -> None:
    result = match([Line("dog/rex.jpg", "dog"), Line("cat/rex.jpg", "cat")], ["dog/rex.jpg"])
    assert (result.labels, result.matched, result.first_unmatched) == ({0: "dog"}, 1, "cat/rex.jpg")


@pytest.mark.parametrize(
    ("photos", "table", "matched"),
    [
        ("truth_no_name_matches.zip", "truth_no_name_matches.csv", 2),
        ("truth_no_name_matches.zip", "truth_semicolons.csv", 2),
        ("truth_nfd_names.zip", "truth_nfc_names.csv", 1),
    ],
)
def test_the_tables_that_once_matched_nothing(
    shared_dir: Path, photos: str, table: str, matched: int
) -> None:
    folder = shared_dir / "faults"
    with (folder / photos).open("rb") as file, (folder / table).open("rb") as lines:
        result = match(read_truth(lines, CLASSES), [entry.name for entry in open_archive(file).entries()])
    assert (result.lines, result.matched, result.first_unmatched) == (matched, matched, None)


class WhatIsSaid(BatchTestCase):
    def with_truth(self, table: bytes, *names: str) -> Batch:
        files = dict.fromkeys(names or ("cat/tom.jpg", "dog/rex.jpg"), image_bytes())
        return batches.create_batch(self.alice, zipped(files), filename="a.zip", truth=io.BytesIO(table))

    def truths(self, batch: Batch) -> dict[str, str]:
        return dict(batch.items.values_list("name", "truth"))

    def test_how_many_lines_matched_is_kept(self) -> None:
        batch = self.with_truth(b"REX.JPG;frog\nnobody.jpg;cat\n")
        self.assertEqual(
            batch.truth, {"lines": 2, "matched": 1, "first_unmatched": "nobody.jpg", "folders_count": False}
        )
        self.assertEqual(self.truths(batch), {"cat/tom.jpg": "", "dog/rex.jpg": "frog"})

    def test_folders_count_where_no_line_matched(self) -> None:
        batch = self.with_truth(b"nobody.jpg,frog\n")
        self.assertEqual(
            batch.truth, {"lines": 1, "matched": 0, "first_unmatched": "nobody.jpg", "folders_count": True}
        )
        self.assertEqual(self.truths(batch), {"cat/tom.jpg": "cat", "dog/rex.jpg": "dog"})

    def test_folders_do_not_count_where_nobody_wants_it(self) -> None:
        batch = self.make({"cat/a.jpg": image_bytes()}, truth=io.BytesIO(b"x,cat"), folders_are_truth=False)
        self.assertEqual(self.truths(batch), {"cat/a.jpg": ""})
        self.client.force_login(self.alice)
        self.assertNotContains(
            self.client.get(batch.get_absolute_url()), "uses the names of folders as labels"
        )

    def test_the_page_says_it(self) -> None:
        self.client.force_login(self.alice)
        batch = self.with_truth(b"rex.jpg,dog\n<b>.jpg,cat\n")
        page = self.client.get(batch.get_absolute_url())
        self.assertContains(page, "1 of 2 lines matched")
        self.assertContains(page, "“&lt;b&gt;.jpg”")
        self.assertNotContains(page, "uses the names of folders as labels")
        page = self.client.get(self.with_truth(b"x.jpg,dog\n").get_absolute_url())
        self.assertContains(page, "0 of 1 line matched")
        self.assertContains(page, "uses the names of folders as labels")
        self.assertNotContains(
            self.client.get(self.make().get_absolute_url()), "Table of ground-truth labels"
        )


class WhatTheApiSays(ApiTestCase):
    def test_how_many_lines_matched(self) -> None:
        files = {"dog/rex.jpg": image_bytes()}
        table = io.BytesIO(b"Rex.jpg;dog\nx.jpg;cat\n")
        table.name = "truth.csv"
        answer = self.call("post", "batches", {"archive": archive(files), "truth": table}).json()
        self.assertEqual(answer["truth"], {"lines": 2, "matched": 1, "first_unmatched": "x.jpg"})
        self.assertEqual(self.call("get", f"batches/{answer['id']}").json()["truth"], answer["truth"])
        answer = self.call("post", "batches", {"archive": archive(files)}).json()
        self.assertIsNone(answer["truth"])

    def test_the_accuracy_once_all_are_answered(self) -> None:
        files = {
            "dog/rex.jpg": image_bytes(),
            "cat/tom.jpg": image_bytes(colour="gold"),
            "x.jpg": b"no image",
        }
        pk = self.call("post", "batches", {"archive": archive(files)}).json()["id"]
        while batch_worker.unpack_slice("a worker"):
            continue
        batch = Batch.objects.get(pk=pk)
        first, second = Photo.objects.filter(batch_item__batch=batch).order_by("batch_item__number")
        write_answer(first, "dog")
        found = self.call("get", f"batches/{pk}").json()
        self.assertEqual((found["labelled"], found["accuracy"]), (2, None))
        write_answer(second, "dog")
        found = self.call("get", f"batches/{pk}").json()
        self.assertEqual((found["labelled"], found["accuracy"]), (2, 0.5))
        plain = self.call("post", "batches", {"archive": archive({"x.jpg": image_bytes()})}).json()
        self.assertEqual((plain["labelled"], plain["accuracy"]), (None, None))

"""The Vietnamese texts are complete, compiled, and what a Vietnamese browser gets."""

import ast
import gettext
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from django.utils.translation.template import templatize

from cifarsite.test import PASSWORD, SiteTestCase
from conftest import ROOT

CATALOGUE = ROOT / "locale/vi/LC_MESSAGES/django.po"
PYTHON_FOLDERS = ("cifarsite", "classifier", "training")
MARKERS = {"_", "gettext", "gettext_lazy", "gettext_noop", "ngettext", "ngettext_lazy"}
STRING = r"""u?("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
CALL = re.compile(rf"\b(?:n?gettext|_)\({STRING}")
FIELD = re.compile(r'(msgid|msgid_plural|msgstr(?:\[\d+\])?|msgctxt) (".*")')
PLACEHOLDER = re.compile(r"%\(\w+\)[-.\d]*[a-z]|%%|%[sdr]|\{\w+\}|<[^>]+>")

Entry = dict[str, str]


def entries() -> list[Entry]:
    """The catalogue's entries but its header: field to text, and `flags` where there are any."""
    found = []
    for block in CATALOGUE.read_text(encoding="utf-8").split("\n\n"):
        entry: Entry = {}
        field = ""
        for line in block.splitlines():
            if line.startswith("#,"):
                entry["flags"] = line
            elif match := FIELD.fullmatch(line):
                field = match[1]
                entry[field] = ast.literal_eval(match[2])
            elif line.startswith('"'):
                entry[field] += ast.literal_eval(line)
        if entry.get("msgid"):
            found.append(entry)
    return found


def texts_of(entry: Entry) -> list[str]:
    return [text for field, text in entry.items() if field.startswith("msgstr")]


def python_texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKERS:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def template_texts(path: Path) -> Iterator[str]:
    """What `makemessages` would see: Django rewrites a template as calls of gettext."""
    for match in CALL.finditer(templatize(path.read_text(encoding="utf-8"))):
        yield ast.literal_eval(match[1])


def source_texts() -> dict[str, Path]:
    """Every text that the site marks for translation, and one file it is in."""
    found = {}
    for folder in PYTHON_FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            if "tests" not in path.parts:
                found.update({text: path.relative_to(ROOT) for text in python_texts(path)})
    for path in (ROOT / "templates").rglob("*.*"):
        if path.suffix in (".html", ".txt"):
            found.update({text: path.relative_to(ROOT) for text in template_texts(path)})
    return found


def test_every_text_of_the_site_is_translated():
    translated = {entry["msgid"] for entry in entries() if all(texts_of(entry))}
    sources = source_texts()
    assert len(sources) > 500, "the search for texts is broken"
    missing = [f"{path}: {text!r}" for text, path in sources.items() if text not in translated]
    assert not missing, "run makemessages -l vi and translate:\n" + "\n".join(sorted(missing))


def test_no_translation_is_empty_or_fuzzy():
    assert [entry["msgid"] for entry in entries() if not all(texts_of(entry)) or not texts_of(entry)] == []
    assert [entry["msgid"] for entry in entries() if "fuzzy" in entry.get("flags", "")] == []


def test_each_translation_keeps_the_placeholders():
    for entry in entries():
        wanted = Counter(PLACEHOLDER.findall(entry.get("msgid_plural", entry["msgid"])))
        for text in texts_of(entry):
            assert Counter(PLACEHOLDER.findall(text)) == wanted, entry["msgid"]


def test_the_compiled_catalogue_is_that_of_the_text_file():
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for entry in entries():
        if "msgid_plural" in entry:
            text = compiled.ngettext(entry["msgid"], entry["msgid_plural"], 2)
        else:
            text = compiled.gettext(entry["msgid"])
        assert texts_of(entry) == [text], f"run compilemessages: {entry['msgid']!r}"


class VietnameseTests(SiteTestCase):
    def test_a_vietnamese_browser_gets_the_first_page_in_vietnamese(self) -> None:
        page = self.client.get("/", headers={"Accept-Language": "vi"})
        self.assertContains(page, '<html lang="vi"')
        self.assertContains(page, "Trong ảnh của bạn có thứ nào trong mười thứ?")

    def test_a_vietnamese_browser_gets_the_sign_in_page_in_vietnamese(self) -> None:
        page = self.client.get("/accounts/login/", headers={"Accept-Language": "vi"})
        self.assertContains(page, '<html lang="vi"')
        self.assertContains(page, "Chưa có tài khoản?")

    def test_an_english_browser_gets_english(self) -> None:
        page = self.client.get("/", headers={"Accept-Language": "en"})
        self.assertContains(page, '<html lang="en"')
        self.assertContains(page, "Which of ten things is in your photo?")

    def test_counted_texts_and_classes_are_vietnamese(self) -> None:
        self.upload()
        self.client.login(username="alice", password=PASSWORD)
        page = self.client.get("/history/", headers={"Accept-Language": "vi"})
        self.assertContains(page, "Lịch sử")
        self.assertContains(page, "máy bay")

"""The documents say what is so: links lead somewhere, the settings' reference is current."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from classifier.management.commands.configuration import reference, variables
from conftest import ROOT

SETTINGS = ROOT / "cifarsite" / "settings.py"
DOCUMENTS = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").rglob("*.md")})
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *#*$", re.MULTILINE)


def prose(document: Path) -> str:
    return FENCE.sub("", document.read_text())


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    plain = (
        re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in HEADING.findall(prose(document))
    )
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in plain}


def broken(document: Path) -> Iterator[str]:
    for image, text, target in LINK.findall(prose(document)):
        if image and not text:
            yield f"{target}: a picture without words for those who do not see it"
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        place = (document.parent / path).resolve() if path else document
        if not place.exists():
            yield f"{target}: there is no such file"
        elif anchor and place.suffix == ".md" and anchor not in anchors(place):
            yield f"{target}: there is no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    assert list(broken(document)) == []


def test_the_reference_of_settings_is_current():
    found = (ROOT / "docs" / "configuration.md").read_text()
    assert found == reference(SETTINGS.read_text()), "manage.py configuration > docs/configuration.md"


def test_every_setting_says_what_it_does():
    found = list(variables(SETTINGS.read_text()))
    assert {"VAR_DIR", "PORT", "S3_ENDPOINT_URL", "GATE_ECE"} <= {variable.name for variable in found}
    assert [variable.name for variable in found if not variable.purpose] == []


def test_every_document_can_be_found_from_the_readme():
    todo, found = [ROOT / "README.md"], set[Path]()
    while todo:
        document = todo.pop()
        if document in found or not document.is_file():
            continue
        found.add(document)
        if document.suffix != ".md":
            continue
        for _image, _text, target in LINK.findall(prose(document)):
            if not re.match(r"[a-z]+:", target):
                todo.append((document.parent / unquote(target).partition("#")[0]).resolve())
    assert [str(path.relative_to(ROOT)) for path in DOCUMENTS if path not in found] == []

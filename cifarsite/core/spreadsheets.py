"""Text in tables that leave the site: a spreadsheet must not run what a file name says."""

from __future__ import annotations

import unicodedata
from typing import Any

# Excel, LibreOffice and Google Sheets take a cell that begins so for a formula, in full width too.
FORMULA = ("=", "+", "-", "@")


def safe_cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe in front.

    Looked at in its plain form (NFKC), without the spaces and invisible characters before it.
    """
    if not isinstance(value, str) or not value:
        return value
    plain = unicodedata.normalize("NFKC", value)
    first = next((letter for letter in plain if unicodedata.category(letter)[0] not in "CZ"), "")
    return f"'{value}" if first in FORMULA or value[0] in "\t\r\n" else value

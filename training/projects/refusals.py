"""What is wrong with what somebody asks of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


class ProjectRefused(Exception):
    """Nothing was changed.

    Attributes:
        code: for programs.
        detail: a sentence that says what to do.
    """

    def __init__(self, code: str, detail: StrOrPromise) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return str(self.detail)

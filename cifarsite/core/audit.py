"""Lines of the audit log about models. The log itself is the site's: ``AUDIT`` names what writes it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string


def record(kind: str, *, by: Any = None, detail: str = "") -> None:
    """Add a line: ids and codes, never a name."""
    import_string(settings.AUDIT)(kind, by=by, detail=detail)

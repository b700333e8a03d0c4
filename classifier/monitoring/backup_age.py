"""When this host last made a good backup: a file, since the metrics of a web host ask no database for it."""

from __future__ import annotations

from datetime import UTC, datetime

from django.conf import settings

LAST_MADE = "last-backup"


def note_made() -> None:
    """This host has made a good backup now; told by its metrics."""
    (settings.VAR_DIR / LAST_MADE).touch()


def last_made_at() -> datetime | None:
    """When this host last made a good backup; None where it never did."""
    try:
        return datetime.fromtimestamp((settings.VAR_DIR / LAST_MADE).stat().st_mtime, UTC)
    except FileNotFoundError:
        return None

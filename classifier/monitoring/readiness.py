"""Can this site do its work now? What is missing, by name."""

from __future__ import annotations

import os
from pathlib import Path

from celery import current_app
from django.conf import settings
from django.db import DatabaseError, connection

from training import workers
from training.registry import model_store


def missing_parts(*, answers: bool = False) -> dict[str, str]:
    """Look at database, broker and champion, each within about a second.

    Args:
        answers: photos shall be answered now, not only taken in: a prediction worker must live.

    Returns:
        A sentence for each part that is missing; empty when the site is ready.
    """
    missing = {}
    checks = [("database", _database), ("broker", broker_problem), ("champion", _champion)]
    if answers:
        checks.append(("workers", _workers))
    for name, check in checks:
        problem = check()
        if problem:
            missing[name] = problem
            if name == "database":
                break  # the others lie there too
    return missing


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "The database does not answer."
    return ""


def broker_problem() -> str:
    """A sentence where messages cannot be sent; else empty."""
    options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
    if folder := options.get("data_folder_out"):
        writable = Path(folder).is_dir() and os.access(folder, os.W_OK)
        return "" if writable else "The broker's folder cannot be written."
    try:
        with current_app.connection_for_write() as broker:
            broker.ensure_connection(max_retries=1, timeout=1, interval_start=0)
    except Exception:  # each transport has errors of its own
        return "The broker does not answer."
    return ""


def _champion() -> str:
    return "" if model_store.champion() else "No model is installed: run 'manage.py install_pretrained'."


def _workers() -> str:
    if workers.is_alive("predict"):
        return ""
    seen = workers.last_seen("predict")
    since = f" since {seen:%Y-%m-%d %H:%M:%S} UTC" if seen else ""
    return f"No prediction worker has been seen{since}: uploaded photos stay queued."

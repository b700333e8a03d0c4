"""Fetch CIFAR-10 from where Keras does, a few seconds at a time; what came so far is kept.

A row says how far it is. The archive lies beside where its batches will: whoever goes on, after a lost
worker, a broken connection or a restart, asks the server for the rest alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import logging
import shutil
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from structlog.contextvars import bound_contextvars

from cifarsite.core import leases
from cifarsite.core.storage import is_full
from cifarsite.core.wakeups import publish
from training.data.cifar10_copy import fetched_folder
from training.engine.data.cifar10 import DatasetError, find_cifar10, load_cifar10
from training.evaluation import pretrained_reports
from training.models import DEFAULT_PROJECT, Cifar10Fetch, Project

logger = logging.getLogger(__name__)
# The address and the checksum are those of Keras.
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
BYTES = 170_498_071
TASK = "training.tasks.fetch_cifar10"
ARCHIVE = "cifar-10-python.tar.gz.part"
# Then the fetch goes back, so that the worker can do something else.
SLICE_SECONDS = 5.0
TELL_SECONDS = 0.5
PIECE = 256 * 1024
TIMEOUT_SECONDS = 30
Status = Cifar10Fetch.Status
OPEN = (Status.QUEUED, Status.RUNNING)


class _Lost(Exception):
    """The fetch is cancelled, or another worker's by now."""


class _Damaged(Exception):
    """The archive is not the one that Keras fetches."""


def request_fetch(by: Any = None) -> Cifar10Fetch:
    """The fetch that is under way, or a new one; it goes on where an earlier one stopped."""
    with transaction.atomic():
        # Two who ask at the same moment ask for one.
        Project.objects.select_for_update(no_key=True).get(pk=DEFAULT_PROJECT)
        row = Cifar10Fetch.objects.filter(status__in=OPEN).first()
        if row is None:
            row = Cifar10Fetch.objects.create(requested_by=by)
            transaction.on_commit(wake)
    return row


def cancel(row: Cifar10Fetch) -> bool:
    """Stop a fetch; what came so far is kept. False where it is over."""
    open_ones = Cifar10Fetch.objects.filter(pk=row.pk, status__in=OPEN)
    return bool(open_ones.update(status=Status.CANCELLED, claim=None, finished_at=timezone.now()))


def wake() -> bool:
    return publish(TASK)


def _fail_exhausted() -> int:
    return Cifar10Fetch.objects.fail_exhausted(
        status=Status.FAILED, error_code="lost", finished_at=timezone.now()
    )


QUEUE = leases.Queue(
    "cifar10_fetches",
    Cifar10Fetch.objects.claimable,
    _fail_exhausted,
    wake=lambda waiting: waiting.overdue().exists() and wake(),
)


def fetch_slice(worker: str) -> bool:
    """Carry the fetch on for a few seconds. Was there one?"""
    rows = Cifar10Fetch.objects.claimable().order_by("id").claim(worker=worker)
    if not rows:
        return False
    row = rows[0]
    with bound_contextvars(request_id=row.request_id):
        try:
            with _alone() as alone:
                done = alone and _carry_on(row)
            if done:
                _end(row, Status.DONE)
            elif leases.owned(row).release() and alone:
                wake()
        except _Lost:
            logger.info("Fetch %s of CIFAR-10 is cancelled, or another worker's by now.", row.pk)
        except _Damaged:
            _end(row, Status.FAILED, "damaged")
        except DatasetError as error:
            _end(row, Status.FAILED, "", str(error))
        except (OSError, http.client.HTTPException, tarfile.TarError) as error:
            _try_again(row, error)
    return True


@contextmanager
def _alone() -> Iterator[bool]:
    """Only one process of this host writes to the archive: one that was frozen may still be at it."""
    fetched_folder().mkdir(parents=True, exist_ok=True)
    with (fetched_folder() / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _carry_on(row: Cifar10Fetch) -> bool:
    """Fetch for a few seconds; of a whole archive, check it, unpack it, show its images. Is it done?

    Raises:
        _Damaged, DatasetError: what came is not CIFAR-10.
        OSError, HTTPException, TarError: the network or the disk fails.
        _Lost: see there.
    """
    if find_cifar10(fetched_folder()) is None:
        archive = fetched_folder() / ARCHIVE
        if not _fetch(row, archive):
            return False
        _unpack(row, archive)
    _tell(row, row.received, row.total)
    pretrained_reports.show_images(load_cifar10(fetched_folder()))
    return True


def _fetch(row: Cifar10Fetch, archive: Path) -> bool:
    """Is the archive whole?"""
    begun = told = time.monotonic()
    have = archive.stat().st_size if archive.exists() else 0
    request = urllib.request.Request(URL, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to fetch: the checksum decides
            return True
        raise
    with answer, archive.open("ab") as file:
        # A server that sends all from the beginning must be heard to the end: it would begin anew each time.
        is_whole = bool(have) and answer.status != 206
        if answer.status != 206:
            file.truncate(0)
            have = 0
        total = have + int(answer.headers.get("Content-Length") or 0)
        while piece := answer.read1(PIECE):
            file.write(piece)
            have += len(piece)
            if time.monotonic() - told > TELL_SECONDS:
                file.flush()
                _tell(row, have, total)
                told = time.monotonic()
            if told - begun > SLICE_SECONDS and not is_whole:
                return False
        if have < total:
            raise ConnectionError("The connection ended early.")
    _tell(row, have, total)
    return True


def _unpack(row: Cifar10Fetch, archive: Path) -> None:
    """Check the archive and put its batches where they are looked for, all at once."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        archive.unlink()
        raise _Damaged
    made, target = fetched_folder() / "unpacked", fetched_folder() / "cifar-10-batches-py"
    try:
        shutil.rmtree(made, ignore_errors=True)  # of a worker that was killed in the middle
        with tarfile.open(archive) as packed:
            packed.extractall(made, filter="data")
        _tell(row, row.received, row.total)
        load_cifar10(made)
        shutil.rmtree(target, ignore_errors=True)
        (made / target.name).rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    archive.unlink()


def _tell(row: Cifar10Fetch, received: int, total: int) -> None:
    """Write how far it is, and keep the lease; an attempt that gets on is not one of those that fail."""
    row.received, row.total = received, total
    mine = leases.owned(row).filter(status=Status.RUNNING)
    if not mine.update(received=received, total=total, attempt=1) or not leases.renew(row):
        raise _Lost


def _try_again(row: Cifar10Fetch, error: Exception) -> None:
    """Leave it to the next attempt, but not for ever."""
    row.refresh_from_db(fields=["attempt"])
    if row.attempt < settings.MAX_ATTEMPTS and not is_full(error):
        logger.warning("CIFAR-10 could not be fetched, it is tried again: %s", error)
        leases.owned(row).update(status=Status.QUEUED, claim=None, lease_expires_at=None)
        return
    archive = fetched_folder() / ARCHIVE
    row.received = archive.stat().st_size if archive.exists() else 0
    _end(row, Status.FAILED, _code(error), str(error))


def _code(error: Exception) -> str:
    if is_full(error):
        return "full"
    if isinstance(error, urllib.error.HTTPError):
        return "refused"
    if isinstance(error, urllib.error.URLError):
        return "unreachable"
    if isinstance(error, (ConnectionError, TimeoutError, http.client.HTTPException)):
        return "broken"
    return "other"


def _end(row: Cifar10Fetch, status: Status, code: str = "", detail: str = "") -> bool:
    mine = leases.owned(row).filter(status=Status.RUNNING)
    written = {"error_code": code, "error_detail": detail, "received": row.received}
    return bool(mine.update(status=status, claim=None, finished_at=timezone.now(), **written))


def reason(row: Cifar10Fetch) -> str:
    """Why a fetch failed and what to do, in the reader's language; empty where it did not."""
    elsewhere = _("Or set CIFAR10_DIR to a folder that has CIFAR-10.")
    known = {
        "unreachable": _("%(address)s cannot be reached: check this site's network.") + " " + elsewhere,
        "refused": _("%(address)s answered '%(error)s': try again later.") + " " + elsewhere,
        "broken": _("The connection to %(address)s broke off.") + " " + elsewhere,
        "full": _("The disk is full: make room."),
        "damaged": _("The file that came from %(address)s is damaged (its SHA-256 differs). Fetch it again."),
        "lost": _("The worker was lost again and again: see its log."),
        "other": _("CIFAR-10 could not be fetched from %(address)s: %(error)s."),
    }
    if row.error_code not in known:
        return row.error_detail
    said = known[row.error_code] % {"address": URL, "error": row.error_detail}
    if row.received and row.error_code != "damaged":
        said += " " + _("Fetch it again to go on from there.")
    return said

"""What workers do with imports: check and re-encode some files, write their rows, look again.

A group of images is committed together with the place in the plan, so whatever stops in between, the next
worker goes on there. One worker at a time has an import; it gives it back every few seconds.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from structlog.contextvars import bound_contextvars

from cifarsite.core import leases
from cifarsite.core.leases import LeasedQuerySet
from cifarsite.core.storage import StorageUnavailable, is_full
from classifier.images.errors import ImageRefused
from classifier.images.sandbox import CHILDREN, training_copy_isolated
from classifier.images.training_copies import TrainingCopy
from classifier.models import Photo, Prediction, User
from classifier.predictions import inference, queue
from classifier.uploads import project_imports
from classifier.uploads.errors import ArchiveRefused, EntryRefused
from classifier.uploads.import_plan import Plan, Planned
from classifier.uploads.photos import clean_filename
from classifier.uploads.project_imports import State, usable_photos, wake
from classifier.uploads.zip_reader import Archive, archive_limits, open_archive
from training.models import ProjectImport
from training.models.projects import class_key
from training.projects import classes, removals
from training.projects.additions import Addition, Collection, Picture, path_of, store

logger = logging.getLogger(__name__)

# Images whose rows are written in one transaction. Where a worker is lost, they are made once more.
GROUP = 32
# Then the import goes back, so that others have their turn.
SLICE_SECONDS = 5.0
RENEW_SECONDS = 5.0
# How often it is looked whether somebody waits for a single photo meanwhile.
LOOK_SECONDS = 0.1
ERRORS_KEPT = 1_000
AGAIN = gettext_lazy(
    "The images so far are kept. Import the archive again: what is there already is passed over."
)
PHOTO_GONE = gettext_lazy("This photo was deleted, or its owner's consent was withdrawn.")


class _Lost(Exception):
    """The import is another worker's by now, or cancelled."""


class _Unreadable(Exception):
    """The import's archive or plan is gone or damaged."""


@dataclass
class _Read:
    """A file that was read, and what comes of its decoding, or why there is none."""

    planned: Planned
    copy: Future[TrainingCopy] | None = None
    code: str = ""
    detail: Any = ""


@dataclass
class _Group:
    """What is committed together."""

    pictures: list[tuple[Planned, Picture]] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    count: int = 0

    def refuse(self, planned: Planned, code: str, detail: Any) -> None:
        self.errors.append({"filename": planned.name[-255:], "code": code, "detail": str(detail)})


# What a worker knows of the import that it had last: a plan of 10,000 files is not read again each time.
_last: _Work | None = None


def import_slice(worker: str, only: ProjectImport | None = None) -> int:
    """Carry an import on for a few seconds. Returns how many files were dealt with.

    Args:
        only: this one; else the oldest that waits.
    """
    rows = claimable() if only is None else claimable().filter(pk=only.pk)
    claimed = rows.order_by("created_at").claim(worker=worker)
    if not claimed:
        return 0
    row = claimed[0]
    language = row.requested_by.language if isinstance(row.requested_by, User) else ""
    with (
        translation.override(language or settings.LANGUAGE_CODE),
        bound_contextvars(request_id=row.request_id),
    ):
        try:
            return _carry_on(row, worker)
        except _Lost:
            logger.info("Import %s is cancelled, or another worker's by now.", row.pk)
        except StorageUnavailable as error:
            # No file is at fault: the import goes back uncharged, and the sweeper asks again.
            leases.owned(row).release()
            logger.warning("An import stays queued until the file storage responds: %s", error)
        except _Unreadable as error:
            logger.warning("Import %s: %s", row.pk, error)
            _end(row, State.FAILED, _("The archive can no longer be read. Upload it again."))
        except Exception as error:
            if not is_full(error):
                raise
            _end(row, State.FAILED, _("The site has no space left: free some.") + " " + str(AGAIN))
    return 0


def _carry_on(row: ProjectImport, worker: str) -> int:
    global _last
    work = _last if _last and _last.row.pk == row.pk else _Work(row)
    _last = None  # nothing is kept of work that fails
    work.row = row
    done = work.carry_on(worker)
    if row.cursor < row.total:
        _last = work
    return done


def claimable() -> LeasedQuerySet[ProjectImport]:
    return ProjectImport.objects.claimable()


def _fail_exhausted() -> int:
    lost = _("The worker was lost %(attempts)d times at the same file.") % {"attempts": settings.MAX_ATTEMPTS}
    return sum(_end(row, State.FAILED, f"{lost} {AGAIN}") for row in ProjectImport.objects.exhausted())


QUEUE = leases.Queue(
    "imports", claimable, _fail_exhausted, wake=lambda waiting: waiting.overdue().exists() and wake()
)


def _end(row: ProjectImport, state: str, detail: str = "") -> bool:
    """The import is over, unless it is somebody else's by now; its archive goes."""
    notes = " ".join(filter(None, (row.error_detail, detail)))
    ended = leases.owned(row).filter(state=State.RUNNING)
    if not ended.update(state=state, claim=None, finished_at=timezone.now(), error_detail=notes):
        return False
    project_imports.forget_files(row)
    return True


class _Work:
    """One import on its way."""

    def __init__(self, row: ProjectImport) -> None:
        self.row = row
        try:
            self.plan: Plan = project_imports.read_plan(row)
        except (FileNotFoundError, ValueError) as error:
            raise _Unreadable from error
        self.collection = Collection(row.project)
        self.archive: Archive | None = None
        self.unpacked = 0
        # Where the last worker was lost each time.
        self.suspect: Planned | None = None

    def carry_on(self, worker: str) -> int:
        row, begun = self.row, time.monotonic()
        # The last worker was lost here: a file may be the reason, so they come one by one.
        careful = row.attempt > 1
        start = row.cursor
        self.suspect = self.plan.entries[start] if row.attempt >= settings.MAX_ATTEMPTS else None
        with self._opened(), ThreadPoolExecutor(1 if careful else CHILDREN, "decode") as pool:
            try:
                for group in self._groups(pool, 1 if careful else GROUP, begun, worker):
                    self._commit(group)
                    if time.monotonic() - begun > SLICE_SECONDS:
                        break
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        if row.cursor >= row.total:
            self._finish()
        elif leases.owned(row).release():
            wake()
        return row.cursor - start

    def _opened(self) -> Any:
        if not self.row.archive:
            return nullcontext()
        try:
            file = self.row.archive.open("rb")
        except FileNotFoundError as error:
            raise _Unreadable from error
        try:
            self.archive = self.archive or open_archive(file)
        except ArchiveRefused as error:
            file.close()
            raise _Unreadable from error
        self.archive.reopen(file)
        return file

    def _groups(self, pool: ThreadPoolExecutor, size: int, begun: float, worker: str) -> Iterator[_Group]:
        group = _Group()
        renewed = looked = time.monotonic()
        for read in self._read_ahead(pool):
            if time.monotonic() - renewed > RENEW_SECONDS:
                renewed = time.monotonic()
                leases.renew(self.row)
            if time.monotonic() - looked > LOOK_SECONDS:
                if queue.claimable().filter(priority=Prediction.Priority.INTERACTIVE).exists():
                    inference.predict_pending(worker)
                looked = time.monotonic()
            planned = read.planned
            group.count += 1
            try:
                if read.copy is None:
                    group.refuse(planned, read.code, read.detail)
                else:
                    group.pictures.append((planned, Picture(**asdict(read.copy.result()))))
            except ImageRefused as refusal:
                group.refuse(planned, refusal.code, refusal.detail)
            if group.count >= size or time.monotonic() - begun > SLICE_SECONDS:
                yield group
                group = _Group()
        if group.count:
            yield group

    def _read_ahead(self, pool: ThreadPoolExecutor) -> Iterator[_Read]:
        """One after the other, in their order; a few more than there are decoders are under way."""
        ahead: deque[_Read] = deque()
        for place in range(self.row.cursor, self.row.total):
            ahead.append(self._read(self.plan.entries[place], pool))
            if self.row.attempt > 1 or len(ahead) > 2 * CHILDREN:
                yield ahead.popleft()
        yield from ahead

    def _read(self, planned: Planned, pool: ThreadPoolExecutor) -> _Read:
        """Unpack one file and have its decoding begun."""
        read = _Read(planned, code=planned.code, detail=planned.detail)
        if planned is self.suspect:
            read.code = "worker_lost"
            read.detail = _("The worker was lost at this file each time. Save it as JPEG and try again.")
            return read
        try:
            content = self._content(planned)
        except EntryRefused as refusal:
            read.code, read.detail = refusal.code, refusal.detail
            return read
        if content is None:
            read.code, read.detail = "photo_gone", PHOTO_GONE
        elif planned.label:
            # In this thread's context, so that what is logged names the request.
            read.copy = pool.submit(copy_context().run, training_copy_isolated, content)
        return read

    def _content(self, planned: Planned) -> bytes | None:
        if isinstance(planned.source, int):
            assert self.archive is not None
            if not planned.label:
                # A name that points outside the archive is told first.
                self.archive.check(planned.source)
                return b""
            if self.unpacked > archive_limits().unpacked_bytes:
                raise EntryRefused("unpacked_too_large", limit=settings.BATCH_MAX_UNPACKED_MB)
            content = self.archive.read(planned.source)
            self.unpacked += len(content)
            return content
        photo = Photo.objects.filter(pk=planned.source, deleted_at=None).first()
        if photo is None:
            return None
        try:
            with photo.display.open("rb") as file:
                return bytes(file.read())
        except (FileNotFoundError, ValueError):
            return None

    def _commit(self, group: _Group) -> None:
        """Write a group's images and the place in the plan; nothing where the import is not ours any more."""
        row, project = self.row, self.row.project
        pictures = [picture for _planned, picture in group.pictures]
        known = project.images.filter(sha256__in=[picture.sha256 for picture in pictures])
        there = set(known.values_list("sha256", flat=True))
        fresh = {p.sha256: p for p in pictures if p.sha256 not in there}
        stored: list[str] = []
        try:
            stored = store(project, list(fresh.values()))
            with transaction.atomic():
                classes.hold(project)
                additions = self._additions(group)
                self.collection.add(additions, imported_by=row)
                added, doubles = self._outcome(group, additions)
                self._note(group, added, doubles)
        except BaseException:
            removals.remove_later(stored or [path_of(project.pk, picture) for picture in fresh.values()])
            raise
        missing = {one.picture.sha256 for one in additions if one.image} - set(fresh)
        if missing:  # removed by somebody since it was looked
            store(project, [picture for picture in pictures if picture.sha256 in missing])

    def _additions(self, group: _Group) -> list[Addition]:
        planned = group.pictures
        if self.plan.kind != "archive":
            ids = [UUID(str(one.source)) for one, _picture in planned]
            usable = usable_photos(self.plan.kind, self.row.project, ids)
            for one, _picture in planned:
                if UUID(str(one.source)) not in usable:
                    group.refuse(one, "photo_gone", PHOTO_GONE)
            planned = [pair for pair in planned if UUID(str(pair[0].source)) in usable]
        rows = classes.find_or_add(self.row.project, [one.label for one, _picture in planned])
        return [
            Addition(
                picture,
                rows[class_key(one.label)],
                clean_filename(one.name),
                photo=None if self.plan.kind == "archive" else UUID(str(one.source)),
            )
            for one, picture in planned
        ]

    def _outcome(self, group: _Group, additions: list[Addition]) -> tuple[int, int]:
        """How many were added, and how many were there already; the same image under two classes is told."""
        names = {id(picture): planned for planned, picture in group.pictures}
        for one in additions:
            if one.same and not one.is_double:
                group.refuse(
                    names[id(one.picture)],
                    "two_classes",
                    _(
                        "The same image is in class '%(other)s' already, as '%(name)s'. Decide which class "
                        "it shows: keep it in one folder, or relabel it on the project's page."
                    )
                    % {"other": one.same.label.name, "name": one.same.filename},
                )
        return sum(bool(one.image) for one in additions), sum(one.is_double for one in additions)

    def _note(self, group: _Group, added: int, doubles: int) -> None:
        row = self.row
        changes: dict[str, Any] = {}
        if group.errors and len(row.errors) < ERRORS_KEPT:
            row.errors = (row.errors + group.errors)[:ERRORS_KEPT]
            changes["errors"] = row.errors
        ours = leases.owned(row).filter(state=State.RUNNING, cursor=row.cursor)
        changed = ours.update(
            cursor=row.cursor + group.count,
            added=F("added") + added,
            duplicates=F("duplicates") + doubles,
            failed=F("failed") + len(group.errors),
            attempt=1,  # it moves on: only losses at the same place are counted
            **changes,
        )
        if not changed:
            raise _Lost
        row.cursor += group.count

    def _finish(self) -> None:
        row = ProjectImport.objects.get(pk=self.row.pk)
        if row.claim != self.row.claim:
            return
        if not row.added and not row.duplicates:
            _end(row, State.FAILED, _("Nothing was imported: each file has an error, see there what to do."))
            return
        _end(row, State.DONE)
        logger.info("Import %s: %d images added", row.pk, row.added)

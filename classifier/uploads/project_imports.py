"""Labelled images into a project: from a ZIP archive, a batch with true labels, or accepted corrections.

Every import is a row and a plan of its files; workers carry it out (``classifier.uploads.import_worker``).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from typing import Any, BinaryIO
from uuid import UUID

from django.core.files import File
from django.core.files.base import ContentFile
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from cifarsite.core.storage import is_full, remove_files
from cifarsite.core.wakeups import publish
from classifier.feedback.training_photos import usable
from classifier.models import Batch, Consent, Photo, User
from classifier.uploads.errors import ArchiveRefused, StorageFull
from classifier.uploads.import_plan import Plan, make_plan, plan_archive
from classifier.uploads.photos import clean_filename
from classifier.uploads.zip_reader import archive_limits, open_archive
from training.models import Project, ProjectImport
from training.projects import classes, images
from training.projects.refusals import ProjectRefused

State = ProjectImport.State
OPEN = (State.QUEUED, State.RUNNING)
TASK = "classifier.tasks.import_images"


def import_archive(
    project: Project,
    archive: BinaryIO | File[Any],
    *,
    filename: str,
    by: User | None,
    labels: BinaryIO | File[Any] | None = None,
    wake_workers: bool = True,
) -> ProjectImport:
    """Keep a ZIP archive, plan what class each of its files has, and wake a worker.

    Args:
        archive: with a folder for each class; seekable.
        labels: a CSV of ``filename,label``, instead of folders.

    Raises:
        ProjectRefused, ArchiveRefused, TruthRefused, StorageFull: ``code`` and ``detail``; nothing was
            stored.
    """
    classes.refuse_fixed(project)
    limits = archive_limits()
    if archive.seek(0, io.SEEK_END) > limits.archive_bytes:
        raise ArchiveRefused("archive_too_large", limit=limits.archive_bytes // 1024**2)
    archive.seek(0)
    plan = plan_archive(project, open_archive(archive).entries(), labels)
    archive.seek(0)
    row = _row(project, by, clean_filename(filename), plan)
    return _keep(row, plan, archive, wake_workers)


def import_batch(project: Project, batch: Batch, *, by: User) -> ProjectImport:
    """Import the photos of a batch whose true labels are known.

    Only one's own batch: photos are private to their owners.

    Raises:
        ProjectRefused: it is another person's, or none of its photos has a label.
    """
    classes.refuse_fixed(project)
    items = batch.items.filter(photo__deleted_at=None).exclude(photo=None).exclude(truth="")
    if batch.owner_id != by.pk or not items.exists():
        raise ProjectRefused(
            "no_labels",
            _(
                "This batch has no photos of yours with true labels: upload it again with a table of labels, "
                "or with a folder for each class."
            ),
        )
    found = items.order_by("number").values_list("photo", "name", "truth")
    return _of_photos(project, "batch", batch.filename, list(found), by)


def import_corrections(project: Project, *, by: User | None) -> ProjectImport:
    """Import the photos of this project whose corrections were accepted and whose owners agreed to that.

    Raises:
        ProjectRefused: there are none that the project does not have yet.
    """
    classes.refuse_fixed(project)
    taken = project.images.exclude(photo=None).values("photo")
    rows = usable(project.pk).exclude(photo__in=taken).order_by("pk")
    found = list(rows.values_list("photo", "photo__filename", "label"))
    if not found:
        raise ProjectRefused(
            "no_corrections",
            _(
                "There are no accepted corrections of this project's photos to import: review some first. "
                "Those whose owners gave no consent are left out."
            ),
        )
    return _of_photos(project, "corrections", str(_("Accepted corrections")), found, by)


def usable_photos(kind: str, project: Project, ids: Sequence[UUID]) -> set[UUID]:
    """Which of these photos may still become images of a project. In a transaction, which holds them.

    Whoever deletes one or withdraws consent meanwhile waits, and then finds what was made of it.
    """
    photos = Photo.objects.filter(pk__in=ids, deleted_at=None).order_by("pk")
    found = dict(photos.select_for_update().values_list("pk", "owner"))
    if kind == "corrections":
        agreed = Consent.objects.filter(user__in=set(found.values()), given=True).order_by("pk")
        owners = set(agreed.select_for_update().values_list("user", flat=True))
        kept = set(usable(project.pk).filter(photo__in=found).values_list("photo", flat=True))
        return {pk for pk, owner in found.items() if owner in owners and pk in kept}
    return set(found)


def cancel(row: ProjectImport) -> bool:
    """Stop an import and remove what it added, its new classes too. False where it is over already."""
    with transaction.atomic():
        # A worker that stores images holds the project too: it comes before this, or finds its claim gone.
        classes.hold(row.project)
        changed = ProjectImport.objects.filter(pk=row.pk, state__in=OPEN).update(
            state=State.CANCELLED, cancel_requested=True, claim=None, finished_at=timezone.now()
        )
        if changed:
            new = _new_classes(row)
            images.remove(row.project.images.filter(imported_by=row))
            row.project.classes.filter(key__in=new, images=None).delete()
            transaction.on_commit(partial(forget_files, row))
    row.refresh_from_db()
    return bool(changed)


def read_plan(row: ProjectImport) -> Plan:
    """Raises ``FileNotFoundError`` or ``ValueError`` where the import's files are gone."""
    with row.labels.open("rb") as file:
        return Plan.from_json(file.read())


def _new_classes(row: ProjectImport) -> list[str]:
    try:
        return read_plan(row).new
    except (FileNotFoundError, ValueError):
        return []


def forget_files(row: ProjectImport) -> None:
    """Only what this site re-encoded is kept: the originals go as soon as they are not needed."""
    names = [row.archive.name, row.labels.name]
    ProjectImport.objects.filter(pk=row.pk).update(archive="", labels="")
    remove_files(names)


def wake() -> bool:
    """Tell a worker to look; a lost message is made good by the sweeper."""
    return publish(TASK)


def _of_photos(
    project: Project, kind: str, name: str, found: Sequence[tuple[UUID, str, str]], by: User | None
) -> ProjectImport:
    sources: list[tuple[int | str, str]] = [(str(pk), clean_filename(file)) for pk, file, _label in found]
    plan = make_plan(project, kind, sources, [label for _pk, _file, label in found])
    return _keep(_row(project, by, name, plan), plan)


def _row(project: Project, by: User | None, filename: str, plan: Plan) -> ProjectImport:
    return ProjectImport(
        project=project,
        requested_by=by,
        filename=filename,
        total=len(plan.entries),
        error_detail=" ".join(plan.notes),
    )


def _keep(
    row: ProjectImport, plan: Plan, archive: BinaryIO | File[Any] | None = None, wake_workers: bool = True
) -> ProjectImport:
    """Store the files, then the row; a failure takes the files away again."""
    try:
        row.labels.save("plan.json", ContentFile(plan.as_json()), save=False)
        if archive is not None:
            content = archive if isinstance(archive, File) else File(archive)
            row.archive.save("archive.zip", content, save=False)
        with transaction.atomic():
            row.save(force_insert=True)
            if wake_workers:
                transaction.on_commit(wake)
    except BaseException as error:
        remove_files([row.labels.name, row.archive.name])
        if is_full(error):
            raise StorageFull() from error
        raise
    return row

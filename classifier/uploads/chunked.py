"""An archive comes in pieces, so that an upload goes on where a lost connection stopped it.

In the manner of tus: the site says how many bytes it has, the browser sends the next piece with its
offset. Pieces are files of the storage and rows of the database, so whichever web process or host
answers next goes on, after a restart too. The last request puts the pieces together as a batch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import timedelta
from typing import IO, Any, BinaryIO
from uuid import UUID

from django.core.files import File
from django.core.files.base import ContentFile
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from cifarsite.core.storage import is_full, remove_files
from classifier.models import ArchivePart, ArchiveUpload, Batch, User
from classifier.uploads.batches import create_batch
from classifier.uploads.errors import ArchiveRefused, StorageFull, UploadRefused
from classifier.uploads.photos import clean_filename
from classifier.uploads.zip_reader import archive_limits
from training.models import DEFAULT_PROJECT

PIECE_BYTES = 4 * 1024 * 1024
# Uploads of one person that are not finished; one more ends the oldest.
UNFINISHED = 3
KEPT = timedelta(hours=24)
FINGERPRINT_LENGTH = 100


class WrongOffset(Exception):
    """Another byte is wanted next; ``received`` says which."""

    def __init__(self, received: int) -> None:
        super().__init__(received)
        self.received = received


def begin(
    owner: User, *, filename: str, size: int, fingerprint: str, project: str = DEFAULT_PROJECT
) -> ArchiveUpload:
    """Begin an upload, or go on with the unfinished one of the same file.

    Args:
        size: of the whole archive, in bytes.
        fingerprint: chosen by the browser; the same for the same file, up to 100 characters.

    Raises:
        ArchiveRefused: the archive is too large, or empty.
    """
    if size > archive_limits().archive_bytes:
        raise ArchiveRefused("archive_too_large", limit=archive_limits().archive_bytes // 1024**2)
    if size < 1:
        raise ArchiveRefused("not_an_archive")
    mine = ArchiveUpload.objects.filter(owner=owner, batch=None)
    name, fingerprint = clean_filename(filename), fingerprint[:FINGERPRINT_LENGTH]
    same = {"filename": name, "size": size, "fingerprint": fingerprint, "project_id": project}
    known = mine.filter(**same).last()
    if known:
        return known
    for old in mine.order_by("-changed_at")[UNFINISHED - 1 :]:
        remove(old)
    return ArchiveUpload.objects.create(owner=owner, **same)


def append(upload: ArchiveUpload, offset: int, content: bytes) -> int:
    """Keep a piece. Returns how many bytes there are now.

    Raises:
        WrongOffset: the piece begins elsewhere, as after an answer that was lost.
        UploadRefused: it is empty, too long, or goes beyond the archive.
        StorageFull: there is no space for it.
    """
    if offset != upload.received or upload.batch_id:
        raise WrongOffset(upload.received)
    if not 0 < len(content) <= min(PIECE_BYTES, upload.size - offset):
        raise UploadRefused("bad_piece", _("This part of the archive has the wrong length. Start again."))
    part = ArchivePart(upload=upload, offset=offset)
    try:
        part.file.save("", ContentFile(content), save=False)
        with transaction.atomic():
            part.save()
            here = ArchiveUpload.objects.filter(pk=upload.pk, received=offset)
            if not here.update(received=offset + len(content), changed_at=timezone.now()):
                raise IntegrityError
    except IntegrityError as error:
        # The same piece came twice at once, or the upload was removed meanwhile.
        remove_files([part.file.name])
        upload.refresh_from_db()
        raise WrongOffset(upload.received) from error
    except OSError as error:
        remove_files([part.file.name])
        if is_full(error):
            raise StorageFull() from error
        raise
    upload.received = offset + len(content)
    return upload.received


def finish(
    upload: ArchiveUpload, *, truth: BinaryIO | File[Any] | None = None, folders_are_truth: bool = True
) -> Batch:
    """Make a batch of the whole archive; asked again, the answer is the same batch.

    Raises:
        WrongOffset: bytes are missing.
        ArchiveRefused, TruthRefused, StorageFull: as ``create_batch``. What is wrong with the
            archive ends the upload; a bad table of labels does not.
    """
    if upload.batch:
        return upload.batch
    if upload.received != upload.size:
        raise WrongOffset(upload.received)
    try:
        with tempfile.TemporaryFile() as whole:
            _put_together(upload, whole)
            batch = create_batch(
                upload.owner,
                File(whole),
                filename=upload.filename,
                truth=truth,
                folders_are_truth=folders_are_truth,
                again=False,
                project=upload.project_id,
            )
    except ArchiveRefused:
        remove(upload)
        raise
    except OSError as error:
        if is_full(error):
            raise StorageFull() from error
        raise
    # Two requests that finish at once: the second batch is another copy that waits for a choice.
    ArchiveUpload.objects.filter(pk=upload.pk).update(batch=batch, changed_at=timezone.now())
    _remove_parts(upload)
    return batch


def find(owner: User, pk: UUID) -> ArchiveUpload | None:
    return ArchiveUpload.objects.filter(pk=pk, owner=owner).select_related("owner", "batch").first()


def remove(upload: ArchiveUpload) -> None:
    """Forget an upload and its bytes."""
    _remove_parts(upload)
    upload.delete()


def purge(limit: int = 100) -> int:
    """The sweeper's part: remove what nobody went on with for a day. Returns how many."""
    old = ArchiveUpload.objects.filter(changed_at__lt=timezone.now() - KEPT)[:limit]
    for upload in old:
        remove(upload)
    return len(old)


def _put_together(upload: ArchiveUpload, whole: IO[bytes]) -> None:
    for piece in _pieces(upload):
        whole.write(piece)
    whole.seek(0)


def _pieces(upload: ArchiveUpload) -> Iterator[bytes]:
    for part in upload.parts.order_by("offset"):
        with part.file.open("rb") as file:
            yield file.read()


def _remove_parts(upload: ArchiveUpload) -> None:
    names = list(upload.parts.values_list("file", flat=True))
    upload.parts.all().delete()
    remove_files(names)

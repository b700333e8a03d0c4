"""A photo comes in: checked, re-encoded, stored with its pending prediction."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from django.conf import settings
from django.core.files.base import ContentFile
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from cifarsite.core import metrics
from cifarsite.core.storage import StorageUnavailable, is_full, remove_files
from classifier.images.errors import ImageRefused
from classifier.images.sandbox import DecoderUnavailable, check_isolated
from classifier.images.validation import CheckedImage, declared_pixels, limits_from_settings, read_limited
from classifier.models import Photo, Prediction, User, display_path, input_path, thumbnail_path
from classifier.photos import daily_counts
from classifier.photos.search import note_words
from classifier.predictions.queue import is_crowded, wake
from classifier.uploads import admission
from classifier.uploads.filenames import without_controls
from training.models import DEFAULT_PROJECT
from training.registry.model_store import live_preprocessing

logger = logging.getLogger(__name__)

UNNAMED = "photo"
CROWDED = _("The site's queue is full. Nothing was stored; try again in a minute.")
TOO_MANY_AT_ONCE = _(
    "The site is still storing other photos of yours. This photo was not stored; send it "
    "again when they are done."
)
BUSY = _("The site cannot accept photos at the moment. Nothing was stored; try again in a minute.")


def upload_photo(
    owner: User,
    file: BinaryIO,
    *,
    filename: str = "",
    project: str = DEFAULT_PROJECT,
) -> Photo:
    """Store a photo and ask for its prediction, both or neither.

    Args:
        project: whose champion answers; see ``photos.projects.project_for_upload`` for who may name it.
        file: a readable binary file; its ``name`` is kept where ``filename`` is empty.

    Raises:
        ImageRefused: with one of the contract's codes and a sentence; nothing was stored.
    """
    try:
        return _upload(owner, file, filename, project)
    except ImageRefused as refusal:
        metrics.PHOTOS_REFUSED.labels(refusal.code).inc()
        raise


def _upload(owner: User, file: BinaryIO, filename: str, project: str) -> Photo:
    if is_crowded():  # take no more in than can be answered soon
        raise ImageRefused("busy", CROWDED)
    refuse_beyond_quota(owner)  # before it is decoded; what counts is the look when it is stored
    preprocessing = live_preprocessing(project)
    limits = limits_from_settings()
    pixels = declared_pixels(read_limited(file, limits), limits)
    name = clean_filename(filename or getattr(file, "name", "") or "")
    try:
        with admission.uploads.turn(owner.pk, pixels):
            file.seek(0)  # read again: those who wait would hold up to 20 MB each
            checked = check_isolated(read_limited(file, limits), preprocessing=preprocessing, limits=limits)
            return _store(owner, checked, filename=name, preprocessing=preprocessing, project=project)
    except admission.NoTurn as error:
        raise ImageRefused("busy", TOO_MANY_AT_ONCE if error.is_own else CROWDED) from error
    except DecoderUnavailable as error:
        logger.exception("No decoder process could be started.")
        raise ImageRefused("busy", BUSY) from error
    except StorageUnavailable as error:
        logger.warning("A photo could not be stored: %s", error)
        raise ImageRefused("busy", BUSY) from error


def hold_quota(owner: User) -> None:
    """Until the transaction ends nobody else adds photos of this person, so that what was counted holds."""
    User.objects.select_for_update(no_key=True).filter(pk=owner.pk).first()


def refuse_beyond_quota(owner: User) -> None:
    """Raises ``ImageRefused`` where the person has as many photos as they may."""
    if daily_counts.room(owner, settings.QUOTA_PHOTOS) < 1:
        raise ImageRefused(
            "quota",
            _("You have %(count)s photos, which is the limit. Delete some and try again.")
            % {"count": settings.QUOTA_PHOTOS},
        )


def _store(owner: User, checked: CheckedImage, **of_photo: str) -> Photo:
    """Write the files, then the rows, and wake a worker; a failure takes the files away again."""
    made = write_files(owner, checked, priority=Prediction.Priority.INTERACTIVE, **of_photo)
    with files_of([made]), transaction.atomic():
        hold_quota(owner)
        refuse_beyond_quota(owner)
        add_rows([made])
        transaction.on_commit(wake)
    metrics.PHOTOS_ACCEPTED.inc()
    return made.photo


def write_files(
    owner: User,
    checked: CheckedImage,
    *,
    filename: str,
    preprocessing: str,
    priority: Prediction.Priority,
    project: str,
) -> Prediction:
    """The question about a new photo, and the photo in it, for ``add_rows``; their files are stored."""
    photo = Photo(
        owner=owner,
        project_id=project,
        filename=filename,
        width=checked.width,
        height=checked.height,
        size=checked.size,
        damaged=checked.damaged,
        pixel_sha256=checked.pixel_sha256,
        brightness=checked.brightness,
        contrast=checked.contrast,
        sharpness=checked.sharpness,
    )
    prediction = Prediction(
        photo=photo,
        owner=owner,
        project_id=project,
        priority=priority,
        preprocessing=preprocessing,
        input_sha256=checked.input_sha256,
    )
    with files_of([prediction]):
        photo.display.save("", ContentFile(checked.display), save=False)
        photo.thumbnail.save("", ContentFile(checked.thumbnail), save=False)
        prediction.input.save("", ContentFile(checked.input), save=False)
    return prediction


@contextmanager
def files_of(made: Sequence[Prediction]) -> Iterator[None]:
    """Takes the files of new photos away again where what is done inside fails.

    Raises:
        ImageRefused: it failed because a disk is full; else what was raised inside.
    """
    try:
        yield
    except BaseException as error:
        remove_new(made)
        if is_full(error):
            raise ImageRefused(
                "storage_full",
                _("The site has no space left for photos. Nothing was stored; try again later."),
            ) from error
        raise


def remove_new(made: Iterable[Prediction]) -> None:
    """Remove the files of photos that get no rows; a file half written too, as a full disk leaves it."""
    names: list[str] = []
    for row in made:
        photo = row.photo
        names.append(photo.display.name or display_path(photo, ""))
        names.append(photo.thumbnail.name or thumbnail_path(photo, ""))
        names.append(row.input.name or input_path(row, ""))
    remove_files(names)


def add_rows(made: Sequence[Prediction]) -> None:
    """The rows of new photos and of the questions about them, inside the caller's transaction."""
    photos = Photo.objects.bulk_create([row.photo for row in made])
    note_words(photos)
    for row in made:
        row.photo_created_at = row.photo.created_at
    Prediction.objects.bulk_create(made)
    daily_counts.mark((row.owner_id, row.project_id, row.photo_created_at) for row in made)


def clean_filename(name: str) -> str:
    """The last part of a path, without control characters, at most 255 characters."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return without_controls(last)[-255:] or UNNAMED

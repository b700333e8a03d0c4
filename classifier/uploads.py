"""A photo comes in: checked, re-encoded, stored with its pending prediction."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO

from django.conf import settings
from django.core.files.base import ContentFile
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from classifier import day_counts
from classifier.decoder import DecoderUnavailable, check_isolated
from classifier.image_checks import CheckedImage, ImageRefused
from classifier.models import Photo, Prediction, User, display_path, input_path, thumbnail_path
from classifier.names import note_words
from classifier.predictions import is_crowded, wake
from classifier.stored_files import remove_files
from training import metrics
from training.model_store import live_preprocessing
from training.storage import StorageAway, is_full

logger = logging.getLogger(__name__)

UNNAMED = "photo"
CROWDED = _("The site has as many photos to look at as it can. Nothing was stored; try again in a minute.")
# Uploads of this process that are being decoded and stored.
_intake = threading.BoundedSemaphore(settings.UPLOADS_AT_ONCE)
BUSY = _("The site cannot take photos in at the moment. Nothing was stored; try again in a minute.")


def upload_photo(
    owner: User,
    file: BinaryIO,
    *,
    filename: str = "",
    priority: Prediction.Priority = Prediction.Priority.INTERACTIVE,
) -> Photo:
    """Store a photo and ask for its prediction, both or neither.

    Args:
        file: a readable binary file; its ``name`` is kept where ``filename`` is empty.

    Raises:
        ImageRefused: with one of the contract's codes and a sentence; nothing was stored.
    """
    try:
        return _upload(owner, file, filename, priority)
    except ImageRefused as refusal:
        metrics.PHOTOS_REFUSED.labels(refusal.code).inc()
        raise


def _upload(owner: User, file: BinaryIO, filename: str, priority: Prediction.Priority) -> Photo:
    refuse_overload(priority)
    if day_counts.room(owner, settings.QUOTA_PHOTOS) < 1:
        raise ImageRefused(
            "quota",
            _("You have %(count)s photos, which is the limit. Delete some and try again.")
            % {"count": settings.QUOTA_PHOTOS},
        )
    preprocessing = live_preprocessing()
    # Those who come too many are told at once: a thread that waited here would be missing for pages.
    if not _intake.acquire(blocking=False):
        raise ImageRefused("busy", CROWDED)
    try:
        checked = check_isolated(file, preprocessing=preprocessing)
        name = clean_filename(filename or getattr(file, "name", "") or "")
        return store_photo(owner, checked, filename=name, preprocessing=preprocessing, priority=priority)
    except DecoderUnavailable as error:
        logger.exception("No decoder process could be started.")
        raise ImageRefused("busy", BUSY) from error
    except StorageAway as error:
        logger.warning("A photo could not be stored: %s", error)
        raise ImageRefused("busy", BUSY) from error
    finally:
        _intake.release()


def refuse_overload(priority: Prediction.Priority) -> None:
    """Take no more in than can be answered soon.

    Raises:
        ImageRefused: as many photos wait as may.
    """
    if is_crowded(priority):
        raise ImageRefused("busy", CROWDED)


def store_photo(
    owner: User, checked: CheckedImage, *, filename: str, preprocessing: str, priority: Prediction.Priority
) -> Photo:
    """Write the files, then the rows, and wake a worker; a failure takes the files away again."""
    made = write_files(owner, checked, filename=filename, preprocessing=preprocessing, priority=priority)
    with files_of([made]), transaction.atomic():
        add_rows([made])
        transaction.on_commit(partial(wake, priority))
    metrics.PHOTOS_ACCEPTED.inc()
    return made.photo


def write_files(
    owner: User, checked: CheckedImage, *, filename: str, preprocessing: str, priority: Prediction.Priority
) -> Prediction:
    """The question about a new photo, and the photo in it, for ``add_rows``; their files are stored."""
    photo = Photo(
        owner=owner,
        filename=filename,
        width=checked.width,
        height=checked.height,
        size=checked.size,
        pixel_sha256=checked.pixel_sha256,
        brightness=checked.brightness,
        contrast=checked.contrast,
        sharpness=checked.sharpness,
    )
    prediction = Prediction(
        photo=photo,
        owner=owner,
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
    day_counts.mark((row.owner_id, row.photo_created_at) for row in made)


def clean_filename(name: str) -> str:
    """The last part of a path, without control characters, at most 255 characters."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable()).strip()[-255:] or UNNAMED

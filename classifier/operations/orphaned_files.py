"""Files without rows, which a kill between the two leaves behind, and rows without files.

Photos lie below ``photos/00/`` to ``photos/ff/`` by the beginning of their id; one such part is
looked at at a time, so that no look is long however many photos there are.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from django.conf import settings
from django.core.files.storage import default_storage
from django.utils import timezone

from cifarsite.core.storage import StorageUnavailable, remove_files
from classifier.models import Batch, Example, Photo, Prediction
from training.models import EvaluationReport, EvaluationSet, ProjectImage, ProjectImport
from training.projects import removals
from training.registry import model_store

logger = logging.getLogger(__name__)

PARTS = [f"{number:02x}" for number in range(256)]
DAY_SECONDS = 86_400
# More strays than this share, of more files than this, look like the wrong database.
MANY_SHARE, MANY_FILES = 0.5, 50


@dataclass(frozen=True)
class Found:
    """What one look found.

    Attributes:
        files, rows: how many were looked at.
        strays: names of files that belong to no row and are old enough to be none under way.
        lost: (photo, name) of files that a row names and the storage has not.
        empty: folders without a file, old enough.
        replaceable: 'manage.py evaluate' makes such files again.
    """

    files: int = 0
    rows: int = 0
    strays: list[str] = field(default_factory=list)
    lost: list[tuple[uuid.UUID, str]] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    replaceable: bool = False

    @property
    def is_suspicious(self) -> bool:
        """So many strays that the storage and the database hardly belong together."""
        if self.replaceable:  # nothing is lost by it, and people's photos may be among them
            return False
        return self.files > MANY_FILES and len(self.strays) > MANY_SHARE * self.files


def find_orphans(part: str) -> Found:
    """Compare one part of the photos, '00' to 'ff', with its rows."""
    present, folders = _files_below(f"photos/{part}")
    low, high = (uuid.UUID(part + digit * 30) for digit in "0f")
    photos = Photo.objects.filter(pk__gte=low, pk__lte=high)
    named = _names(low, high)
    # A photo that came in since the files were listed is not lost.
    before = timezone.now() - timedelta(hours=settings.ORPHAN_HOURS)
    old = dict(photos.filter(created_at__lt=before).values_list("pk", "created_at"))
    lost = [(pk, name) for name, pk in named.items() if name not in present and pk in old]
    return Found(
        files=len(present),
        rows=photos.count(),
        strays=[name for name in sorted(present) if name not in named and _is_old(name)],
        lost=sorted(lost),
        empty=[folder for folder in folders if _is_old(folder)],
    )


def find_orphaned_archives() -> Found:
    """Archives of batches that no batch names any more."""
    present, folders = _files_below("batches")
    named = set(Batch.objects.exclude(archive="").values_list("archive", flat=True))
    strays = [name for name in sorted(present) if name not in named and _is_old(name)]
    return Found(files=len(present), strays=strays, empty=[folder for folder in folders if _is_old(folder)])


def find_orphaned_imports() -> Found:
    """Archives of imports that no import names any more."""
    present, folders = _files_below("imports")
    waiting = removals.waiting()
    present = {name for name in present if not waiting.holds(name)}
    named = {name for pair in ProjectImport.objects.values_list("archive", "labels") for name in pair}
    strays = [name for name in sorted(present) if name not in named and _is_old(name)]
    return Found(files=len(present), strays=strays, empty=[folder for folder in folders if _is_old(folder)])


def find_orphaned_images(part: str) -> Found:
    """Compare one part of the images of all projects, '00' to 'ff', with their rows.

    Those that are being removed belong to none, and are no sign of a wrong database, however many they are.
    """
    waiting = removals.waiting()
    present = {
        name
        for project in _listed("projects")[0]
        for folder in (f"projects/{project}/{part}",)
        for name in (f"{folder}/{file}" for file in _listed(folder)[1])
        if not waiting.holds(name)
    }
    rows = ProjectImage.objects.filter(sha256__gte=part, sha256__lte=part + "g")
    named = set(rows.values_list("file", flat=True))
    strays = [name for name in sorted(present) if name not in named and _is_old(name)]
    return Found(files=len(present), rows=len(named), strays=strays)


def find_orphaned_reports() -> Found:
    """Single answers that no report names any more, and tiles of sets that are neither CIFAR-10's nor
    added by staff: what earlier versions kept of people's photos.
    """
    answers, folders = _files_below("reports")
    reports = EvaluationReport.objects.values_list("dataset", "dataset_sha256", "figures__panels__answers")
    named, sets = set(), set(EvaluationSet.objects.values_list("sha256", flat=True))
    for dataset, sha256, name in reports:
        named.add(name)
        if dataset == model_store.TEST_SET:
            sets.add(sha256)
    present, inner = _files_below("sets")
    tiles = [name for name in present if name.split("/")[1] not in sets and name.endswith(".npy")]
    return Found(
        files=len(answers) + len(present),
        strays=[name for name in sorted({*(answers - named), *tiles}) if _is_old(name)],
        empty=[folder for folder in folders + inner if _is_old(folder) and not _listed(folder)[0]],
        replaceable=True,
    )


def remove_strays(found: Found) -> int:
    """Remove a look's strays and empty folders; nothing where there are suspiciously many. How many."""
    if found.is_suspicious:
        logger.error(
            "%d of %d files belong to no row: is this the right database? Nothing was removed; see "
            "'manage.py orphans'.",
            len(found.strays),
            found.files,
        )
        return 0
    remove_files(found.strays)
    remove_files(found.empty)
    return len(found.strays)


def part_of(now: float) -> str:
    """Which part is looked at at this time (seconds since 1970), if each shall have its turn once a day."""
    return PARTS[int(now % DAY_SECONDS / DAY_SECONDS * len(PARTS))]


def lost_photos(found: Iterable[tuple[uuid.UUID, str]]) -> list[uuid.UUID]:
    """The photos of which not even the display copy is left."""
    return [pk for pk, name in found if name.endswith("/display.jpg")]


def _names(low: uuid.UUID, high: uuid.UUID) -> dict[str, uuid.UUID]:
    """Every file that rows of these photos name, and its photo."""
    named: dict[str, uuid.UUID] = {}
    for pk, display, thumbnail in Photo.objects.filter(pk__gte=low, pk__lte=high).values_list(
        "pk", "display", "thumbnail"
    ):
        named[display] = named[thumbnail] = pk
    within = {"photo__gte": low, "photo__lte": high}
    named.update(Prediction.objects.order_by().filter(**within).values_list("input", "photo"))
    named.update(Example.objects.order_by().filter(**within).values_list("image", "photo"))
    return named


def _files_below(folder: str) -> tuple[set[str], list[str]]:
    """Names of the files in the folders below one, and those of these folders that are empty."""
    present: set[str] = set()
    empty = []
    for inner in _listed(folder)[0]:
        names = _listed(f"{folder}/{inner}")[1]
        present.update(f"{folder}/{inner}/{name}" for name in names)
        if not names:
            empty.append(f"{folder}/{inner}")
    return present, empty


def _listed(folder: str) -> tuple[list[str], list[str]]:
    try:
        folders, files = default_storage.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    return list(folders), list(files)


def _is_old(name: str) -> bool:
    try:
        changed = default_storage.get_modified_time(name)
    except StorageUnavailable:
        raise
    except (OSError, NotImplementedError):
        return False  # gone meanwhile
    return changed < timezone.now() - timedelta(hours=settings.ORPHAN_HOURS)


def everything() -> Iterator[Found]:
    """All parts, one after the other."""
    yield find_orphaned_archives()
    yield find_orphaned_imports()
    yield find_orphaned_reports()
    yield from map(find_orphans, PARTS)
    yield from map(find_orphaned_images, PARTS)

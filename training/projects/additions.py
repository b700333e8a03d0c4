"""Images on their way into a project: doubles, look-alikes and the split that each one goes to."""

from __future__ import annotations

import io
import uuid
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db.models import Count, Max
from numpy.typing import NDArray
from PIL import Image

from training.engine.data.near_duplicates import MAX_BITS
from training.models import Project, ProjectClass, ProjectImage, ProjectImport
from training.models.projects import project_image_path
from training.projects import images, removals

Split = ProjectImage.Split
SPLITS = (Split.TRAINING, Split.VALIDATION, Split.TEST)
# Images of the three splits among the first five and the first twenty of a class, and in each twenty more.
FIRST_FIVE, EACH_TWENTY = (3, 1, 1), (14, 3, 3)
# Pictures of another thing in the same pose may have nearly the same perceptual hash, on a plain ground above
# all; their colours differ. Mean difference of 16x16 RGB copies, 0..255: on 882 photos, 98 % of copies that
# were made 15 % lighter differ by less, and so do all that were saved as JPEG of quality 40 or at half size.
MOST_DIFFERENCE = 24.0
COPY_SIDE = 16
# So many of the images with a near hash are compared, the nearest first.
COMPARED = 16
COPIES_KEPT = 4_096

Copy = NDArray[np.int16]


@dataclass(frozen=True)
class Picture:
    """An image as it is kept: checked, upright, RGB, at most 512 pixels a side.

    Attributes:
        content: of the file, a JPEG or a PNG.
        ending: '.jpg' or '.png'.
        sha256: hash of size and pixels, before they were compressed.
        dhash: 64 bits, see ``training.engine.data.near_duplicates``.
    """

    content: bytes
    ending: str
    width: int
    height: int
    sha256: str
    dhash: int


@dataclass
class Addition:
    """A picture that is to be added, and what became of it.

    Attributes:
        photo: the person's photo that it was made from, if any.
        image: the row, once there is one.
        same: the image with the same pixels that is there already.
    """

    picture: Picture
    label: ProjectClass
    filename: str
    photo: uuid.UUID | None = None
    image: ProjectImage | None = None
    same: ProjectImage | None = None

    @property
    def is_double(self) -> bool:
        return self.same is not None and self.same.label_id == self.label.pk


@dataclass
class Collection:
    """What is known of a project's images while many are added: some 300 bytes each are held in memory."""

    project: Project
    _ids: list[uuid.UUID] = field(default_factory=list)
    _heads: dict[uuid.UUID, uuid.UUID] = field(default_factory=dict)
    _splits: dict[uuid.UUID, str] = field(default_factory=dict)
    _hashes: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(1024, np.uint64))
    _counts: Counter[tuple[int, str]] = field(default_factory=Counter)
    _state: tuple[int, datetime | None] = (0, None)
    _copies: OrderedDict[uuid.UUID, Copy | None] = field(default_factory=OrderedDict)

    def known(self, additions: Sequence[Addition]) -> None:
        """Note in each addition the image with the same pixels, if the project has one."""
        wanted = {one.picture.sha256 for one in additions}
        rows = self.project.images.filter(sha256__in=wanted).select_related("label")
        found = {row.sha256: row for row in rows}
        for one in additions:
            one.same = found.get(one.picture.sha256)

    def add(self, additions: Sequence[Addition], *, imported_by: ProjectImport | None = None) -> None:
        """Write the rows of those that are new; their files are stored already, see ``store``.

        Inside a transaction that holds the project (``classes.hold``): nobody else adds meanwhile.
        """
        self._refresh()
        self.known(additions)
        rows: dict[str, ProjectImage] = {}
        for one in additions:
            picture = one.picture
            one.same = one.same or rows.get(picture.sha256)
            if one.same:
                continue
            head = self._looks_like(picture)
            split = self._splits[head] if head else self._choose(one.label.pk, picture.sha256)
            one.image = rows[picture.sha256] = ProjectImage(
                project=self.project,
                label=one.label,
                filename=one.filename,
                file=path_of(self.project.pk, picture),
                sha256=picture.sha256,
                dhash=signed(picture.dhash),
                width=picture.width,
                height=picture.height,
                split=split,
                near_duplicate_of_id=head,
                imported_by=imported_by,
                photo=one.photo,
            )
            self._note(one.image.pk, head, split, one.label.pk, picture.dhash)
            self._keep_copy(one.image.pk, small_copy(picture.content))
        made = ProjectImage.objects.bulk_create(rows.values(), batch_size=500)
        images.count(Counter(row.label_id for row in made))
        if made:
            newest = max(filter(None, (self._state[1], *(row.created_at for row in made))))
            self._state = len(self._ids), newest

    def _refresh(self) -> None:
        """Read what others changed since, if anything."""
        if self._state == self._state_now():
            return
        self._ids, self._counts = [], Counter()
        self._heads.clear()
        self._splits.clear()
        state = self._state_now()
        rows = self.project.images.order_by().values_list(
            "pk", "near_duplicate_of", "split", "label", "dhash"
        )
        for pk, head, split, label, dhash in rows.iterator(chunk_size=5_000):
            self._note(pk, head, split, label, unsigned(dhash))
        self._state = state

    def _state_now(self) -> tuple[int, datetime | None]:
        found = self.project.images.aggregate(n=Count("*"), newest=Max("created_at"))
        return found["n"], found["newest"]

    def _note(self, pk: uuid.UUID, head: uuid.UUID | None, split: str, label: int, dhash: int) -> None:
        if len(self._ids) == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
        self._hashes[len(self._ids)] = np.uint64(dhash)
        self._ids.append(pk)
        self._splits[pk] = split
        if head:
            self._heads[pk] = head
        self._counts[label, split] += 1

    def _looks_like(self, picture: Picture) -> uuid.UUID | None:
        """The first of the group that the picture belongs to, or None."""
        bits = np.bitwise_count(self._hashes[: len(self._ids)] ^ np.uint64(picture.dhash))
        near = np.flatnonzero(bits <= MAX_BITS)
        if not len(near):
            return None
        own = small_copy(picture.content)
        for place in near[np.argsort(bits[near], kind="stable")][:COMPARED].tolist():
            pk: uuid.UUID = self._ids[place]
            other = self._copy_of(pk)
            if other is not None and float(np.abs(own - other).mean()) <= MOST_DIFFERENCE:
                return self._heads.get(pk, pk)
        return None

    def _copy_of(self, pk: uuid.UUID) -> Copy | None:
        if pk not in self._copies:
            name = ProjectImage.objects.values_list("file", flat=True).filter(pk=pk).first()
            try:
                with default_storage.open(name or "", "rb") as file:
                    self._keep_copy(pk, small_copy(file.read()))
            except (FileNotFoundError, IsADirectoryError):
                self._keep_copy(pk, None)
        return self._copies[pk]

    def _keep_copy(self, pk: uuid.UUID, copy: Copy | None) -> None:
        self._copies[pk] = copy
        if len(self._copies) > COPIES_KEPT:
            self._copies.popitem(last=False)

    def _choose(self, label: int, sha256: str) -> str:
        taken = tuple(self._counts[label, split] for split in SPLITS)
        return choose_split(sha256, taken)


def choose_split(sha256: str, taken: tuple[int, ...]) -> Split:
    """Where the next image of a class goes: by its hash, among the places that are left.

    Of the first five images of a class three are for training and one each for validation and test; of the
    first twenty, and of each further twenty, 14, 3 and 3. What is placed already never moves.

    Args:
        taken: images of the class in training, validation and test so far.
    """
    count = sum(taken)
    blocks = count // 20 + 1
    planned = FIRST_FIVE if count < 5 else tuple(blocks * places for places in EACH_TWENTY)
    left = [max(0, places - used) for places, used in zip(planned, taken, strict=True)]
    at = int(sha256[:12], 16) % sum(left)
    for split, places in zip(SPLITS, left, strict=True):
        if at < places:
            return split
        at -= places
    raise AssertionError("there are more places than images")


def store(project: Project, pictures: Sequence[Picture]) -> list[str]:
    """Write the files of new pictures; returns their names. A file that a lost worker left is replaced."""
    names = [path_of(project.pk, picture) for picture in pictures]
    removals.keep(names)
    for name, picture in zip(names, pictures, strict=True):
        default_storage.delete(name)
        default_storage.save(name, ContentFile(picture.content))
    return names


def path_of(project: str, picture: Picture) -> str:
    return project_image_path(ProjectImage(project_id=project, sha256=picture.sha256), picture.ending)


def small_copy(content: bytes) -> Copy:
    """int16 [16, 16, 3] of a file that this site encoded."""
    with Image.open(io.BytesIO(content), formats=["JPEG", "PNG"]) as image:
        image.draft("RGB", (2 * COPY_SIDE, 2 * COPY_SIDE))
        small = image.convert("RGB").resize((COPY_SIDE, COPY_SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.int16)


def signed(dhash: int) -> int:
    """64 bits as a database's integer."""
    return dhash - (1 << 64) if dhash >= 1 << 63 else dhash


def unsigned(dhash: int) -> int:
    return dhash & ((1 << 64) - 1)

"""Real photos with the right answers: what CIFAR-10's test split cannot tell.

A folder ``ten_classes/<class>/`` and a folder ``none_of_the_ten/``, JPEG or PNG files in each. Names say of
what kind a photo is: ``web_near_*`` (from web sites, much like one of the ten), ``web_*`` (from web sites),
all others (collected for research, as ImageNet's). A file ``<folder>_sites.csv`` beside the folder with the
columns ``file`` and ``site`` says which photos come from the same place; any other comes from its own.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.engine.data.cifar10 import CLASS_NAMES

KINDS = ("web", "web_near", "collected")
ENDINGS = (".jpg", ".jpeg", ".png")
NONE = "none_of_the_ten"


class PhotosError(Exception):
    """The folder does not hold such photos; the message says what to do."""


@dataclass(frozen=True)
class PhotoSet:
    """Photos as uint8 [H, W, 3] of many sizes, upright.

    Attributes:
        ten: photos of the ten classes; labels: integers in 0..9, one each.
        other: photos of other things.
        files: names of all files, those of the ten first; empty where they are not known.
        sites: where each comes from, in the same order; empty where that is not known.
        name: of the folder; sha256: of names and contents of all files, so that of two sets of one name
            it shows whether they are the same. Empty where they are not known.
    """

    ten: list[NDArray[np.uint8]]
    labels: NDArray[Any]
    other: list[NDArray[np.uint8]]
    files: Sequence[str] = ()
    sites: Sequence[str] = ()
    name: str = ""
    sha256: str = ""

    def kinds(self) -> NDArray[Any]:
        """The kind of each photo, those of the ten first: one of ``KINDS``."""
        return np.array([_kind(Path(file).name) for file in self.files], dtype=object)


def load_photos(folder: str | Path) -> PhotoSet:
    """Read all photos in a fixed order.

    Raises:
        PhotosError: one of the two kinds is missing, or a file cannot be read.
    """
    root = Path(folder)
    ten = [
        (CLASS_NAMES.index(name), *found)
        for name in CLASS_NAMES
        for found in _images(root, f"ten_classes/{name}")
    ]
    other = list(_images(root, NONE))
    if not ten or not other:
        raise PhotosError(
            f"No photos in {root}: expected ten_classes/<class>/*.jpg and none_of_the_ten/*.jpg there."
        )
    files = [file for _, file, _ in ten] + [file for file, _ in other]
    known = _sites(root.with_name(f"{root.name}_sites.csv"))
    return PhotoSet(
        [image for _, _, image in ten],
        np.array([label for label, _, _ in ten]),
        [image for _, image in other],
        files,
        [known.get(file, file) for file in files],
        name=root.resolve().name,
        sha256=set_sha256(root, files),
    )


def set_sha256(root: Path, files: Sequence[str]) -> str:
    """One hash of the files' names below ``root`` and their contents, in whatever order they are given."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file}\0{hashlib.sha256((root / file).read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def folds(sites: Sequence[str], number: int) -> NDArray[np.int64]:
    """A fold for each photo, from 0: photos of one site share it, and folds are about equally large."""
    sizes = np.zeros(number, np.int64)
    fold_of = {}
    for site, count in sorted(Counter(sites).items(), key=lambda item: (-item[1], item[0])):
        fold_of[site] = int(sizes.argmin())
        sizes[fold_of[site]] += count
    return np.array([fold_of[site] for site in sites])


def _kind(name: str) -> str:
    if name.startswith("web_near"):
        return "web_near"
    return "web" if name.startswith("web") else "collected"


def _sites(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    with file.open(newline="") as opened:
        try:
            return {row["file"]: row["site"] for row in csv.DictReader(opened)}
        except (KeyError, csv.Error, UnicodeDecodeError) as error:
            raise PhotosError(
                f"{file} is no table of sites ({error}): it needs the columns file and site."
            ) from error


def _images(root: Path, folder: str) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for file in sorted((root / folder).glob("*")):
        if file.suffix.lower() in ENDINGS:
            try:
                with Image.open(file) as image:
                    pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
            except OSError as error:
                raise PhotosError(
                    f"{file} cannot be read ({error}): repair the file or leave it out."
                ) from error
            yield f"{folder}/{file.name}", pixels

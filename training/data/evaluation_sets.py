"""Evaluation sets: labelled folders or ZIP files that staff add, frozen with a manifest.

A set is a folder a class of its project: ``cat/anything.jpg``. What is kept is what was decoded, upright and
in RGB, as lossless WebP in the storage, so a set stays the same whatever becomes of the folder.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
import zipfile
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils.translation import gettext as _
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cifarsite.core.storage import StorageUnavailable
from training.engine.data.cifar10 import CLASS_NAMES
from training.engine.data.image_set import ImageSet, content_sha256
from training.engine.data.near_duplicates import difference_hash
from training.models import DEFAULT_PROJECT, EvaluationSet, ProjectImage
from training.models.projects import class_key
from training.projects.access import class_names
from training.projects.additions import signed

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "MPO")
MAX_IMAGES = 20_000
MAX_FILE_BYTES = 20 * 2**20
MAX_PIXELS = 40_000_000
# Larger ones are made smaller: four times what any model here looks at.
MAX_SIDE = 512


class SetRefused(Exception):
    """The folder or ZIP cannot become an evaluation set; the message says what to change."""


def add_set(name: str, source: Path, project: str = DEFAULT_PROJECT) -> EvaluationSet:
    """Freeze a folder or ZIP of labelled images of a project's classes.

    Folders may write a class in other letters' case or with accents composed otherwise.

    Raises:
        SetRefused: the name is taken, the images are there already, there are none, too many,
            or one cannot be read.
    """
    if EvaluationSet.objects.filter(name=name).exists():
        raise SetRefused(_("There is a set '%(name)s' already: choose another name.") % {"name": name})
    images: list[NDArray[np.uint8]] = []
    manifest: list[dict[str, Any]] = []
    classes = {class_key(known): known for known in class_names(project)}
    for file, content in sorted(_files(source, classes)):
        if len(images) == MAX_IMAGES:
            raise SetRefused(_("There are more than %(n)s images: split the set.") % {"n": MAX_IMAGES})
        image = _decoded(file, content)
        images.append(np.asarray(image))
        label = classes[_key(file)]
        size = {"width": image.width, "height": image.height}
        manifest.append({"file": file, "label": label, **size, "dhash": signed(difference_hash(image))})
    if not images:
        raise SetRefused(
            _(
                "No images in %(source)s: expected a folder a class, such as cat/1.jpg; "
                "the classes are %(classes)s."
            )
            % {"source": source, "classes": ", ".join(classes.values()) or _("none yet")}
        )
    sha256 = _sha256(images, manifest, project)
    known = EvaluationSet.objects.filter(sha256=sha256).first()
    if known:
        raise SetRefused(_("These images are the set '%(name)s' already.") % {"name": known})
    for number, pixels in enumerate(images):
        stored = _stored_name(sha256, number)
        if not default_storage.exists(stored):
            default_storage.save(stored, ContentFile(_packed(pixels)))
    return EvaluationSet.objects.create(
        project_id=project, name=name, sha256=sha256, n=len(images), manifest=manifest
    )


def known_to_models(row: EvaluationSet) -> int:
    """How many images of a new set look the same as one of its project's, which models may learn from."""
    hashes = [entry["dhash"] for entry in row.manifest]
    rows = ProjectImage.objects.filter(project=row.project_id)
    known: set[int] = set()
    for first in range(0, len(hashes), 500):
        some = rows.filter(dhash__in=hashes[first : first + 500])
        known.update(some.values_list("dhash", flat=True))
    return sum(one in known for one in hashes)


def find_set(name: str, project: str = DEFAULT_PROJECT) -> EvaluationSet:
    """A project's, by its name.

    Raises:
        SetRefused: there is none; the message lists those that exist.
    """
    of_project = EvaluationSet.objects.filter(project=project)
    found = of_project.filter(name=name).first()
    if found is None:
        known = ", ".join(of_project.values_list("name", flat=True)) or _("none yet")
        raise SetRefused(
            _("There is no evaluation set '%(name)s'; there are: %(known)s.") % {"name": name, "known": known}
        )
    return found


def file_names(row: EvaluationSet) -> list[str]:
    """Its files in the storage, an image each."""
    return [_stored_name(row.sha256, number) for number in range(row.n)]


def load_set(row: EvaluationSet) -> ImageSet:
    """A set's images, checked against its hash.

    Raises:
        SetRefused: a file is gone or is not what was frozen.
    """
    images = []
    for number in range(row.n):
        try:
            with default_storage.open(_stored_name(row.sha256, number), "rb") as file:
                images.append(np.asarray(Image.open(file).convert("RGB")))
        except StorageUnavailable:
            raise
        except OSError as error:
            raise SetRefused(
                _("An image of the set '%(name)s' is missing or damaged (%(error)s): add the set again.")
                % {"name": row, "error": error}
            ) from error
    if _sha256(images, row.manifest, row.project_id) != row.sha256:
        raise SetRefused(
            _("The images of the set '%(name)s' have changed: add the set again.") % {"name": row}
        )
    classes, labels = _labels(row.manifest, row.project_id)
    files = [entry["file"] for entry in row.manifest]
    return ImageSet(row.name, row.sha256, images, labels, files, classes=classes)


def _labels(manifest: list[dict[str, Any]], project: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The classes of a set, and its images' numbers in them, int64 [N].

    CIFAR-10's are always the ten. A project's classes may change, so a set stands on those that it names.
    """
    names = [entry["label"] for entry in manifest]
    classes = CLASS_NAMES if project == DEFAULT_PROJECT else tuple(sorted(set(names)))
    return classes, np.array([classes.index(name) for name in names], np.int64)


def _sha256(images: list[NDArray[np.uint8]], manifest: list[dict[str, Any]], project: str) -> str:
    """Of the pixels and labels; of another project's than CIFAR-10's, of the classes' names too."""
    classes, labels = _labels(manifest, project)
    found = content_sha256(images, labels)
    if project == DEFAULT_PROJECT:
        return found
    named = json.dumps([project, classes, found], ensure_ascii=False)
    return hashlib.sha256(named.encode()).hexdigest()


def _files(source: Path, classes: Container[str]) -> Iterator[tuple[str, bytes]]:
    """(class/name, content) of every image below the source; other files are passed over.

    Args:
        classes: the keys of those that there are.
    """
    if source.is_dir():
        for path in source.rglob("*"):
            name = path.relative_to(source).as_posix()
            if path.is_file() and not path.is_symlink() and _is_wanted(name, classes):
                with path.open("rb") as file:
                    yield _short(name), _bounded(name, file.read(MAX_FILE_BYTES + 1))
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for entry in archive.infolist():
                link = stat.S_ISLNK(entry.external_attr >> 16)
                if not entry.is_dir() and not link and _is_wanted(entry.filename, classes):
                    yield _short(entry.filename), _bounded(entry.filename, _unpacked(archive, entry))
    else:
        raise SetRefused(_("%(source)s is neither a folder nor a ZIP file.") % {"source": source})


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(entry) as file:
            return file.read(MAX_FILE_BYTES + 1)
    except (RuntimeError, NotImplementedError, zipfile.BadZipFile, OSError, EOFError) as error:
        raise SetRefused(
            _("%(file)s in the ZIP cannot be read (%(error)s).") % {"file": entry.filename, "error": error}
        ) from error


def _bounded(name: str, content: bytes) -> bytes:
    if len(content) > MAX_FILE_BYTES:
        raise SetRefused(
            _("%(file)s has more than %(limit)s MB: leave it out.")
            % {"file": name, "limit": MAX_FILE_BYTES // 2**20}
        )
    return content


def _is_wanted(name: str, classes: Container[str]) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in ENDINGS and _key(name) in classes and not path.name.startswith(".")


def _short(name: str) -> str:
    path = PurePosixPath(name)
    return f"{path.parent.name}/{path.name}"


def _key(name: str) -> str:
    """The key of the class whose folder a file lies in."""
    return class_key(PurePosixPath(name).parent.name.strip())


def _decoded(name: str, content: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(_("too many pixels"))
            image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image.convert("RGBA"))
            image = image.convert("RGB")
    except Exception as error:  # a damaged image may raise anything
        raise SetRefused(
            _("%(file)s cannot be read as an image (%(error)s): repair the file or leave it out.")
            % {"file": name, "error": error}
        ) from error
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return image


def _packed(image: NDArray[np.uint8]) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "WEBP", lossless=True, quality=50)
    return packed.getvalue()


def _stored_name(sha256: str, number: int) -> str:
    return f"sets/{sha256}/images/{number:05}.webp"

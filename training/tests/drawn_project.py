"""A project whose pictures a program draws; its files are in the storage, as an import leaves them."""

from __future__ import annotations

import hashlib
import io
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from PIL import Image

from training.engine.data.preprocessing import hash_pixels
from training.engine.tests.transfer.made_up import CLASSES, drawn
from training.models import Project, ProjectClass, ProjectImage
from training.projects.images import recount

SPLITS = ("training", "training", "training", "validation", "test")


def draw_project(slug: str, per_class: int = 12, **fields: Any) -> Project:
    """Discs, crosses and bars, so many of each; three of five train, one validates, one tests."""
    project = Project.objects.create(slug=slug, name=slug.title(), **fields)
    rows = []
    for position, name in enumerate(CLASSES):
        label = ProjectClass.objects.create(project=project, position=position, name=name)
        for number in range(per_class):
            image = Image.fromarray(drawn(position, 1_000 * position + number))
            sha256 = hashlib.sha256(f"{slug} {hash_pixels(image)}".encode()).hexdigest()
            packed = io.BytesIO()
            image.save(packed, "PNG")
            file = f"projects/{slug}/{sha256[:2]}/{sha256}.png"
            default_storage.save(file, ContentFile(packed.getvalue()))
            rows.append(
                ProjectImage(
                    project=project,
                    label=label,
                    filename=f"{name}-{number}.png",
                    file=file,
                    sha256=sha256,
                    dhash=number,
                    width=image.width,
                    height=image.height,
                    split=SPLITS[number % 5],
                )
            )
    ProjectImage.objects.bulk_create(rows, batch_size=500)
    recount()
    return project

"""Drawn pictures for projects: each looks unlike the others, and the same number gives the same one."""

from __future__ import annotations

import hashlib
import io
import random

from PIL import Image, ImageDraw

from training.engine.data.near_duplicates import difference_hash
from training.models import Project, ProjectClass, ProjectImage
from training.projects import classes
from training.projects.additions import Addition, Collection, Picture, store
from training.projects.images import recount


def drawing(number: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    dice = random.Random(number)
    image = Image.new("RGB", size, tuple(dice.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        x, y = dice.randrange(size[0]), dice.randrange(size[1])
        side = dice.randrange(size[0] // 6, size[0] // 2)
        colour = tuple(dice.randrange(256) for _ in range(3))
        shape = dice.choice([draw.rectangle, draw.ellipse])
        shape([x - side // 2, y - side // 2, x + side // 2, y + side // 2], fill=colour)
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def drawn_file(number: int, kind: str = "PNG") -> bytes:
    return encoded(drawing(number), kind)


def picture_of(image: Image.Image) -> Picture:
    sha256 = hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.tobytes()).hexdigest()
    return Picture(encoded(image), ".png", image.width, image.height, sha256, difference_hash(image))


def add_images(
    project: Project, label: ProjectClass, pictures: list[Image.Image] | range, **more: object
) -> list[Addition]:
    """Add pictures, or drawings of these numbers, as an import does."""
    images = [drawing(one) if isinstance(one, int) else one for one in pictures]
    additions = [
        Addition(picture_of(image), label, f"{number}.png", **more)  # type: ignore[arg-type]
        for number, image in enumerate(images)
    ]
    store(project, [one.picture for one in additions])
    classes.hold(project)
    Collection(project).add(additions)
    return additions


def image_of(addition: Addition) -> ProjectImage:
    """The row of a picture that was added."""
    assert addition.image is not None
    return addition.image


def many_images(project: Project, labels: list[ProjectClass], count: int) -> None:
    """Rows alone, without files, for tests of size; each looks unlike the others."""
    dice = random.Random(1)
    splits = ["training"] * 14 + ["validation"] * 3 + ["test"] * 3
    rows = (
        ProjectImage(
            project=project,
            label=labels[number % len(labels)],
            filename=f"{number}.jpg",
            file=f"projects/{project.pk}/{number}.jpg",
            sha256=f"{number:064x}",
            dhash=dice.getrandbits(63),
            width=64,
            height=64,
            split=splits[number // len(labels) % 20],
        )
        for number in range(count)
    )
    ProjectImage.objects.bulk_create(rows, batch_size=2_000)
    recount()

"""The demo's project: drawn leaves, imported, trained on and promoted as staff do it."""

from __future__ import annotations

import io
import math
import random
import zipfile
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFilter

from classifier.models import Photo, User
from classifier.uploads import project_imports
from classifier.uploads.import_worker import import_slice
from classifier.uploads.photos import upload_photo
from training.jobs import ownership
from training.projects import lifecycle as projects
from training.registry import promotion

SLUG = "leaves"
IMAGES_A_CLASS, PHOTOS = 24, 6
SIDE = 320
Points = list[tuple[float, float]]


def make_project(staff: User, people: list[User], worker: str) -> int:
    """Make the project, its model and some photos that people ask about. Returns its number of images."""
    from training.jobs.trainer import run  # holds TensorFlow

    project = projects.create("Leaves", by=staff, slug=SLUG)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in LEAVES:
            for number in range(IMAGES_A_CLASS):
                file.writestr(f"{name}/{name}-{number:02}.jpg", as_jpeg(leaf(name, number)))
    row = project_imports.import_archive(
        project, archive, filename="leaves.zip", by=staff, wake_workers=False
    )
    while import_slice(worker, row):
        pass
    version = run(ownership.own_new("transfer", {}, worker=worker, project=project.pk))
    if version is not None:
        promotion.promote(version, by=staff, reason="The first model of the leaves.")
        for number in range(PHOTOS):
            ask(people[number % len(people)], number)
    return project.images.count()


def ask(person: User, number: int) -> Photo:
    """Upload a leaf that the model has not seen."""
    name = list(LEAVES)[number % len(LEAVES)]
    content = as_jpeg(leaf(name, IMAGES_A_CLASS + number))
    return upload_photo(person, io.BytesIO(content), filename=f"leaf-{number}.jpg", project=SLUG)


def as_jpeg(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=90)
    return content.getvalue()


def leaf(name: str, number: int) -> Image.Image:
    """One leaf on paper, each with its own size, turn and colours; the same number gives the same leaf."""
    chance = random.Random(f"{name} {number}")  # noqa: S311
    paper = tuple(chance.randint(190, 245) for _ in range(3))
    green = (chance.randint(30, 110), chance.randint(90, 170), chance.randint(20, 70))
    image = Image.new("RGB", (SIDE, SIDE), paper)
    draw = ImageDraw.Draw(image)
    turn, size = chance.uniform(-math.pi, math.pi), chance.uniform(0.32, 0.45) * SIDE
    middle = (SIDE / 2 + chance.uniform(-20, 20), SIDE / 2 + chance.uniform(-20, 20))

    def placed(points: Points) -> Points:
        cos, sin = math.cos(turn) * size, math.sin(turn) * size
        return [(middle[0] + x * cos - y * sin, middle[1] + x * sin + y * cos) for x, y in points]

    for shape in LEAVES[name](chance):
        draw.polygon(placed(shape), fill=green)
    draw.line(placed([(-1.15, 0), (0.9, 0)]), fill=tuple(part // 2 for part in green), width=3)
    return image.filter(ImageFilter.GaussianBlur(chance.uniform(0, 1)))


def birch(chance: random.Random) -> list[Points]:
    """Egg-shaped with a saw-toothed edge."""
    width = chance.uniform(0.5, 0.65)
    steps = [number / 30 * math.pi for number in range(31)]
    edge = [(-math.cos(a), width * math.sin(a) * (1 + 0.12 * (i % 2))) for i, a in enumerate(steps)]
    return [edge + [(x, -y) for x, y in reversed(edge)]]


def oak(chance: random.Random) -> list[Points]:
    """Long, with round lobes."""
    width, lobes = chance.uniform(0.35, 0.5), chance.choice((3, 4))
    steps = [number / 60 for number in range(61)]
    edge = [
        (2 * s - 1, width * math.sin(math.pi * s) * (0.6 + 0.4 * math.cos(2 * math.pi * lobes * s)))
        for s in steps
    ]
    return [edge + [(x, -y) for x, y in reversed(edge)]]


def fern(chance: random.Random) -> list[Points]:
    """Many narrow leaflets along a stem."""
    count, slant = chance.randint(7, 10), chance.uniform(0.1, 0.3)
    leaflets = []
    for number in range(count):
        x, length = -0.9 + 1.7 * number / count, 0.75 * math.sin(math.pi * (0.15 + 0.8 * number / count))
        for side in (1, -1):
            tip = (x + slant, side * length)
            leaflets.append([(x - 0.05, 0.0), (x + 0.02, side * length * 0.5), tip, (x + 0.09, 0.0)])
    return leaflets


LEAVES: dict[str, Callable[[random.Random], list[Points]]] = {"birch": birch, "fern": fern, "oak": oak}

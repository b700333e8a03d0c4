"""A lively site to look at: people, photos, answers, a batch, corrections, jobs, a project.

Everything goes the way that it goes for people: uploads are checked and stored, the champion answers.
Only times are set back, so that the pages have a past to show.
"""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from PIL import Image, ImageDraw

from classifier.feedback import corrections
from classifier.images.formats import FORMAT_NAMES
from classifier.models import Batch, Photo, Prediction, User
from classifier.operations.demo_project import make_project
from classifier.predictions import inference
from classifier.uploads import batch_worker, batches
from classifier.uploads.photos import upload_photo
from training.engine.data.cifar10 import DatasetError, load_cifar10
from training.jobs import lifecycle
from training.models import Epoch, ModelVersion, TrainingJob
from training.models.versions import cifar10_classes
from training.registry import model_store, promotion

WORKER = "demo@localhost"
# Name, language, staff. Their password is chosen by whoever makes the demo.
PEOPLE = (("linh", "vi", False), ("sam", "en", False), ("mara", "en", True))
PHOTOS, BATCH_PHOTOS = 30, 12
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".heic", ".avif"}
# Something to learn from: colours of sky, ground and thing.
SCENES = (
    ("skyblue", "seagreen", "white"),
    ("lightsteelblue", "slategray", "firebrick"),
    ("khaki", "peru", "saddlebrown"),
    ("midnightblue", "black", "gold"),
)


class NotHere(Exception):
    """The site has a life of its own already; the message says what to do."""


def make_demo(password: str, photos: Path | None = None, force: bool = False) -> dict[str, int]:
    """Fill the site; does nothing where the demo's people are there already.

    Args:
        password: of the three people.
        photos: a folder whose image files are uploaded; None: CIFAR-10's images where they are at
            hand, else drawings.

    Returns:
        How many of each kind were made; empty where the demo was there before.

    Raises:
        NotHere: there are photos or several people, and not ``force``.
    """
    if User.objects.filter(username=PEOPLE[0][0]).exists():
        return {}
    if not force and (settings.HTTPS or Photo.objects.exists() or User.objects.count() > 1):
        raise NotHere(
            "This site is in use: it has photos or people, or is reached by https. Make the demo on a "
            "site of its own (VAR_DIR=/tmp/demo), or add --force."
        )
    people = [make_person(name, password, language, staff) for name, language, staff in PEOPLE]
    linh, sam, mara = people
    sources = images(photos)
    shown = [upload(linh if number % 3 else sam, number, *next(sources)) for number in range(PHOTOS)]
    batch = make_batch(linh, list(islice(sources, BATCH_PHOTOS)))
    leaves = make_project(mara, [linh, sam], WORKER)
    answer_everything(batch)
    made = {"people": len(people), "photos": Photo.objects.filter(owner__in=people).count(), "batches": 1}
    made["project images"] = leaves
    made["corrections"] = correct_some(shown, linh, mara)
    made["jobs"] = make_jobs(mara)
    made["promotions"] = change_champions(mara)
    return made


def make_person(name: str, password: str, language: str, staff: bool) -> User:
    person: User = User.objects.create_user(
        name, f"{name}@example.org", password, language=language, is_staff=staff, is_superuser=staff
    )
    EmailAddress.objects.create(user=person, email=person.email, verified=True, primary=True)
    return person


def images(folder: Path | None) -> Iterator[tuple[str, bytes, str]]:
    """Name, content and what it shows ('' where nobody knows) of one image after the other."""
    classes = cifar10_classes()
    if folder is not None:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not files:
            raise NotHere(f"{folder} holds no photos: {FORMAT_NAMES} are read.")
        random.Random(0).shuffle(files)  # noqa: S311
        while True:
            for path in files:
                label = path.parent.name if path.parent.name in classes else ""
                yield path.name, path.read_bytes(), label
    try:
        cifar = load_cifar10(settings.CIFAR10_DIR) if settings.CIFAR10_DIR else None
    except DatasetError:
        cifar = None
    number = 0
    while True:
        if cifar:
            label = classes[cifar.y_test[number]]
            image = Image.fromarray(cifar.x_test[number]).resize((256, 256), Image.Resampling.BICUBIC)
        else:
            label, image = "", drawing(number)
        content = io.BytesIO()
        image.save(content, "JPEG", quality=90)
        number += 1
        yield f"{label or 'drawing'}-{number:02}.jpg", content.getvalue(), label


def drawing(number: int) -> Image.Image:
    """A sky, a ground and a thing, each time a little different."""
    chance = random.Random(number)  # noqa: S311
    sky, ground, thing = SCENES[number % len(SCENES)]
    image = Image.new("RGB", (480, 360), sky)
    draw = ImageDraw.Draw(image)
    horizon = chance.randint(200, 280)
    draw.rectangle([0, horizon, 480, 360], fill=ground)
    left, width, height = chance.randint(60, 200), chance.randint(120, 220), chance.randint(60, 120)
    draw.polygon(
        [(left, horizon), (left + width, horizon), (left + width * 4 // 5, horizon - height)], fill=thing
    )
    draw.ellipse([400, 30, 450, 80], fill="lightyellow")
    return image


def upload(owner: User, number: int, name: str, content: bytes, label: str) -> Photo:
    """As a person uploads it, some hours before the one before."""
    photo = upload_photo(owner, io.BytesIO(content), filename=name)
    when = timezone.now() - timedelta(hours=7 * number + 1)
    Photo.objects.filter(pk=photo.pk).update(created_at=when)
    Prediction.objects.filter(photo=photo).update(created_at=when, photo_created_at=when)
    photo.refresh_from_db()
    return photo


def make_batch(owner: User, sources: list[tuple[str, bytes, str]]) -> Batch:
    """A ZIP with a folder a class, one file of which is no image."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for number, (name, content, label) in enumerate(sources):
            file.writestr(f"{label or 'unknown'}/{number:02}-{name}", content)
        file.writestr("notes.txt", "Not a photo.")
    archive.seek(0)
    return batches.create_batch(owner, archive, filename="holiday.zip")


def answer_everything(batch: Batch) -> None:
    """Unpack and answer here what workers may not have taken yet."""
    while batch_worker.unpack_slice(WORKER):
        pass
    inference.predict_pending(WORKER)
    batches.finish_if_over(batch)


def correct_some(photos: list[Photo], person: User, reviewer: User) -> int:
    """One person agrees, disagrees and is not sure; a reviewer accepts two and leaves the rest."""
    corrections.set_consent(person, True)
    classes = cifar10_classes()
    own = [photo for photo in photos if photo.owner_id == person.pk][:8]
    for number, photo in enumerate(own):
        photo = Photo.objects.get(pk=photo.pk)
        agreed = photo.prediction.outcome or "not_sure"
        corrections.correct(photo, person, (agreed, agreed, classes[number], "not_sure")[number % 4])
    for photo in own[:2]:
        accepted = Photo.objects.get(pk=photo.pk).prediction.outcome or "unknown"
        corrections.accept(photo, accepted, by=reviewer)
    return len(own)


def make_jobs(person: User) -> int:
    """A run for each shipped model, with the curves of its card, and one that diverged."""
    for version in ModelVersion.objects.filter(job=None).order_by("id"):
        history = version.card["history"]
        if not set(EPOCH) <= set(history):
            continue  # trained elsewhere, without a row for each epoch
        job = past_job(version.recipe, version.card["parameters"], person, TrainingJob.State.SUCCEEDED)
        Epoch.objects.bulk_create(
            Epoch(job=job, number=number + 1, **{name: history[name][number] for name in EPOCH})
            for number in range(len(history["loss"]))
        )
    failed = past_job("seed_cnn", {"learning_rate": 0.9}, person, TrainingJob.State.FAILED)
    TrainingJob.objects.filter(pk=failed.pk).update(
        error_code="diverged", error_detail="The loss became nan at step 7: try a smaller learning rate."
    )
    return TrainingJob.objects.count()


EPOCH = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds", "images_per_second")


def past_job(
    recipe: str, parameters: dict[str, float], person: User, state: TrainingJob.State
) -> TrainingJob:
    """A job that ended yesterday; no worker is woken."""
    ended = timezone.now() - timedelta(days=1)
    values = lifecycle.find_recipe(recipe).clean(parameters)
    with transaction.atomic():
        job = TrainingJob.objects.create(
            recipe=recipe, parameters=values, requested_by=person, state=state, finished_at=ended
        )
        TrainingJob.objects.filter(pk=job.pk).update(
            created_at=ended - timedelta(hours=1), started_at=ended - timedelta(minutes=55)
        )
        lifecycle.note(job, "requested", by=person)
    return job


def change_champions(person: User) -> int:
    """Another model goes live, and back: two lines of the promotion history, one of them overridden."""
    champion = model_store.champion()
    if champion is None:
        return 0
    other = (
        ModelVersion.objects.filter(project=champion.project_id)
        .exclude(pk=champion.pk)
        .order_by("id")
        .first()
    )
    if other is None:
        return 0
    promotion.promote(other, by=person, reason="To see how the smaller one does for a day.", override=True)
    promotion.roll_back(by=person, reason="Photos from phones are answered better by the other one.")
    return 2

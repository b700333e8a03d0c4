"""10,000 photos of batches wait and a training run goes on: whoever uploads one photo is answered first."""

from pathlib import Path

import pytest

from cifarsite.tests.faults.running import Site
from conftest import wait_until
from training.engine.tests.data.synthetic import write_binary

pytestmark = [pytest.mark.faults, pytest.mark.thorough]
BULK, SINGLE = 10_000, 40
QUEUE = f"""
import uuid
from classifier.models import Photo, Prediction
first = Photo.objects.get()
asked = first.prediction
photos = [Photo(owner=first.owner, filename="bulk.png", display=first.display.name,
    thumbnail=first.thumbnail.name, width=1, height=1, size=1, pixel_sha256="0" * 64) for _ in range({BULK})]
Photo.objects.bulk_create(photos, batch_size=500)
Prediction.objects.bulk_create([Prediction(photo=photo, owner=first.owner, photo_created_at=photo.created_at,
    priority=1, input=asked.input.name, input_sha256=asked.input_sha256, preprocessing=asked.preprocessing)
    for photo in photos], batch_size=500)
"""
STEPS = "SELECT step + 10000 * (SELECT count(*) FROM training_epoch) FROM training_trainingjob"
BULK_DONE = "SELECT count(*) FROM classifier_prediction WHERE priority = 1 AND status = 'done'"


def waits(site: Site, count: int) -> list[float]:
    """Seconds from an upload to its answer, as a person has them who asks with ``?wait=``; in order."""
    found = []
    for _number in range(count):
        reply = site.upload(wait=30)
        assert reply.status == 200, reply.text
        found.append(reply.seconds)
    return sorted(found)


def p95(ordered: list[float]) -> float:
    return ordered[int(0.95 * len(ordered))]


def test_single_photos_are_answered_before_ten_thousand_that_wait(sites, tmp_path: Path, measured) -> None:
    site: Site = sites(
        CIFAR10_DIR=write_binary(tmp_path),
        EXTRA_RECIPES="training.tests.tiny_recipe",
        LEASE_SECONDS=30,
        TRAINING_NICE=10,
    )
    # The model that ships: how long a batch of it takes is what this is about.
    site.shell("from training.registry import pretrained; pretrained.install_pretrained()")
    site.start_web()
    site.start_worker("w1")
    site.upload()
    site.wait_until_all_is_answered(1)
    waits(site, 8)
    idle = waits(site, SINGLE)

    site.shell(QUEUE.replace(".get()", ".first()"))
    site.start_worker("t1", "train")
    site.shell(
        "from training.jobs import lifecycle as jobs\n"
        "jobs.request_training(recipe='tiny', parameters={'epochs': 1000, 'batch_size': 100}, by=None)"
    )
    wait_until(lambda: site.one(STEPS) > 0, "the training run's first steps", 400)
    site.shell("from classifier.predictions.queue import wake; wake(1)")
    wait_until(lambda: site.one(BULK_DONE) > 0, "the first photos of the batch", 120)
    done, steps = site.one(BULK_DONE), site.one(STEPS)
    busy = waits(site, SINGLE)
    # Each of them overtook photos that were there before it ...
    left = BULK - site.one(BULK_DONE)
    assert left > 0
    # ... and neither the batch nor the run stood still for them.
    assert site.one(BULK_DONE) > done
    wait_until(lambda: site.one(STEPS) > steps, "more steps of the run", 300)
    ratio = p95(busy) / p95(idle)
    measured(
        f"{SINGLE} single photos: p95 {1000 * p95(idle):.0f} ms idle, {1000 * p95(busy):.0f} ms with "
        f"{left:,} photos still waiting and a training run going on: {ratio:.2f} ×; "
        f"p50 {1000 * idle[SINGLE // 2]:.0f} and {1000 * busy[SINGLE // 2]:.0f} ms"
    )

"""Prediction workers that are killed, asked to end and frozen: nothing lost, nothing doubled."""

import os
import random
import sqlite3
import time
from collections.abc import Callable

import pytest

from cifarsite.tests.faults.running import Site, Tally
from cifarsite.tests.hosts import Process
from conftest import wait_until

pytestmark = pytest.mark.faults
PHOTOS = 1_000
HELD = "SELECT id FROM classifier_prediction WHERE status = 'running'"
ALL = "SELECT * FROM classifier_prediction ORDER BY id"


def kill_at_half(site: Site, measured: Callable[[str], None]) -> None:
    """1,000 photos and two workers; at half one is killed, one asked to end, and new ones start."""
    site.start_web()
    site.upload_all(PHOTOS)
    site.start_sweeper()
    first, second = site.start_worker("w1", wait=False), site.start_worker("w2", wait=False)
    wait_until(lambda: site.count("done") >= PHOTOS // 2, "half of the answers", 400)
    site.kill(first)
    at_kill = site.count("done")
    site.ask_to_end(second)
    started = time.monotonic()
    site.start_worker("w3", wait=False)
    site.start_worker("w4", wait=False)
    site.wait_until_all_is_answered(PHOTOS, 400)
    tally = site.tally()
    measured(
        f"{PHOTOS:,} photos, killed at {at_kill}: lost {tally.lost}, doubled {tally.doubled}; all answered "
        f"{time.monotonic() - started:.0f} s after the new workers were started"
    )
    assert tally == Tally(photos=PHOTOS, lost=0, doubled=0)


def test_a_thousand_photos_and_two_workers_that_die_at_half(sites, measured) -> None:
    kill_at_half(sites(PREDICTION_BATCH=8), measured)


@pytest.mark.thorough
def test_the_same_with_redis_and_postgresql(sites, redis, postgres, measured) -> None:
    kill_at_half(sites(database=postgres.url, broker=redis.url, PREDICTION_BATCH=8), measured)


def freeze_in_the_middle(site: Site, worker: Process) -> list[int]:
    """Stop a worker between its claim and its answer; the rows that it holds then."""
    for _attempt in range(20):
        site.upload_all(100)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if site.count("running"):
                site.freeze(worker)
                held = [pk for (pk,) in site.rows(HELD)]
                if held and is_writable(site):
                    return held
                site.thaw(worker)
            if not site.count("queued"):
                break
    pytest.fail("The worker was never caught at work.")


def is_writable(site: Site) -> bool:
    """The frozen worker does not hold SQLite's one lock, which would stop everybody."""
    if site.database:
        return True
    try:
        with site.sqlite(timeout=0.2) as database:
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
    except sqlite3.OperationalError:
        return False
    return True


def come_back_late(site: Site, measured: Callable[[str], None]) -> None:
    site.start_web()
    site.start_sweeper()
    frozen = site.start_worker("w1")
    held = freeze_in_the_middle(site, frozen)
    site.start_worker("w2")
    photos = site.one("SELECT count(*) FROM classifier_photo")
    site.wait_until_all_is_answered(photos)
    before = site.rows(ALL)
    seen = site.one("SELECT seen_at FROM training_worker WHERE name = 'w1@test'")
    site.thaw(frozen)
    is_back = "SELECT seen_at FROM training_worker WHERE name = 'w1@test'"
    wait_until(lambda: site.one(is_back) != seen, "the frozen worker")
    # What it was about when it was frozen is over when it has ended.
    site.ask_to_end(frozen)
    assert site.rows(ALL) == before
    assert site.tally() == Tally(photos=photos, lost=0, doubled=0)
    measured(f"frozen with {len(held)} claimed photos for more than a lease: its late answers changed 0 rows")


def test_the_late_answers_of_a_frozen_worker_change_nothing(sites, measured) -> None:
    come_back_late(sites(), measured)


@pytest.mark.thorough
def test_the_late_answers_of_a_frozen_worker_change_nothing_in_postgresql(
    sites, redis, postgres, measured
) -> None:
    come_back_late(sites(database=postgres.url, broker=redis.url), measured)


@pytest.mark.thorough
def test_nothing_is_lost_whatever_happens_in_whichever_order(sites, measured) -> None:
    """Kills, polite ends, freezes and lost messages in an order that the seed decides."""
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(10**9))
    print(f"FAULTS_SEED={seed}")
    dice = random.Random(seed)
    site: Site = sites(PREDICTION_BATCH=8)
    site.start_web()
    site.start_sweeper()
    workers = {name: site.start_worker(name, wait=False) for name in ("w1", "w2", "w3")}
    site.wait_for_ready(*workers)
    done = []
    photos = 0
    for number in range(12):
        site.upload_all(50)
        photos += 50
        time.sleep(dice.uniform(0, 0.5))
        name = dice.choice(sorted(workers))
        act = dice.choice(["kill", "end", "freeze", "lose messages", "kill the sweeper"])
        done.append(act)
        if act == "lose messages":
            site.clear_broker()
        elif act == "kill the sweeper":
            sweeper = next(p for p in site.running if "recover" in str(p.args))
            site.kill(sweeper)
            site.start_sweeper()
        elif act == "freeze":
            site.freeze(workers[name])
            time.sleep(dice.uniform(0, 2 * site.lease))
            site.thaw(workers[name])
        else:
            site.kill(workers[name]) if act == "kill" else site.ask_to_end(workers[name])
            workers[name] = site.start_worker(f"{name}-{number}", wait=False)
    site.wait_until_all_is_answered(photos, 400)
    tally = site.tally()
    acts = ", ".join(f"{done.count(act)} × {act}" for act in sorted(set(done)))
    measured(f"FAULTS_SEED={seed}: {acts}; {photos:,} photos: lost {tally.lost}, doubled {tally.doubled}")
    assert tally == Tally(photos=photos, lost=0, doubled=0)


def test_the_same_message_many_times_is_one_answer(sites) -> None:
    site: Site = sites()
    site.start_web()
    site.upload_all(50)
    site.shell("from classifier.predictions.queue import wake\nfor _ in range(20): wake()")
    site.start_worker("w1", wait=False)
    site.start_worker("w2", wait=False)
    site.wait_until_all_is_answered(50)
    assert site.tally() == Tally(photos=50, lost=0, doubled=0)

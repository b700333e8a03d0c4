"""Training jobs under a Redis that repeats a message or forgets all of them."""

import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cifarsite.tests.faults.running import Site
from cifarsite.tests.faults.servers import Redis
from conftest import wait_until
from training.engine.tests.data.synthetic import write_binary

pytestmark = pytest.mark.faults
REPEATING = "cifarsite.tests.faults.settings_of_a_broker_that_repeats"


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_binary(tmp_path_factory.mktemp("cifar10"))


def training_site(sites: Any, redis: Redis, cifar10: Path, **settings: str) -> Site:
    site: Site = sites(
        broker=redis.url,
        CIFAR10_DIR=cifar10,
        EXTRA_RECIPES="training.tests.tiny_recipe",
        REPORT_DISTORTED_IMAGES=10,
        SYNTHETIC_OOD_IMAGES=3,
        **settings,
    )
    return site


def request_jobs(site: Site, count: int, **parameters: float) -> None:
    # Each with a seed of its own: the same request again gives the same model.
    asked = f"jobs.request_training(recipe='tiny', parameters={{'seed': seed, **{parameters!r}}}, by=None)"
    site.shell(f"from training.jobs import lifecycle as jobs\nfor seed in range({count}): {asked}")


def events(site: Site, what: str) -> int:
    found: int = site.one(f"SELECT count(*) FROM training_jobevent WHERE what = '{what}'")
    return found


def states(site: Site) -> list[str]:
    return [state for (state,) in site.rows("SELECT state FROM training_trainingjob ORDER BY id")]


@pytest.mark.thorough
def test_a_message_that_redis_hands_out_again_during_the_job_is_one_run(
    sites, redis: Redis, cifar10: Path, measured
) -> None:
    """Seen for 4 s only and acknowledged at the end, so Redis gives it to the other worker too."""
    site = training_site(sites, redis, cifar10, DJANGO_SETTINGS_MODULE=REPEATING)
    site.start_worker("t1", "train", wait=False)
    site.start_worker("t2", "train", wait=False)
    site.wait_for_ready("t1", "t2")
    # Five batches an epoch: at least 12 s.
    request_jobs(site, 1, epochs=1, pause=2.4)
    started = time.monotonic()
    site.start_sweeper()
    wait_until(lambda: states(site) == ["succeeded"], "the job", 400)
    seconds = time.monotonic() - started
    received = re.findall(r"training\.tasks\.train\[(\S+)\] received", site.said("t1") + site.said("t2"))
    times = max(Counter(received).values())
    measured(
        f"a job of {seconds:.0f} s under a visibility timeout of 4 s, its message handed out {times} times: "
        f"{events(site, 'started')} run"
    )
    assert times >= 2
    assert events(site, "started") == 1
    assert site.one("SELECT count(*) FROM training_epoch") == 1
    assert site.one("SELECT count(*) FROM training_modelversion WHERE job_id IS NOT NULL") == 1


@pytest.mark.thorough
def test_a_redis_that_forgets_everything_loses_no_job(sites, redis: Redis, cifar10: Path, measured) -> None:
    """One runs and five wait when it is killed; it comes back empty."""
    site = training_site(sites, redis, cifar10)
    site.start_sweeper()
    site.start_worker("t1", "train")
    request_jobs(site, 6, epochs=1)
    wait_until(lambda: states(site) == ["running", *["queued"] * 5], "one that runs and five that wait", 120)
    redis.kill()
    redis.start()
    started = time.monotonic()
    wait_until(lambda: states(site) == ["succeeded"] * 6, "six jobs", 1200)
    measured(f"1 running, 5 queued: 6 of 6 done {time.monotonic() - started:.0f} s after its return")
    assert events(site, "started") == 6
    assert site.one("SELECT count(*) FROM training_modelversion WHERE job_id IS NOT NULL") == 6

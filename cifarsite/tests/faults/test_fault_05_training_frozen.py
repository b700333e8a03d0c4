"""A training process and its worker stand still past the lease, and come back to a job that another has."""

import os
import signal
import time
from pathlib import Path

import pytest

from cifarsite.tests.faults.test_killed_workers import is_writable
from cifarsite.tests.faults.training_runs import (
    epochs,
    events,
    job,
    models,
    needs_proc,
    process_of,
    request_job,
    start_trainer,
    training_site,
    wait_for_epoch,
    wait_for_state,
)
from conftest import wait_until

pytestmark = [pytest.mark.faults, needs_proc]
EPOCHS = "SELECT * FROM training_epoch ORDER BY number"


def test_the_late_writes_of_a_frozen_run_change_nothing(sites, synthetic_cifar10, measured) -> None:
    site = training_site(sites, synthetic_cifar10)
    first = start_trainer(site, "w1")
    pk = request_job(site, epochs=5, pause=0.4)
    wait_for_epoch(site, pk, 1)
    late = process_of(site, pk)

    def stop() -> bool:
        os.kill(late, signal.SIGSTOP)
        site.freeze(first)
        if is_writable(site):
            return True
        # One of them holds SQLite's only lock, which would stop everybody.
        site.thaw(first)
        os.kill(late, signal.SIGCONT)
        return False

    wait_until(stop, "a moment between two writes")
    claim, reached = job(site, pk, "claim"), len(epochs(site, pk))
    assert reached < 5
    start_trainer(site, "w2")
    wait_until(lambda: job(site, pk, "claim") not in (claim, None), "another owner", 60)
    assert job(site, pk, "worker").startswith("w2")
    # The other one has got on when the first comes back.
    wait_for_epoch(site, pk, reached + 1)
    before = site.rows(EPOCHS)
    os.kill(late, signal.SIGCONT)
    site.thaw(first)
    began = time.monotonic()
    wait_until(lambda: not Path(f"/proc/{late}").exists(), "the end of the late process", 60)
    seconds = time.monotonic() - began
    assert site.rows(EPOCHS)[: len(before)] == before
    wait_for_state(site, pk, "succeeded")
    assert epochs(site, pk) == [1, 2, 3, 4, 5]
    assert site.rows(EPOCHS)[: len(before)] == before
    assert events(site, pk) == ["requested", "started", "started", "succeeded"]
    assert job(site, pk, "worker").startswith("w2")
    assert models(site, pk) == 1
    measured(
        f"frozen after epoch {reached}, taken over after a lease of {site.lease} s; back, it was ended "
        f"within {seconds:.0f} s and had changed nothing"
    )

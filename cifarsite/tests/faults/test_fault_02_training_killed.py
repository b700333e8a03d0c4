"""A run of ten epochs whose process, or whole worker, is killed twenty times at random moments."""

import os
import random
import re
import signal
import time

import pytest

from cifarsite.tests.faults.training_runs import (
    epochs,
    events,
    job,
    log,
    models,
    needs_proc,
    process_of,
    request_job,
    start_trainer,
    training_site,
    wait_for_epoch,
    wait_for_state,
)

pytestmark = [pytest.mark.faults, pytest.mark.thorough, needs_proc]
KILLS = 20
EPOCHS = 10
# Without it, three kills within one epoch end the job, as they should.
SETTINGS = "cifarsite.tests.faults.settings_of_patience"


def test_a_run_that_is_killed_twenty_times_goes_on_without_a_gap(sites, synthetic_cifar10, measured) -> None:
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(10**9))
    print(f"FAULTS_SEED={seed}")
    dice = random.Random(seed)
    site = training_site(sites, synthetic_cifar10, DJANGO_SETTINGS_MODULE=SETTINGS)
    worker = start_trainer(site, "w0")
    pk = request_job(site, epochs=EPOCHS, pause=0.3)
    whole: list[bool] = []
    back: list[float] = []
    done: list[int] = []
    process = 0
    for number in range(1, KILLS + 1):
        process = process_of(site, pk, process)
        if back:
            back[-1] = time.monotonic() - back[-1]
        # Anywhere: while it starts, in an epoch, between two. It is held to the pace of an epoch
        # for two kills, so that the run has neither ended before the last kill nor stood still.
        reached = len(epochs(site, pk))
        if reached < (number - 1) // 2:
            wait_for_epoch(site, pk, (number - 1) // 2)
            time.sleep(dice.uniform(0, 1.5))
        elif reached < EPOCHS - 1:
            time.sleep(dice.uniform(0, 8 if reached <= min(number / 2, EPOCHS - 4) else 4))
        whole.append(dice.random() < 0.3)
        if whole[-1]:
            site.kill(worker)
        else:
            os.kill(process, signal.SIGKILL)
        done.append(len(epochs(site, pk)))
        back.append(time.monotonic())
        if whole[-1]:
            worker = start_trainer(site, f"w{number}")
    process_of(site, pk, process)
    back[-1] = time.monotonic() - back[-1]
    wait_for_state(site, pk, "succeeded")
    text = log(site, pk)
    went_on = [int(epoch) for epoch in re.findall(r"Continuing after epoch (\d+)\.", text)]
    again = [len(re.findall(rf" epoch {number}/{EPOCHS} ", text)) for number in range(1, EPOCHS + 1)]
    measured(
        f"FAULTS_SEED={seed}: {KILLS} kills, {sum(whole)} of the whole worker, after epochs {done}; "
        f"a process ran again {max(back):.0f} s after a kill at the latest; whole epochs done twice: "
        f"{sum(times > 1 for times in again)}"
    )
    assert max(back) < 60
    assert epochs(site, pk) == list(range(1, EPOCHS + 1))
    # What was in a row was never done again: at most the epoch under way is lost with a kill.
    assert went_on == sorted(went_on)
    assert max(again) == 1
    assert events(site, pk).count("started") == KILLS + 1
    assert job(site, pk, "error_code") == ""
    assert models(site, pk) == 1

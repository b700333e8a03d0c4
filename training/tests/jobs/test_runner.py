"""Training in the background, with real workers and real kills."""

import os
import signal
import time
from pathlib import Path

import pytest

from conftest import wait_until
from training.tests.jobs.host import Host

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc, Linux has it"),
]


@pytest.fixture
def worker(host: Host):
    """A live worker; started again where the test before ended it."""
    running = [worker for worker in host.running if worker.poll() is None]
    return running[0] if running else host.start_worker()


def test_a_run_that_kills_itself_fails_after_three_attempts_and_the_next_one_runs(
    host: Host, worker, measured
) -> None:
    bad = host.request(epochs=4, killed_in=4)
    good = host.request(epochs=1)
    host.wait_for_epoch(bad, 1)
    begun = time.monotonic()
    host.wait_for_state(bad, "failed")
    failed = time.monotonic()
    assert host.events(bad).count("started") == 3
    assert host.job(bad)["error_code"] == "crashed"
    assert "SIGKILL" in host.job(bad)["error_detail"]
    assert 1 in host.epochs(bad)
    assert 4 not in host.epochs(bad)
    assert host.models(bad) == []
    host.wait_for_state(good, "succeeded")
    measured(
        f"killed itself in epoch 4 in each of 3 attempts: failed {failed - begun:.1f} s after its first "
        f"whole epoch, with the signal's name; the next job succeeded {time.monotonic() - failed:.1f} s later"
    )


def test_a_loss_of_nan_fails_the_run_with_its_reason(host: Host, worker) -> None:
    job = host.request(epochs=3, nan_in=3)
    host.wait_for_state(job, "failed")
    assert host.job(job)["error_code"] == "diverged"
    assert "smaller learning rate" in host.job(job)["error_detail"]
    assert "TrainingError" in host.job(job)["traceback"]
    assert host.events(job).count("started") == 1


def test_a_run_that_wants_too_much_memory_fails_with_its_reason(host: Host, worker) -> None:
    job = host.request(epochs=3, hungry_in=1)
    host.wait_for_state(job, "failed")
    assert host.job(job)["error_code"] == "out_of_memory"
    assert host.events(job).count("started") == 1


def test_the_same_message_twice_is_one_run(host: Host, worker) -> None:
    job = host.request(epochs=2)
    host.shell("jobs.wake(), jobs.wake()")
    host.wait_for_state(job, "succeeded")
    assert host.events(job) == ["requested", "started", "succeeded"]
    assert host.epochs(job) == [1, 2]
    assert len(host.models(job)) == 1


def test_a_training_process_that_is_killed_again_and_again_goes_on_without_a_gap(host: Host, worker) -> None:
    job = host.request(epochs=5, pause=0.3)
    for epoch in (1, 2, 3, 4):
        host.wait_for_epoch(job, epoch)
        for pid in host.training_processes(job):
            os.kill(pid, signal.SIGKILL)
    host.wait_for_state(job, "succeeded")
    assert host.epochs(job) == [1, 2, 3, 4, 5]
    # Each attempt got on by an epoch, so that more than three were admitted.
    assert host.events(job).count("started") == 5
    log = (host.folder / "runs" / str(job) / "log.txt").read_text()
    assert "Continuing after epoch" in log
    # An epoch ends with its checkpoint, then its row; at most the one under way is done again.
    assert max(log.count(f"epoch {number}/5 ") for number in range(1, 6)) <= 2
    assert len(host.models(job)[0]["history"]["loss"]) == 5


def test_stop_keeps_the_best_epoch_and_resume_goes_on_from_there(host: Host, worker, measured) -> None:
    job = host.request(epochs=5, pause=0.5)
    host.wait_for_epoch(job, 1)
    host.verb("stop", job)
    asked = time.monotonic()
    host.wait_for_state(job, "stopped")
    seconds = time.monotonic() - asked
    done = host.epochs(job)
    assert 1 <= len(done) < 5
    assert len(host.models(job)[0]["history"]["loss"]) == len(done)
    host.verb("resume", job)
    host.wait_for_state(job, "succeeded")
    assert host.epochs(job) == [1, 2, 3, 4, 5]
    assert [len(card["history"]["loss"]) for card in host.models(job)] == [len(done), 5]
    measured(
        f"stopped after {len(done)} of 5 epochs, its model measured and kept after {seconds:.1f} s; "
        "resumed: epochs 1 to 5 without a gap"
    )


def test_cancel_ends_the_process_and_keeps_nothing(host: Host, worker, measured) -> None:
    job = host.request(epochs=50, pause=0.3)
    queued = host.request(epochs=1)
    host.wait_for_epoch(job, 1)
    host.verb("cancel", queued)
    host.verb("cancel", job)
    asked = time.monotonic()
    host.verb("cancel", job)
    # The contract's 10 s, and room for a machine that does other things.
    host.wait_for_state(job, "cancelled", seconds=30)
    cancelled = time.monotonic() - asked
    wait_until(lambda: not host.training_processes(job), "the end of the process", 10)
    ended = time.monotonic() - asked
    assert host.models(job) == []
    wait_until(lambda: not (host.folder / "runs" / str(job) / "checkpoints").exists(), "the checkpoints' end")
    assert host.job(queued)["state"] == "cancelled"
    assert "started" not in host.events(queued)
    measured(
        f"a queued job cancelled at once; a running one, asked twice: cancelled {cancelled:.1f} s after the "
        f"first time, its process gone after {ended:.1f} s, no model, no checkpoints"
    )


def test_a_run_whose_claim_was_lost_is_killed_and_writes_nothing(host: Host, worker) -> None:
    job = host.request(epochs=50, pause=0.3)
    host.wait_for_epoch(job, 1)
    host.shell(
        "import uuid; from django.utils import timezone; from datetime import timedelta\n"
        f"TrainingJob.objects.filter(pk={job}).update(claim=uuid.uuid4(), worker='another', "
        "lease_expires_at=timezone.now() + timedelta(seconds=35))"
    )
    epochs = len(host.epochs(job))
    wait_until(lambda: not host.training_processes(job), "the end of the process", 15)
    assert host.job(job)["state"] == "running"
    assert host.job(job)["worker"] == "another"
    assert len(host.epochs(job)) <= epochs
    host.shell(f"TrainingJob.objects.filter(pk={job}).update(state='cancelled')")


def test_a_worker_that_is_asked_to_end_puts_its_job_back_free_of_charge(host: Host, worker) -> None:
    job = host.request(epochs=3, pause=0.5)
    host.wait_for_epoch(job, 1)
    worker.send_signal(signal.SIGTERM)
    worker.wait(15)
    host.running.remove(worker)
    assert host.job(job)["state"] == "queued"
    assert host.job(job)["attempt"] == 0
    assert host.training_processes(job) == []
    host.start_worker()
    host.wait_for_state(job, "succeeded")
    assert host.epochs(job) == [1, 2, 3]


def test_a_killed_worker_takes_its_run_along_and_another_goes_on(host: Host, worker) -> None:
    job = host.request(epochs=4, pause=0.3)
    host.wait_for_epoch(job, 2)
    host.kill(worker)
    wait_until(lambda: not host.training_processes(job), "the end of the process", 10)
    assert host.job(job)["state"] == "running"
    host.start_worker("another")
    ended = (
        "SELECT id FROM training_trainingjob WHERE id = ? "
        "AND lease_expires_at < strftime('%Y-%m-%d %H:%M:%f', 'now')"
    )
    wait_until(lambda: bool(host.rows(ended, job)), "the end of the lease", 60)
    host.manage("recover")
    host.wait_for_state(job, "succeeded", seconds=150)
    assert host.epochs(job) == [1, 2, 3, 4]
    assert host.events(job).count("started") == 2

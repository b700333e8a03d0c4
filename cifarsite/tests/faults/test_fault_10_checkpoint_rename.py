"""Killed when a checkpoint is written but has not got its name yet: the one before is used."""

import pytest

from cifarsite.tests.faults.training_runs import (
    epochs,
    events,
    job,
    log,
    models,
    request_job,
    start_trainer,
    training_site,
    wait_for_state,
)

pytestmark = pytest.mark.faults


def test_a_kill_between_a_checkpoint_and_its_rename_costs_that_epoch_alone(
    sites, synthetic_cifar10, measured
) -> None:
    site = training_site(sites, synthetic_cifar10, EXTRA_RECIPES="cifarsite.tests.faults.dies_before_rename")
    start_trainer(site, "w1")
    pk = request_job(site, epochs=4)
    wait_for_state(site, pk, "succeeded")
    there = (site.folder / "died.txt").read_text().split()
    assert [name[:12] for name in there if name.endswith(".part")] == [".epoch-00003"]
    assert [name[:11] for name in there if name.endswith(".npz")] == ["epoch-00001", "epoch-00002"]
    assert events(site, pk) == ["requested", "started", "crashed", "started", "succeeded"]
    assert "Continuing after epoch 2." in log(site, pk)
    assert epochs(site, pk) == [1, 2, 3, 4]
    assert models(site, pk) == 1
    assert job(site, pk, "error_code") == ""
    # Nothing is left of it, the temporary file neither.
    assert not (site.folder / "runs" / str(pk) / "checkpoints").exists()
    measured("killed before the rename of epoch 3: it went on after epoch 2; epochs 1 to 4, one model")

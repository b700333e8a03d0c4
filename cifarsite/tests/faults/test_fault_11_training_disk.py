"""The disk of the runs is full: a run fails with that reason, and what was there is not harmed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cifarsite.tests.faults.test_full_disk import fill
from cifarsite.tests.faults.test_full_disk import models as model_files
from cifarsite.tests.faults.training_runs import (
    checkpoints,
    epochs,
    events,
    job,
    log,
    models,
    request_job,
    start_trainer,
    training_site,
    wait_for_epoch,
    wait_for_state,
)

pytestmark = [pytest.mark.faults, pytest.mark.thorough]
CHAMPION = "SELECT id, name, sha256 FROM training_modelversion WHERE is_champion"


def take_every_file(disk: Path) -> Path:
    """No file and no folder can be made either, as on a disk whose last block is taken."""
    subprocess.run(["mount", "-o", "remount,nr_inodes=300", str(disk)], check=True)
    folder = disk / "names"
    folder.mkdir()
    with pytest.raises(OSError, match="No space left"):
        for number in range(400):
            (folder / str(number)).touch()
    return folder


def test_a_run_on_a_full_disk_fails_with_that_reason_and_goes_on_when_there_is_room(
    sites, synthetic_cifar10, small_disk: Path, measured
) -> None:
    site = training_site(sites, synthetic_cifar10)
    (site.folder / "runs").symlink_to(small_disk, target_is_directory=True)
    start_trainer(site, "w1")
    champion, files = site.rows(CHAMPION), model_files(site)

    first = request_job(site, epochs=6, pause=0.5)
    wait_for_epoch(site, first, 2)
    ballast = fill(small_disk)
    kept = checkpoints(site, first)
    wait_for_state(site, first, "failed")
    assert job(site, first, "error_code") == "disk_full"
    assert "make room" in job(site, first, "error_detail")
    assert events(site, first).count("started") == 1
    assert models(site, first) == 0
    assert checkpoints(site, first) == kept
    names = [path.name for path in (small_disk / str(first) / "checkpoints").iterdir()]
    assert sorted(names) == sorted(kept)
    reached = max(int(name[6:11]) for name in kept)

    # Not even the folder of this one can be made.
    taken = take_every_file(small_disk)
    second = request_job(site, epochs=1)
    wait_for_state(site, second, "failed")
    assert job(site, second, "error_code") == "disk_full"
    assert events(site, second) == ["requested", "started", "failed"]
    assert site.rows(CHAMPION) == champion
    assert model_files(site) == files

    ballast.unlink()
    shutil.rmtree(taken)
    os.sync()
    third = request_job(site, epochs=1)
    wait_for_state(site, third, "succeeded")
    site.shell(
        "from training.jobs import lifecycle as jobs; from training.models import TrainingJob\n"
        f"jobs.resume(TrainingJob.objects.get(pk={first}))"
    )
    wait_for_state(site, first, "succeeded")
    assert f"Continuing after epoch {reached}." in log(site, first)
    assert epochs(site, first) == [1, 2, 3, 4, 5, 6]
    assert site.rows(CHAMPION) == champion
    measured(
        f"64 MiB, 0 bytes free after epoch {reached}: failed as disk_full, {len(kept)} checkpoints and "
        f"the champion unchanged; with room the next job ran and this one went on after epoch {reached}"
    )

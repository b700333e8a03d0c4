"""A project's images trained for real: by the command, and by a worker whose run is killed once."""

from __future__ import annotations

import json
import os
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import wait_until
from training.tests.jobs.host import Host

DRAW = "from training.tests.drawn_project import draw_project; draw_project({slug!r}, {per_class})"


def draw(host: Host, slug: str, per_class: int) -> None:
    host.shell(DRAW.format(slug=slug, per_class=per_class))


def request(host: Host, slug: str) -> int:
    asked = f"jobs.request_training(project={slug!r}, recipe='transfer', parameters={{}}, by=None).pk"
    said = host.shell(f"print('job', {asked})")
    return int(next(line for line in said.splitlines() if line.startswith("job ")).split()[1])


@pytest.mark.slow
def test_the_command_trains_a_project_and_its_model_goes_live_in_it_alone(
    host: Host, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    draw(host, "shapes", 10)
    began = time.monotonic()
    said = host.manage("train", "--project", "shapes", "--recipe", "transfer")
    measured(f"30 drawn images of 3 classes, command to model: {time.monotonic() - began:.0f} s")
    assert "30 images of 3 classes" in said
    assert "cross-validation" in said
    (row,) = host.rows("SELECT * FROM training_modelversion WHERE project_id = 'shapes'")
    assert json.loads(row["classes"]) == ["disc", "cross", "bars"]
    assert row["preprocessing"] == "centre224-v1"
    found = host.rows("SELECT * FROM training_evaluationreport WHERE model_id = ? ORDER BY id", row["id"])
    assert [report["dataset"] for report in found] == ["shapes, cross-validated", "shapes test, held out"]
    assert all("answers" in json.loads(report["figures"])["panels"] for report in found)
    (job,) = host.rows("SELECT * FROM training_trainingjob WHERE project_id = 'shapes'")
    assert (job["state"], job["step"]) == ("succeeded", 0)
    (dataset,) = host.rows("SELECT * FROM training_datasetversion WHERE project_id = 'shapes'")
    assert job["dataset_id"] == row["dataset_id"] == dataset["id"]
    assert json.loads(row["card"])["data"]["sha256"] == dataset["sha256"]
    file = tmp_path / "keras.zip"
    host.manage("export", row["name"], "--format", "keras", str(file))
    with zipfile.ZipFile(file) as archive:
        assert {"model.json", "card.json", "model.keras", "predict.py"} <= set(archive.namelist())
        assert json.loads(archive.read("model.json"))["classes"] == ["disc", "cross", "bars"]
    again = host.manage("evaluate", row["name"])
    assert "held out: accuracy" in again
    said = host.manage("train", "--project", "shapes", "--recipe", "transfer", "--epochs", "3")
    assert "Fine-tuning was left out: it needs 30 validation images and 30 test images" in said
    assert f"{row['name']}: test accuracy" in said and "no new model" in said
    *_, last = host.rows("SELECT * FROM training_trainingjob WHERE project_id = 'shapes' ORDER BY id")
    assert json.loads(last["live"])["fine_tuning"]["why"] == "few"
    host.manage("promote", str(row["id"]), "--reason", "The first.")
    live = host.rows("SELECT project_id FROM training_modelversion WHERE is_champion")
    assert [found["project_id"] for found in live] == ["shapes"]


@pytest.mark.slow
def test_fine_tuning_writes_its_epochs_and_is_measured_on_the_test_images(host: Host) -> None:
    draw(host, "tuned", 50)
    said = host.manage("train", "--project", "tuned", "--recipe", "transfer", "--epochs", "1")
    (job,) = host.rows("SELECT * FROM training_trainingjob WHERE project_id = 'tuned'")
    assert (job["state"], host.epochs(job["id"])) == ("succeeded", [1])
    assert "epoch 1/1  loss " in said and "Fine-tuning the network." in said
    assert not (host.folder / "runs" / str(job["id"]) / "checkpoints").exists()
    (card,) = host.models(job["id"])
    found = card["transfer"]["fine_tuning"]
    assert (found["trained"], found["n"]) == (1, 30)
    reports = host.rows(
        "SELECT * FROM training_evaluationreport WHERE model_id IN (SELECT id FROM "
        "training_modelversion WHERE project_id = 'tuned') ORDER BY id"
    )
    if found["kept"]:
        assert [(row["dataset"], row["n"]) for row in reports] == [("tuned test", 30)]
        assert len(card["history"]["loss"]) == 1
    else:
        assert [row["n"] for row in reports] == [150, 30]
    assert json.loads(reports[0]["figures"])["fine_tuning"] == found


def test_the_command_says_what_a_project_lacks_and_which_recipes_are_for_it(host: Host) -> None:
    draw(host, "few", 4)
    said = host.manage("train", "--project", "few", "--recipe", "transfer", expected=1)
    assert "at least 5 images of each class" in said
    assert "disc (4), cross (4), bars (4)" in said
    said = host.manage("train", "--project", "few", "--recipe", "fast_cnn", expected=1)
    assert "trains on CIFAR-10 alone" in said
    said = host.manage("train", "--recipe", "transfer", expected=1)
    assert "a project's own images, and the project 'cifar10' has none" in said
    assert "There is no project 'nothing'" in host.manage(
        "train", "--project", "nothing", "--recipe", "transfer", expected=1
    )
    assert not host.rows("SELECT id FROM training_trainingjob WHERE project_id = 'few'")


@pytest.mark.faults
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc, Linux has it")
def test_a_run_that_is_killed_goes_on_with_the_features_that_it_has(
    host: Host, measured: Callable[[str], None]
) -> None:
    draw(host, "many", 120)
    worker = host.start_worker()
    job = request(host, "many")
    folder = host.folder / "runs" / "features" / "many"
    wait_until(lambda: any(folder.rglob("*.npz")), "The first features", 300)
    wait_until(lambda: host.job(job)["step"] > 0, "Progress on the row", 60)
    live = json.loads(host.job(job)["live"])
    assert (live["phase"], host.job(job)["steps"]) == ("features", 360)
    for pid in host.training_processes(job):
        os.kill(pid, signal.SIGKILL)
    host.wait_for_state(job, "succeeded", seconds=600)
    assert host.events(job) == ["requested", "started", "crashed", "started", "succeeded"]
    log = (host.folder / "runs" / str(job) / "log.txt").read_text()
    known = next(line for line in log.splitlines() if "are known already" in line)
    assert "The features of 256 images" in known
    # It got on: the crash is not charged.
    assert host.job(job)["attempt"] == 1
    assert len(host.models(job)) == 1
    measured(f"360 drawn images, killed once: {known[20:]}")
    worker.terminate()
    worker.wait(30)

"""``manage.py train``: the same code as a worker, in the foreground."""

import re
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from training.models import TrainingJob
from training.tests.jobs.host import Host

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/environ").exists(), reason="looks for processes in /proc, Linux has it"
    ),
]


def newest(host: Host, table: str) -> int:
    number: int = host.rows(f"SELECT max(id) AS id FROM {table}")[0]["id"]
    return number


WORDS = ("train", "--recipe", "tiny", "--epochs", "2", "--seed", "3")


@dataclass
class Trained:
    """A run of ``WORDS`` that succeeded: what it said, its job and its model version."""

    said: str
    job: int
    version: int


@pytest.fixture(scope="module")
def trained(host: Host) -> Trained:
    said = host.manage(*WORDS)
    return Trained(said, newest(host, "training_trainingjob"), newest(host, "training_modelversion"))


def test_it_ends_with_a_model_and_its_figures(host: Host, trained: Trained) -> None:
    said, number, version = trained.said, trained.job, trained.version
    assert "epoch 1/2  loss" in said
    assert "epoch 2/2  loss" in said
    assert "of 10,000" in said
    assert re.search(rf"Model tiny-\d+ \(id {version}\)", said)
    job = host.job(number)
    assert job["state"] == "succeeded"
    assert job["worker"].startswith("foreground ")
    assert host.epochs(number) == [1, 2]
    card = host.models(number)[0]
    assert card["parameters"]["seed"] == 3
    assert len(card["history"]["val_accuracy"]) == 2
    report = host.rows("SELECT n FROM training_evaluationreport WHERE model_id = ?", version)
    assert [row["n"] for row in report] == [10_000]
    assert not (host.folder / "runs" / str(number) / "checkpoints").exists()


def test_ctrl_c_keeps_the_checkpoint_and_says_how_to_go_on(host: Host) -> None:
    epochs = 20  # more than go by until the signal is sent
    process = host.begin("train", "--recipe", "tiny", "--epochs", str(epochs), "--set", "pause=0.3")
    number = len(host.rows("SELECT id FROM training_trainingjob")) + 1
    host.wait_for_row(number)
    host.wait_for_epoch(number, 2)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"manage.py train --resume {number}" in said
    assert (host.job(number)["state"], host.job(number)["error_code"]) == ("failed", "interrupted")
    done = len(host.epochs(number))
    assert 2 <= done < epochs

    said = host.manage("train", "--resume", str(number))
    assert f"Continuing after epoch {done}." in said
    assert f"epoch 1/{epochs}" not in said
    assert host.epochs(number) == list(range(1, epochs + 1))
    assert host.job(number)["state"] == "succeeded"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--recipe", "resnet"], "There is no recipe 'resnet': choose one of"),
        ([], "Choose a recipe: --recipe, one of"),
        (["--recipe", "fast_cnn", "--epochs", "0"], "epochs must lie between 1 and 1000."),
        (["--recipe", "fast_cnn", "--epochs", "many"], "epochs must be a whole number."),
        (["--recipe", "fast_cnn", "--set", "width=3"], "fast_cnn has no parameter width."),
        (["--recipe", "fast_cnn", "--set", "width"], "write NAME=VALUE"),
        (["--resume", "999"], "There is no job #999."),
    ],
)
@pytest.mark.django_db
def test_a_wrong_word_is_a_sentence_and_no_job(words: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=re.escape(sentence)):
        call_command("train", *words)
    assert not TrainingJob.objects.exists()


def test_what_has_succeeded_is_not_resumed(host: Host, trained: Trained) -> None:
    number = trained.job
    assert "it has no checkpoint to resume from" in host.manage("train", "--resume", str(number), expected=1)
    said = host.manage("train", "--resume", str(number), "--epochs", "9", expected=1)
    assert "continues with its own recipe, data and parameters" in said


def test_a_failed_run_ends_with_its_reason_and_status_1(host: Host) -> None:
    said = host.manage("train", "--recipe", "tiny", "--epochs", "3", "--set", "nan_in=1", expected=1)
    assert "failed (diverged). The loss became nan" in said


def test_data_that_is_not_cifar10_is_a_sentence(host: Host, tmp_path: Path) -> None:
    said = host.manage("train", "--recipe", "tiny", expected=1, CIFAR10_DIR=str(tmp_path))
    assert "failed (dataset). No CIFAR-10 in" in said
    assert "CIFAR10_DIR" in said


def test_without_a_gpu_the_same_request_gives_the_same_file(host: Host, trained: Trained) -> None:
    again = host.manage(*WORDS)
    assert "op determinism: True" in again
    hashes = [next(line for line in said.splitlines() if "sha256" in line) for said in (trained.said, again)]
    assert hashes[0] == hashes[1]
    # One file is one model, and the second job says which one it gave again.
    job = newest(host, "training_trainingjob")
    assert (len(host.models(trained.job)), len(host.models(job))) == (1, 0)
    assert host.events(job)[-1] == "same model"
    made = f"print('made', TrainingJob.objects.get(pk={job}).made().get().job_id)"
    assert f"made {trained.job}" in host.shell(made)

import json
import os
import socket
import subprocess
import sys

import pytest

FIT = [sys.executable, "-m", "training.engine.tests.fit_distributed"]


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    result = tmp_path_factory.mktemp("one") / "one.json"
    subprocess.run([*FIT, "one", result], check=True, timeout=300)
    return json.loads(result.read_text())


def same_losses(history, expected):
    for name in ("loss", "val_loss"):
        assert history[name] == pytest.approx(expected[name], abs=1e-4)


def test_two_devices_give_the_loss_of_one(one_device, tmp_path):
    result = tmp_path / "two.json"
    subprocess.run([*FIT, "two", result], check=True, timeout=300)
    same_losses(json.loads(result.read_text()), one_device)


def test_two_worker_processes_give_the_loss_of_one(one_device, tmp_path):
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
        hosts = [f"127.0.0.1:{free.getsockname()[1]}" for free in (first, second)]
    workers = []
    for index in range(2):
        config = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
        workers.append(subprocess.Popen([*FIT, "worker", tmp_path / f"{index}.json"], env=environment))
    try:
        assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    for index in range(2):
        same_losses(json.loads((tmp_path / f"{index}.json").read_text()), one_device)

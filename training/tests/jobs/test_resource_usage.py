import os
import stat
import time
from typing import Any

import pytest

from training.jobs import resource_usage
from training.jobs.resource_usage import Usage, parse_gpu


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A program of that name that says what it is told to, after so many seconds."""

    def make(says: str, seconds: float) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\nsleep {seconds} && touch {tmp_path}/slept\necho '{says}'\n")
        program.chmod(program.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return make


def wait_for_gpus(measured: Usage) -> Any:
    for _ in range(200):
        if gpus := measured.measure()["gpus"]:
            return gpus
        time.sleep(0.05)
    return []


def test_it_tells_what_the_card_does_without_waiting_for_the_answer(nvidia_smi, tmp_path):
    nvidia_smi("NVIDIA H100 80GB HBM3, 97, 1234, 81559", 2)
    measured = Usage()
    assert measured.measure()["gpus"] == []
    assert not (tmp_path / "slept").exists()
    card = {"name": "NVIDIA H100 80GB HBM3", "percent": 97, "memory_mb": 1234, "total_mb": 81559}
    assert wait_for_gpus(measured) == [card]


def test_an_answer_that_is_none_shows_no_card(nvidia_smi):
    nvidia_smi("No devices were found", 0)
    measured = Usage()
    measured.measure()
    assert measured._asking is not None
    measured._asking.wait(timeout=30)
    assert measured.measure()["gpus"] == []


def test_a_program_that_hangs_is_given_up_with_what_it_started(nvidia_smi, monkeypatch, tmp_path):
    nvidia_smi("too late", 60)
    monkeypatch.setattr(resource_usage, "PATIENCE_SECONDS", 0.0)
    measured = Usage()
    measured.measure()
    process = measured._asking
    assert process is not None
    measured.measure()
    assert process.wait(timeout=30) != 0
    measured.measure()
    assert measured._asking is None
    assert not (tmp_path / "slept").exists()


def test_a_line_with_commas_in_the_name():
    assert parse_gpu("A, B, 1, 2, 3")["name"] == "A, B"


def test_the_share_of_a_card_is_a_setting_that_the_site_checks(settings):
    from training.engine.training import devices

    assert getattr(settings, devices.MEMORY_VARIABLE) == 0

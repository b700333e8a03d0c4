from collections.abc import Iterator
from pathlib import Path

import pytest

from training.engine.tests.synthetic import write_binary
from training.tests.host import Host


@pytest.fixture(scope="session")
def made_up_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in CIFAR-10's official binary layout whose images a small network can learn."""
    return write_binary(tmp_path_factory.mktemp("cifar10"))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, made_up_cifar10: Path) -> Iterator[Host]:
    """One host for all tests of a file: a migration and a worker's start cost seconds."""
    made = Host(tmp_path_factory.mktemp("host"), made_up_cifar10)
    yield made
    made.destroy()

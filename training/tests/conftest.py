from collections.abc import Iterator
from pathlib import Path

import pytest

from training.tests.jobs.host import Host


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, synthetic_cifar10: Path) -> Iterator[Host]:
    """One host for all tests of a file: a migration and a worker's start cost seconds."""
    made = Host(tmp_path_factory.mktemp("host"), synthetic_cifar10)
    yield made
    made.destroy()

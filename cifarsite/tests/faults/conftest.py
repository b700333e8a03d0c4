"""Sites and servers for the fault matrix."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cifarsite.tests.faults.running import Site
from cifarsite.tests.faults.servers import Postgres, Redis, Server

PREPARE = "from cifarsite.tests.faults.prepared import prepare; prepare()"


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite site with its model and person; tests copy it, which costs no seconds."""
    site = Site(tmp_path_factory.mktemp("prepared"))
    site.migrate()
    site.shell(PREPARE)
    return site.folder


@pytest.fixture
def sites(tmp_path: Path, prepared: Path) -> Iterator[Callable[..., Site]]:
    """Call it for a prepared site; its processes are gone after the test."""
    made: list[Site] = []

    def make(folder: Path = tmp_path / "site", **options: Any) -> Site:
        left_out = ["static", "log-*", *(["db.sqlite3*"] if options.get("database") else [])]
        shutil.copytree(prepared, folder, ignore=shutil.ignore_patterns(*left_out), dirs_exist_ok=True)
        (folder / "static").symlink_to(prepared / "static")
        site = Site(folder, **options)
        made.append(site)
        if options.get("database"):
            site.shell(PREPARE)
        return site

    yield make
    for site in made:
        site.destroy()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own of 64 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root.")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def redis() -> Iterator[Redis]:
    yield from started(Redis())


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    yield from started(Postgres())


def started(server: Any) -> Iterator[Any]:
    assert isinstance(server, Server)
    try:
        server.start()
        yield server
    finally:
        server.destroy()

"""The disk is full: an upload gets 507, pages work, nothing that was there is harmed."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from cifarsite.tests.faults.running import Site, Tally

pytestmark = pytest.mark.faults


def fill(folder: Path) -> Path:
    """Take every byte that is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return ballast


def models(site: Site) -> dict[str, str]:
    found = [*(site.folder / "models").glob("*"), *(site.folder / "media" / "models").glob("*")]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


def test_an_upload_on_a_full_disk_gets_507_and_pages_work(sites, small_disk: Path, measured) -> None:
    site: Site = sites(folder=small_disk / "site")
    site.start_web()
    site.start_sweeper()
    site.start_worker()
    for _number in range(4):
        site.upload()
    site.wait_until_all_is_answered(4)
    before = models(site)
    files = sorted(str(file) for file in (site.folder / "media" / "photos").rglob("*.*"))
    ballast = fill(small_disk)
    assert shutil.disk_usage(small_disk).free == 0
    replies = [site.upload() for _number in range(6)]
    assert {reply.status for reply in replies} == {507}
    assert {reply.json["code"] for reply in replies} == {"storage_full"}
    assert "no space left" in replies[0].json["detail"]
    for path in ("/", "/history/", "/models/", "/health/", "/healthz"):
        reply = site.get(path)
        assert reply.status == 200, (path, reply.text[:500])
    assert "disk is nearly full" in site.get("/health/").text
    assert models(site) == before
    assert sorted(str(file) for file in (site.folder / "media" / "photos").rglob("*.*")) == files

    ballast.unlink()
    os.sync()
    assert site.upload().status == 202
    site.wait_until_all_is_answered(5)
    assert site.tally() == Tally(photos=5, lost=0, doubled=0)
    measured("64 MiB, 0 bytes free: 6 of 6 uploads 507, 5 of 5 pages 200, models unchanged")

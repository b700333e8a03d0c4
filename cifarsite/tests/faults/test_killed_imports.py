"""Workers that are killed while labelled images come in: the import goes on, no image is lost or doubled."""

from __future__ import annotations

import io
import json
import secrets
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cifarsite.tests.faults.running import Site
from conftest import wait_until
from training.tests.projects.drawings import drawn_file

pytestmark = pytest.mark.faults
IMAGES = 600


@pytest.fixture(scope="module")
def archive() -> bytes:
    """Three classes of drawings, and a file that is no image for each hundred."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for number in range(IMAGES):
            file.writestr(f"class {number % 3}/{number}.png", drawn_file(number))
        for number in range(IMAGES // 100):
            file.writestr(f"class 0/{number}.txt", b"no image")
    return content.getvalue()


def begin(site: Site, archive: bytes) -> str:
    as_json: dict[str, Any] = {"Content-Type": "application/json"}
    made = site.request("POST", "/api/v1/projects", json.dumps({"name": "Drawn"}).encode(), **as_json)
    assert made.status == 201, made.text
    boundary = secrets.token_hex(16)
    head = 'Content-Disposition: form-data; name="archive"; filename="drawn.zip"'
    body = f"--{boundary}\r\n{head}\r\nContent-Type: application/zip\r\n\r\n".encode() + archive
    kind: dict[str, Any] = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    body += f"\r\n--{boundary}--\r\n".encode()
    sent = site.request("POST", "/api/v1/projects/drawn/images", body, **kind)
    assert sent.status == 202, sent.text
    return f"/api/v1/projects/drawn/imports/{sent.json['id']}"


def added(site: Site) -> int:
    found: int = site.one("SELECT added FROM training_projectimport")
    return found


def files_of_images(site: Site) -> set[str]:
    media = site.folder / "media"
    return {str(path.relative_to(media)) for path in Path(media).glob("projects/**/*") if path.is_file()}


def test_an_import_survives_kills_of_its_worker(
    sites: Callable[..., Site], archive: bytes, measured: Callable[[str], None]
) -> None:
    site = sites()
    site.start_web()
    site.start_sweeper()
    where = begin(site, archive)
    kills = 0
    for share in (0.1, 0.4, 0.7):
        worker = site.start_worker(f"w{kills}", wait=False)
        wait_until(lambda share=share: added(site) >= share * IMAGES, "some images", 120)  # type: ignore[misc]
        if site.one("SELECT state FROM training_projectimport") == "done":
            break
        site.kill(worker)
        kills += 1
    site.start_worker("last", wait=False)
    wait_until(lambda: site.get(where).json["state"] == "done", "the end of the import", 120)
    found = site.get(where).json
    assert kills >= 2
    assert (found["added"], found["duplicates"], found["failed"]) == (IMAGES, 0, IMAGES // 100)
    assert found["images"] == {f"class {n}": IMAGES // 3 for n in range(3)}
    assert site.one("SELECT count(*) FROM training_projectimage") == IMAGES
    named = {name for (name,) in site.rows("SELECT file FROM training_projectimage")}
    assert named <= files_of_images(site)
    splits = dict(site.rows("SELECT split, count(*) FROM training_projectimage GROUP BY split"))
    assert splits == {"training": 420, "validation": 90, "test": 90}
    measured(f"{IMAGES} images, {kills} kills: none lost, none doubled")


def test_one_that_is_cancelled_under_way_leaves_nothing(sites: Callable[..., Site], archive: bytes) -> None:
    site = sites()
    site.start_web()
    site.start_worker("w1", wait=False)
    where = begin(site, archive)
    wait_until(lambda: added(site) > 0, "the first images", 120)
    assert site.request("POST", f"{where}/cancel").status == 202
    wait_until(lambda: not files_of_images(site), "the removal of its files", 120)
    assert site.get(where).json["state"] == "cancelled"
    for table in ("projectimage", "projectclass"):
        assert not site.one(f"SELECT count(*) FROM training_{table} WHERE project_id = 'drawn'")
    assert not list((site.folder / "media" / "imports").glob("*/*"))

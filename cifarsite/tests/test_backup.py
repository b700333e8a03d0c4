"""Backup, lose everything, restore: the same people, photos, files and answers."""

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cifarsite.tests.hosts import Host, new_database
from cifarsite.tests.run_folder import once
from conftest import S3_KEYS, s3_client, wait_until

PHOTOS = """
from cifarsite.test import image_file
from classifier.models import User
from classifier.predictions.inference import predict_pending
from classifier.uploads.photos import upload_photo
alice = User.objects.get(username='alice')
for number, colour in enumerate(['steelblue', 'crimson', 'gold']):
    upload_photo(alice, image_file(f'{number}.jpg', colour=colour))
assert predict_pending('test') == 3
"""
EVERYTHING = """
import hashlib
import numpy as np
from django.core.files.storage import default_storage
from classifier.operations.backup import count_rows, stored_names
from classifier.models import Prediction
from training.registry import model_store
fresh = model_store.predictor(model_store.champion()).predict(
    np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
)
answer = {
    'answers': list(Prediction.objects.order_by('id').values_list(
        'photo_id', 'owner__username', 'photo__filename', 'label', 'probabilities', 'verdict',
        'model__sha256', 'photo_created_at', 'finished_at', 'request_id')),
    'files': {name: hashlib.sha256(default_storage.open(name).read()).hexdigest()
              for name in stored_names(default_storage)},
    'rows': count_rows(),
    'fresh': [[round(float(p), 6) for p in row] for row in fresh.probabilities],
}
"""


def lose_sqlite(host: Host) -> None:
    for file in host.folder.glob("db.sqlite3*"):
        file.unlink()


def lose_postgres(host: Host) -> None:
    url = host.environment["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as server:
        server.execute("DROP SCHEMA public CASCADE")
        server.execute("CREATE SCHEMA public")


def lose_files(host: Host) -> None:
    for name in ("media", "models", "runs"):
        shutil.rmtree(host.folder / name, ignore_errors=True)
    if address := host.environment.get("S3_ENDPOINT_URL"):
        client = s3_client(address)
        for page in client.get_paginator("list_objects_v2").paginate(Bucket="photos", Prefix="backed-up/"):
            for entry in page.get("Contents", []):
                client.delete_object(Bucket="photos", Key=entry["Key"])


@pytest.fixture
def on_one_machine(tmp_path: Path) -> Host:
    """A site with three answered photos; ``before.json`` in its folder is what ``EVERYTHING`` says of it."""
    host = Host(tmp_path / "site")
    host.copy(once("answered", lambda folder: fill(Host(folder))))
    return host


def fill(host: Host) -> None:
    host.prepare()
    (host.folder / "before.json").write_text(json.dumps(host.ask(PHOTOS + EVERYTHING)))


def before_all(host: Host) -> Any:
    return json.loads((host.folder / "before.json").read_text())


@pytest.fixture
def in_production(tmp_path: Path, postgres_url: str, s3_server: str) -> Iterator[Host]:
    with new_database(postgres_url) as database:
        settings: dict[str, Any] = {
            "DATABASE_URL": database,
            "STORAGE_URL": "s3://photos/backed-up",
            **S3_KEYS,
        }
        settings["S3_ENDPOINT_URL"] = s3_server
        host = Host(tmp_path / "site", **settings)
        fill(host)
        yield host


@pytest.mark.slow
@pytest.mark.parametrize("which", ["on_one_machine", "in_production"])
def test_what_was_lost_is_back_with_the_same_answers(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    host: Host = request.getfixturevalue(which)
    before = before_all(host)
    assert len(before["answers"]) == 3
    assert len(before["files"]) >= 10
    backups = tmp_path / "backups"
    assert f"{len(before['files'])} files" in host.manage("backup", str(backups))

    (lose_postgres if which == "in_production" else lose_sqlite)(host)
    lose_files(host)
    host.manage("restore", str(backups))
    assert host.ask(EVERYTHING) == before
    # New rows go on behind the old ones.
    assert len(host.ask(PHOTOS + EVERYTHING)["answers"]) == 6


@pytest.mark.slow
def test_a_backup_of_sqlite_is_whole_though_it_is_written_to_all_the_time(
    on_one_machine: Host, tmp_path: Path
) -> None:
    """Two tables that each transaction writes to; what is in one and not in the other was torn apart."""
    host, backups = on_one_machine, tmp_path / "backups"
    file = host.folder / "db.sqlite3"
    with closing(sqlite3.connect(file)) as database:
        database.executescript("CREATE TABLE left_hand (n, text); CREATE TABLE right_hand (n, text);")
    over, written = threading.Event(), [0]

    def write() -> None:
        with closing(sqlite3.connect(file, timeout=60)) as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            while not over.wait(0.005):
                with database:
                    database.execute("INSERT INTO left_hand VALUES (?, ?)", (written[0], "x" * 20_000))
                    database.execute("INSERT INTO right_hand VALUES (?, ?)", (written[0], "x" * 20_000))
                written[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: written[0] > 20, "the first rows", 60)
        host.manage("backup", str(backups))
        during = written[0]
    finally:
        over.set()
        writer.join()
    with closing(sqlite3.connect(next(backups.glob("2*/database.sqlite3")))) as dump:
        assert dump.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        left, right = (
            dump.execute(f"SELECT count(*), max(n) FROM {name}").fetchone()
            for name in ("left_hand", "right_hand")
        )
    assert left == right
    assert 20 < left[0] <= during + 1
    assert not list(backups.glob("2*/database.sqlite3-*"))
    host.manage("restore", str(backups), "--replace")


@pytest.mark.slow
def test_a_restore_takes_nothing_away_by_mistake(on_one_machine: Host, tmp_path: Path) -> None:
    host, backups = on_one_machine, tmp_path / "backups"
    host.manage("backup", str(backups))
    assert "is not empty" in host.manage("restore", str(backups), expected=1)
    # A byte of a file and a byte of the dump: told before anything is changed.
    lose_sqlite(host)
    for damaged in (next((backups / "files").rglob("display.jpg")), next(backups.glob("2*/database.*"))):
        kept = damaged.read_bytes()
        damaged.write_bytes(kept[:100] + bytes([kept[100] ^ 1]) + kept[101:])
        assert "damaged" in host.manage("restore", str(backups), expected=1)
        damaged.write_bytes(kept)
    # To look is to open, which makes an empty database of a lost one.
    with host.sqlite() as database:
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    host.manage("restore", str(backups))
    host.manage("restore", str(backups), "--replace")


@pytest.mark.slow
def test_files_are_copied_once_and_what_no_kept_backup_names_goes(
    on_one_machine: Host, tmp_path: Path
) -> None:
    host, backups = on_one_machine, tmp_path / "backups"
    host.manage("backup", str(backups))
    gone = next((backups / "files").rglob("display.jpg"))
    host.shell(f"from classifier.models import Photo\nPhoto.objects.get(pk='{gone.parent.name}').delete()")
    shutil.rmtree(host.folder / "media" / gone.parent.relative_to(backups / "files"))
    assert "(0 of them new)" in host.manage("backup", str(backups))
    assert gone.exists()  # the first backup has it
    host.manage("backup", str(backups), "--keep", "1")
    assert len(list(backups.glob("2*"))) == 1
    assert not gone.exists()


@pytest.mark.slow
def test_a_damaged_file_is_left_out_of_a_restore_and_listed(on_one_machine: Host, tmp_path: Path) -> None:
    host, backups = on_one_machine, tmp_path / "backups"
    host.manage("backup", str(backups))
    damaged = next((backups / "files").rglob("display.jpg"))
    name = damaged.relative_to(backups / "files")
    damaged.write_bytes(bytes([damaged.read_bytes()[0] ^ 1]) + damaged.read_bytes()[1:])
    before = before_all(host)
    # One that is in the storage and was damaged there, its size as before, is put back as well.
    stored = next(
        path for path in (host.folder / "media").rglob("display.jpg") if path.parent.name not in str(name)
    )
    content = stored.read_bytes()
    lose_sqlite(host)
    (host.folder / "media" / name).unlink()
    stored.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert "--leave-out-damaged" in host.manage("restore", str(backups), expected=1)
    assert f"left out  {name}" in host.manage("restore", str(backups), "--leave-out-damaged")
    assert stored.read_bytes() == content
    after = host.ask(EVERYTHING)
    assert after["answers"] == before["answers"]
    assert before["files"].keys() - after["files"].keys() == {str(name)}

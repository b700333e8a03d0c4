"""Files in an S3-compatible store: a real server of its own, a real client, no file on this host."""

import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from typing import Any, cast
from unittest import mock

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client, override_settings

from cifarsite.core.s3_storage import BYTES_A_REQUEST
from cifarsite.core.storage import StorageUnavailable
from cifarsite.test import image_file, make_user
from classifier.images.errors import ImageRefused
from classifier.models import BatchItem, Photo, Prediction, User
from classifier.photos import history
from classifier.predictions import inference
from classifier.tests.uploads.archives import photos, zipped
from classifier.uploads import batch_worker, batches
from classifier.uploads.photos import upload_photo
from conftest import S3_KEYS, accepts, free_port, s3_client, wait_until
from training.registry import model_store, pretrained

pytestmark = pytest.mark.django_db


def stored_at(address: str) -> dict[str, Any]:
    options = {"bucket_name": "photos", "location": "site", "endpoint_url": address}
    return {
        "default": {"BACKEND": "cifarsite.core.s3_storage.S3Files", "OPTIONS": options},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }


@pytest.fixture
def store(s3_server: str, tmp_path: Any) -> Iterator[str]:
    """The site's files lie on the server; what it still wrote here would be in ``tmp_path``."""
    with (
        mock.patch.dict(os.environ, S3_KEYS),
        override_settings(STORAGES=stored_at(s3_server), MEDIA_ROOT=tmp_path),
    ):
        yield s3_server
        assert not list(tmp_path.iterdir())


@pytest.fixture
def alice() -> User:
    return make_user("alice")


def keys(address: str) -> list[str]:
    listed = s3_client(address).list_objects_v2(Bucket="photos").get("Contents", [])
    return [entry["Key"] for entry in listed]


def upload(owner: User) -> Photo:
    return upload_photo(owner, cast(Any, image_file()))


def test_a_photo_goes_up_is_served_to_its_owner_alone_and_goes(store: str, alice: User) -> None:
    photo = upload(alice)
    mine = [key for key in keys(store) if str(photo.pk) in key]
    assert len(mine) == 3
    assert all(key.startswith("site/photos/") for key in mine)

    client = Client()
    client.force_login(alice)
    page = f"/photos/{photo.pk}/image/"
    answer = client.get(page)
    assert answer.status_code == 200
    assert answer.getvalue()[:2] == b"\xff\xd8"
    assert answer.headers["Cache-Control"].startswith("private")
    stranger = Client()
    stranger.force_login(make_user("bob"))
    assert stranger.get(page).status_code == 404
    assert Client().get(page).status_code == 302

    history.delete_photos(alice, [photo.pk])
    Photo.objects.update(deleted_at="2020-01-01T00:00:00Z")
    history.purge_deleted()
    assert not [key for key in keys(store) if str(photo.pk) in key]


def test_the_bucket_gives_no_file_to_somebody_without_the_keys(store: str, alice: User) -> None:
    photo = upload(alice)
    grants = s3_client(store).get_object_acl(Bucket="photos", Key=f"site/{photo.display.name}")["Grants"]
    assert [grant["Permission"] for grant in grants] == ["FULL_CONTROL"]
    assert all("URI" not in grant["Grantee"] for grant in grants)
    # An address that the storage makes is signed and ends.
    assert "Signature=" in default_storage.url(str(photo.display.name))


def test_a_worker_on_another_host_reads_model_and_photo_from_the_store(
    store: str, alice: User, tmp_path_factory: Any
) -> None:
    with override_settings(MODELS_DIR=tmp_path_factory.mktemp("web")):
        pretrained.install_pretrained()
        photo = upload(alice)
    model_store._loaded.cache_clear()
    with override_settings(MODELS_DIR=tmp_path_factory.mktemp("worker")):
        assert inference.predict_pending("worker@elsewhere") == 1
    answer = photo.prediction
    assert answer.status == Prediction.Status.DONE
    assert answer.probabilities


def test_of_a_large_archive_only_what_is_read_is_fetched(store: str) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        for number in range(10):
            written.writestr(f"{number}.bin", os.urandom(2_000_000))
    default_storage.save("batches/large.zip", ContentFile(archive.getvalue()))

    with default_storage.open("batches/large.zip", "rb") as opened:
        fetched = 0
        storage = cast(Any, default_storage)
        real = storage.part

        def counted(*args: Any) -> Any:
            nonlocal fetched
            content, size, etag = real(*args)
            fetched += len(content)
            return content, size, etag

        with mock.patch.object(type(storage._wrapped), "part", lambda self, *args: counted(*args)):
            assert opened.size == len(archive.getvalue())
            assert len(zipfile.ZipFile(opened).read("7.bin")) == 2_000_000
        assert fetched <= 3 * BYTES_A_REQUEST < opened.size
        opened.seek(0)
        assert opened.read() == archive.getvalue()


def test_an_empty_file_and_one_that_is_not_there(store: str) -> None:
    name = default_storage.save("empty", ContentFile(b""))
    with default_storage.open(name) as opened:
        assert opened.read() == b""
    with pytest.raises(FileNotFoundError):
        default_storage.open("nowhere")
    assert not default_storage.exists("nowhere")
    default_storage.delete("nowhere")


def test_a_closed_file_can_be_opened_again(store: str, alice: User) -> None:
    display = upload(alice).display
    with display.open("rb") as file:
        first = file.read()
    with display.open("rb") as file:
        assert file.read() == first


@pytest.fixture
def flaky() -> Iterator[Any]:
    """A store that can be taken away and comes back with what it holds: stopped, then continued."""
    port = free_port()
    argv = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: accepts(port), "The S3 server")
        s3_client(address).create_bucket(Bucket="photos")
        impatient = mock.patch.multiple(
            "cifarsite.core.s3_storage", CONNECT_SECONDS=1, READ_SECONDS=1, TRIES=1
        )
        with mock.patch.dict(os.environ, S3_KEYS), impatient, override_settings(STORAGES=stored_at(address)):
            yield process
    finally:
        process.kill()
        process.wait()


def test_while_the_store_is_away_uploads_are_refused_in_a_sentence(flaky: Any, alice: User) -> None:
    photo = upload(alice)
    flaky.send_signal(signal.SIGSTOP)
    with pytest.raises(ImageRefused) as refusal:
        upload(alice)
    assert refusal.value.code == "busy"
    assert Photo.objects.count() == 1
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    answer = client.get(f"/photos/{photo.pk}/image/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "15")
    assert b"Your data is safe" in answer.content
    posted = client.post("/", {"file": image_file()}, headers={"Accept": "application/json"})
    assert posted.status_code == 503
    flaky.send_signal(signal.SIGCONT)
    assert client.get(f"/photos/{photo.pk}/image/").status_code == 200


def test_while_the_store_is_away_photos_wait_and_are_not_charged(flaky: Any, alice: User) -> None:
    pretrained.install_pretrained()
    photo = upload(alice)
    model_store.predictor(cast(Any, model_store.champion()))
    flaky.send_signal(signal.SIGSTOP)
    for _ in range(4):
        assert inference.predict_pending("worker") == 0
    waiting = photo.prediction
    assert (waiting.status, waiting.attempt, waiting.claim) == ("queued", 0, None)
    flaky.send_signal(signal.SIGCONT)
    assert inference.predict_pending("worker") == 1
    assert photo.prediction.status == "done"


def test_while_the_store_is_away_entries_of_archives_wait(flaky: Any, alice: User) -> None:
    batch = batches.create_batch(alice, zipped(photos(3)), filename="three.zip")
    flaky.send_signal(signal.SIGSTOP)
    for _ in range(4):
        assert batch_worker.unpack_slice("worker") == 0
    assert set(batch.items.values_list("status", "attempt")) == {("queued", 0)}
    flaky.send_signal(signal.SIGCONT)
    batch_worker.unpack_slice("worker")
    assert set(batch.items.values_list("status", flat=True)) == {BatchItem.Status.STORED}


def test_a_store_that_refuses_is_away_too(s3_server: str) -> None:
    """A bucket that is gone is a fault of the set-up, not of each file."""
    away = stored_at(s3_server)
    away["default"]["OPTIONS"]["bucket_name"] = "no-such-bucket"
    with mock.patch.dict(os.environ, S3_KEYS), override_settings(STORAGES=away):
        with pytest.raises(StorageUnavailable):
            default_storage.save("x", ContentFile(b"x"))
        with pytest.raises(StorageUnavailable):
            default_storage.open("x")

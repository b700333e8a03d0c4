"""Requests of one person that come at the same moment, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from cifarsite.tests.hosts import Host, new_database
from conftest import require

TOGETHER = """
import io
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from django.db import connection
from cifarsite.test import answer as answer_as_worker, image_bytes
from classifier.images.errors import ImageRefused
from classifier.models import Photo, Prediction, User
from classifier.uploads.photos import upload_photo
from classifier.predictions.queue import ask_again
from classifier.uploads import admission

def together(n, do):
    barrier = Barrier(n)
    def one(number):
        barrier.wait()
        try:
            return str(do(number))
        except Exception as error:
            return getattr(error, "code", None) or repr(error)
        finally:
            connection.close()
    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(one, range(n)))
"""
UPLOADS = """
alice = User.objects.get(username="alice")
admission.uploads = admission.Admission(slots=20, pixels=10**9, waiting=20)
content = image_bytes()
said = together(20, lambda number: upload_photo(alice, io.BytesIO(content)) and "stored")
answer = {"said": said, "photos": Photo.objects.count()}
"""
ASKING = """
alice = User.objects.get(username="alice")
photo = upload_photo(alice, io.BytesIO(image_bytes()))
answer_as_worker(photo)
said = together(10, lambda number: ask_again(Photo.objects.get(pk=photo.pk)).pk and "asked")
answer = {"said": said, "answers": photo.predictions.count()}
"""
PARTS = """
from classifier.images.crops import Crop, read_crop
alice = User.objects.get(username="alice")
photo = upload_photo(alice, io.BytesIO(image_bytes()))
answer_as_worker(photo)
part = read_crop({"left": 0, "top": 0, "width": 0.5, "height": 0.5}, photo)
said = together(10, lambda number: ask_again(Photo.objects.get(pk=photo.pk), part).pk and "asked")
answer = {"said": said, "answers": photo.predictions.count()}
"""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    if request.param == "postgres":
        require("needs_postgres")
        database: Any = new_database(request.getfixturevalue("postgres_url"))
    else:
        database = nullcontext("")
    with database as url:
        made = Host(tmp_path_factory.mktemp("site"), DATABASE_URL=url, QUOTA_PHOTOS=5)
        made.migrate()
        made.shell("from cifarsite.test import make_user; make_user('alice')")
        yield made
        made.destroy()


@pytest.fixture(autouse=True)
def _without_photos(host: Host) -> None:
    host.shell("from classifier.models import Photo; Photo.objects.all().delete()")


@pytest.mark.slow
def test_twenty_uploads_with_room_for_five_store_five(host: Host) -> None:
    found = host.ask(TOGETHER + UPLOADS)
    assert found["photos"] == 5, found
    assert sorted(found["said"]) == ["quota"] * 15 + ["stored"] * 5


@pytest.mark.slow
@pytest.mark.parametrize("code", [ASKING, PARTS], ids=["whole", "part"])
def test_ten_who_ask_again_make_one_question(host: Host, code: str) -> None:
    found = host.ask(TOGETHER + code)
    assert found["said"] == ["asked"] * 10
    assert found["answers"] == 2

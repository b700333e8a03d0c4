"""A real fault and a real hang inside Pillow, in mid-request: the web process and the other files live.

Pillow is made faulty in the decoder's processes alone: pictures 66 pixels wide make it read address
zero, which the kernel ends with SIGSEGV; those 77 pixels wide make it turn in a circle.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from cifarsite.test import ApiTestCase, image_bytes, image_file
from classifier.images import sandbox
from classifier.models import Photo

FAULTY = """
import ctypes
from PIL import Image, ImageFile

load = ImageFile.ImageFile.load

def faulty(self):
    if self.width == 66:
        ctypes.string_at(0)
    while self.width == 77:
        pass
    return load(self)

ImageFile.ImageFile.load = faulty
"""


@pytest.mark.faults
class FaultyPillow(ApiTestCase):
    @pytest.fixture(autouse=True)
    def _faulty(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        (tmp_path / "sitecustomize.py").write_text(FAULTY)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        pool = sandbox.Pool(children=2, seconds=5)
        monkeypatch.setattr(sandbox, "_pool", pool)
        yield
        pool.close()

    def files(self) -> list[Any]:
        crash, hang = image_bytes(size=(66, 40)), image_bytes(size=(77, 40))
        return [
            image_file("one.jpg"),
            SimpleUploadedFile("crash.jpg", crash),
            image_file("two.png", "PNG"),
            SimpleUploadedFile("hang.jpg", hang),
            image_file("three.webp", "WEBP"),
        ]

    def test_through_the_page(self) -> None:
        self.client.force_login(self.alice)
        response = self.client.post("/", {"file": self.files()})
        self.assertContains(response, "3 photos were uploaded")
        self.assertContains(response, "2 files were refused")
        self.assertContains(response, "takes too much time or memory", count=2)
        self.assertEqual(Photo.objects.count(), 3)

    def test_through_the_api(self) -> None:
        response = self.call("post", "photos", {"file": self.files()})
        self.assertEqual(response.status_code, 202)
        names = [error["filename"] for error in response.json()["errors"]]
        self.assertEqual(names, ["crash.jpg", "hang.jpg"])
        self.assertEqual(len(response.json()["photos"]), 3)

    def test_no_faulty_process_is_left_behind(self) -> None:
        self.client.force_login(self.alice)
        before = os.getpid()
        self.client.post("/", {"file": self.files()})
        self.assertEqual(os.getpid(), before)
        for pid in sandbox._shared_pool().pids():
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            self.assertIn(state, "SD", "it sleeps and waits for the next file")

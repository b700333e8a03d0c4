"""What the benchmarks of archives, workers, training and growth rest on."""

import ast
import importlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test import Client
from PIL import Image

from benchmarks import batch, flames, growth, million, spending, training
from benchmarks.intake import make_photo
from classifier.models import Prediction, User
from classifier.photos import daily_counts
from conftest import ROOT, wait_until
from training.engine.data.preprocessing import make_input
from training.models import DEFAULT_PROJECT, ModelVersion, TrainingJob
from training.registry import pretrained


@pytest.mark.parametrize("side", [32, 128])
def test_bare_tensorflow_gets_the_very_input_that_the_site_makes(side: int) -> None:
    from benchmarks.peers.bare_tensorflow import decode

    content = make_photo(640, 480)  # turned by its EXIF
    with Image.open(io.BytesIO(content)) as image:
        upright = image.convert("RGB").transpose(Image.Transpose.ROTATE_270)
    expected = np.asarray(make_input(upright, f"squash{side}-v1"))
    np.testing.assert_array_equal(decode(content, (side, side)), expected)


def test_the_exponent_is_the_slope_of_the_logarithms() -> None:
    assert growth.slope({10: 3.0, 100: 30.0, 1_000: 300.0}) == pytest.approx(1)
    assert growth.slope({10: 7.0, 100: 7.0, 1_000: 7.0}) == pytest.approx(0)
    assert growth.slope({1: 2.0, 4: 4.0}) == pytest.approx(0.5)


def test_a_flame_graph_shows_the_shares_of_the_processes_that_count() -> None:
    web = 'process 7:"python -c import site; from gunicorn import run\nrun()"'
    photos = f"{web};upload_photo (/site/classifier/uploads/photos.py:"
    stacks = flames.read(
        f"{photos}7);save (django/db/models.py:1) 70\n"
        f"{photos}9) 5\n"
        f"{web};<genexpr> (django/template/base.py:3) 25\n"
        f"{web};_find_and_load (<frozen importlib._bootstrap>:1) 1000\n"
        'process 8:"python -m uvicorn report_api:app";predict (report_api.py:1) 1000\n'
    )
    svg = flames.draw("32 clients", flames.readable(stacks, flames.ROWS["clients"]))
    told = re.findall(r"<title>(.*)</title><rect x=\"([\d.]+)\" y=\"(\d+)\" width=\"([\d.]+)\"", svg)
    assert told == [
        ("32 clients, 100 looks: 100.0%", "0.0", "45", "1200.0"),
        ("web: 100.0%", "0.0", "30", "1200.0"),
        ("upload_photo (uploads/photos.py): 75.0%", "0.0", "15", "900.0"),
        ("save (db/models.py): 70.0%", "0.0", "0", "840.0"),
        ("&lt;genexpr&gt; (template/base.py): 25.0%", "900.0", "15", "300.0"),
    ]


def test_a_run_is_timed_from_the_end_of_its_first_epoch() -> None:
    assert training.steady({"images": 100, "epoch_ends_s": [30.0, 40.0, 50.0]}) == pytest.approx(10)


def test_the_log_of_a_run_tells_its_epochs() -> None:
    lines = [
        "2026-01-01 12:00:00 45,000 images to train on, 5,000 to validate on.",
        "2026-01-01 12:00:01 epoch 1/2  loss 2.0  accuracy 0.2  val_loss 2.0  val_accuracy 0.2  rate 0.01",
        "2026-01-01 12:00:02 Epoch 1 was the best; now the test images.",
    ]
    assert training.count_epochs(lines) == 1


@pytest.mark.django_db
def test_the_rows_of_a_million_photos_fit_the_tables_and_their_pages_answer(
    client: Client, settings: Any, tmp_path: Path
) -> None:
    photos = 300
    settings.MEDIA_ROOT, settings.MODELS_DIR = tmp_path / "media", tmp_path / "models"
    person = User.objects.create_superuser("many", pk=1)
    ModelVersion.objects.create(pk=1, name="bench", recipe="fast_cnn", sha256="a" * 64, size=1, card={})
    pretrained.install_pretrained()
    TrainingJob.objects.create(recipe="seed_cnn", parameters={"epochs": 40})
    with connection.cursor() as cursor:
        for statement in million.statements(connection.vendor, photos):
            cursor.execute(statement)
    daily_counts.recount(limit=10_000)
    assert Prediction.objects.filter(project=DEFAULT_PROJECT).count() == photos
    client.force_login(person)
    wrong = {name: client.get(url).status_code for name, url in million.pages(photos).items()}
    assert {name: status for name, status in wrong.items() if status != 200} == {}


def test_answers_are_compared_photo_by_photo() -> None:
    assert batch.alike([1, 2, 3, 4], [1, 2, 3, 5]) == 0.75


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
def test_a_sites_processes_are_told_apart_by_their_command_lines() -> None:
    child = "[sys.executable, '-m', 'classifier.images.' + 'sandbox_child'], stdin=-1"
    code = f"import subprocess, sys; subprocess.Popen({child}).wait()  # predict@test"
    words = [sys.executable, "-c", code]
    process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(list(spending.kinds(process.pid))) == 2, "its child")
        wait_until(
            lambda: "decoders of the prediction worker" in spending.peaks(process.pid), "the decoder's name"
        )
        assert spending.spent(process.pid)["prediction worker"] >= 0
        assert spending.peaks(process.pid)["prediction worker"] > 1_000_000
    finally:
        for place, _kind in reversed(list(spending.kinds(process.pid))):
            os.kill(int(place.name), 9)
        process.wait()


@pytest.mark.parametrize("module", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_what_a_benchmark_hands_to_another_process_can_be_imported(module: str) -> None:
    """Types are not checked in strings."""
    tree = ast.parse((ROOT / "benchmarks" / f"{module}.py").read_text())
    text = "\n".join(str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant))
    for line in re.findall(r"^from (?:cifarsite|classifier|training)\b.* import .+$", text, re.M):
        (statement,) = ast.parse(line).body
        assert isinstance(statement, ast.ImportFrom)
        found = importlib.import_module(str(statement.module))
        assert [alias.name for alias in statement.names if not hasattr(found, alias.name)] == [], line

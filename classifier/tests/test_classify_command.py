"""manage.py classify: labels for files, without a web site, a worker or a database."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cifarsite.test import image_bytes
from cifarsite.tests.hosts import Host
from classifier.management.commands import classify as command
from conftest import ROOT
from training.engine.data.cifar10 import CLASS_NAMES
from training.registry import pretrained

COLOURS = ("steelblue", "tomato", "gold", "orchid", "teal")
shipped = pytest.mark.skipif(
    not (pretrained.PRETRAINED_DIR / pretrained.SHIPPED_CHAMPION / "card.json").exists(),
    reason="no model ships with this copy of the project",
)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Good and bad files, mixed."""
    names = []
    for number, colour in enumerate(COLOURS):
        path = tmp_path / f"{number} é.jpg"
        path.write_bytes(image_bytes(colour=colour))
        names.append(str(path))
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "empty.jpg").write_bytes(b"")
    names[1:1] = [str(tmp_path / "text.txt"), str(tmp_path / "missing.jpg")]
    return [*names, str(tmp_path / "empty.jpg"), str(tmp_path)]


def manage(folder: Path, *words: str) -> Any:
    environment = {**os.environ, "VAR_DIR": str(folder), "DATABASE_URL": "", "BROKER_URL": ""}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@shipped
def test_it_answers_in_order_where_there_is_no_database(files: list[str], tmp_path: Path) -> None:
    done = manage(tmp_path / "var", "classify", "--json", *files)
    assert done.returncode == 1, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["file"] for answer in answers] == files
    codes = [answer.get("error", {}).get("code") for answer in answers]
    bad = ["not_an_image", "unreadable"]
    assert codes == [None, *bad, None, None, None, None, "empty", "unreadable"]
    for answer in answers:
        if "error" in answer:
            assert set(answer) == {"file", "error"}
            assert answer["error"]["detail"].endswith(".")
        else:
            assert set(answer) == {"file", "label", "confidence", "verdict", "probabilities"}
            assert list(answer["probabilities"]) == list(CLASS_NAMES)
            assert answer["confidence"] == max(answer["probabilities"].values())
            assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
            assert abs(sum(answer["probabilities"].values()) - 1) < 1e-4


@shipped
def test_it_answers_a_thousand_files_with_the_version_that_is_asked_for(tmp_path: Path) -> None:
    var = tmp_path / "var"
    Host(var).migrate()
    assert manage(var, "install_pretrained").returncode == 0
    source = tmp_path / "photo.jpg"
    source.write_bytes(image_bytes())
    names = [str(tmp_path / f"{number}.jpg") for number in range(1_000)]
    for name in names:
        Path(name).hardlink_to(source)
    card = json.loads((pretrained.PRETRAINED_DIR / "fast_cnn" / "card.json").read_text())
    version = f"fast_cnn-shipped-{card['sha256'][:6]}"
    done = manage(var, "classify", "--json", "--model", version, *names)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["file"] for answer in answers] == names
    # The same photo has the same answer, wherever in a batch it stands.
    assert len({answer["label"] for answer in answers}) == 1
    spread = {round(answer["confidence"], 4) for answer in answers}
    assert max(spread) - min(spread) < 1e-3


def test_it_does_not_know_other_versions(tmp_path: Path) -> None:
    Host(tmp_path / "var").migrate()
    done = manage(tmp_path / "var", "classify", "--model", "magic", "x.jpg")
    assert done.returncode == 1
    assert "There is no model version 'magic'" in done.stderr


@dataclass
class Answers:
    probabilities: np.ndarray
    verdicts: list[str]


@dataclass
class CountingPredictor:
    """Answers without a network and notes the size of each batch."""

    sizes: list[int] = field(default_factory=list)

    def predict(self, images: np.ndarray) -> Answers:
        self.sizes.append(len(images))
        return Answers(np.full((len(images), 10), 0.1), ["unsure"] * len(images))


def test_it_goes_through_the_model_in_batches(files: list[str]) -> None:
    predictor: Any = CountingPredictor()
    names = files * 60
    answers = list(command.classify(names, predictor, "squash32-v1", list(CLASS_NAMES)))
    assert [answer["file"] for answer in answers] == names
    assert len(predictor.sizes) == -(-len(names) // command.BATCH)
    assert sum(predictor.sizes) == len(COLOURS) * 60

"""Two measured models on 10,000 made-up images: what tests of reports start from."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core import serializers
from django.core.serializers.base import DeserializedObject
from django.db import transaction
from django.test import override_settings

from cifarsite.test import SiteTestCase
from cifarsite.tests.run_folder import once
from training.engine.data.cifar10 import Cifar10
from training.engine.tests.data.synthetic import images, small_training_data
from training.engine.tests.training.tiny_recipe import RECIPE
from training.evaluation import measuring
from training.models import EvaluationReport, ModelVersion


def synthetic_cifar10(count: int = 10_000, training: int = 2_000) -> Cifar10:
    """The classes in turn; test image 7 is training image 7 with one grey level more."""
    y_train, y_test = (np.tile(np.arange(10, dtype=np.uint8), n // 10) for n in (training, count))
    x_train, x_test = images(y_train, 1), images(y_test, 2)
    x_test[7] = np.minimum(x_train[7].astype(int) + 1, 255)
    return Cifar10(x_train, y_train, x_test, y_test, source="made up", sha256="c" * 64)


def train(file: Path, seed: int) -> None:
    """A tiny network that has learned for a few short epochs."""
    import keras

    from training.engine.packaging.package import saved

    keras.utils.set_random_seed(seed)
    labels = np.tile(np.arange(10, dtype=np.uint8), 40)
    model = RECIPE.build(small_training_data(), RECIPE.clean(), 40)
    model.fit(images(labels, seed), np.eye(10)[labels], epochs=3 + seed, batch_size=40, verbose=0)
    file.write_bytes(saved(model))


def make_version(name: str, seed: int, folder: Path, **fields: Any) -> ModelVersion:
    """A version with a real file; the network is trained once a run of the tests."""
    trained = once(f"network-{seed}", lambda kept: train(kept / "model.keras", seed))
    content = (trained / "model.keras").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    (folder / f"{sha256}.keras").write_bytes(content)
    history = {"loss": [2.2, 1.9], "accuracy": [0.2, 0.4], "val_loss": [2.3, 2.0], "val_accuracy": [0.1, 0.3]}
    judge = {"temperature": 1.1, "set_threshold": 0.95, "score_threshold": -99.0}
    card = {"judge": judge, "history": history, "best_epoch": 2, "weights": 1234, "input_shape": [32, 32, 3]}
    return ModelVersion.objects.create(
        name=name,
        recipe="tiny",
        sha256=sha256,
        size=len(content),
        preprocessing="squash32-v1",
        card=card,
        test_accuracy=0.5,
        **fields,
    )


def measure_two_models(kept: Path) -> None:
    """Rows and files of both models and of their reports; the database is left as it was."""
    for name in ("models", "media"):
        (kept / name).mkdir()
    with transaction.atomic(), override_settings(MODELS_DIR=kept / "models", MEDIA_ROOT=kept / "media"):
        better = make_version("tiny-better", 2, kept / "models", is_champion=True)
        worse = make_version("tiny-worse", 0, kept / "models")
        cifar = synthetic_cifar10()
        reports = [measuring.evaluate_on_cifar10(version, cifar) for version in (better, worse)]
        rows = serializers.serialize("json", [better, worse, *reports])
        transaction.set_rollback(True)
    (kept / "rows.json").write_text(rows)


def saved(row: DeserializedObject) -> Any:
    row.save()
    return row.object


class ReportTestCase(SiteTestCase):
    """``better`` and ``worse``, both with a report; ``better`` is the champion.

    They are made once a run of the tests; each class has rows and files of its own, to change at will.
    """

    models_dir: Path
    cifar: Cifar10
    other: EvaluationReport
    better: ModelVersion
    worse: ModelVersion
    report: EvaluationReport

    @classmethod
    def setUpClass(cls) -> None:
        cls.models_dir = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        small = {"REPORT_DISTORTED_IMAGES": 100, "SYNTHETIC_OOD_IMAGES": 5}
        cls.enterClassContext(override_settings(MODELS_DIR=cls.models_dir, **small))
        super().setUpClass()

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.cifar = synthetic_cifar10()
        kept = once("two-models", measure_two_models)
        shutil.copytree(kept / "models", cls.models_dir, dirs_exist_ok=True)
        shutil.copytree(kept / "media", settings.MEDIA_ROOT, dirs_exist_ok=True)
        cls.better, cls.worse, cls.report, cls.other = (
            saved(row) for row in serializers.deserialize("json", (kept / "rows.json").read_text())
        )

    def setUp(self) -> None:
        self.client.force_login(self.alice)

    def url(self, page: str = "", version: ModelVersion | None = None) -> str:
        return f"/models/{(version or self.better).pk}/report/{page}"

"""A person's photo among a project's test images: no copy of it is kept, and it can be withdrawn."""

from __future__ import annotations

import io
from typing import Any
from uuid import uuid4

import numpy as np
from django.core.files.storage import default_storage
from django.test import TestCase
from PIL import Image

from training.data import image_sheets, project_versions, withdrawals
from training.engine.evaluation.report import Measured
from training.evaluation import reports
from training.evaluation.measured_photos import are_everybodys
from training.models import DatasetVersion, EvaluationReport, MeasuredPhoto, ModelVersion, ProjectImage
from training.registry import model_store
from training.tests.drawn_project import draw_project
from training.tests.test_api_training import make_model


class MixedSets(TestCase):
    def keep(self, version: ModelVersion, frozen: DatasetVersion) -> tuple[EvaluationReport, Any]:
        images = project_versions.labelled_images(frozen)
        tests = images.image_set(model_store.test_set("shapes"), images.rows("test"))
        measured = Measured(
            {"accuracy": 0.5, "truth": "01", "predicted": "01", "panels": {}, "classes": []},
            np.zeros((len(tests), 3), np.float16),
            np.zeros((len(tests), 2), np.float16),
        )
        reports.keep_files("f" * 64, tests, measured)
        report = reports.keep_row(version, tests, measured)
        png = Image.open(io.BytesIO(image_sheets.sheet(tests.sha256, range(len(tests)))))
        return report, np.asarray(png)

    def test_a_photo_is_a_grey_tile_and_its_withdrawal_drops_the_single_answers(self) -> None:
        draw_project("shapes", 10)
        tests = ProjectImage.objects.filter(project="shapes", split="test").order_by("sha256")
        photo, place = uuid4(), 2
        ProjectImage.objects.filter(pk=tests[place].pk).update(photo=photo)
        frozen = project_versions.freeze("shapes")
        report, sheet = self.keep(make_model("m", project_id="shapes", dataset=frozen), frozen)
        side = report.figures["panels"]["tile"]
        tiles = [sheet[:side, number * side : (number + 1) * side] for number in range(len(tests))]
        grey = [bool((tile == image_sheets.GREY).all()) for tile in tiles]
        self.assertEqual(grey, [number == place for number in range(len(tests))])
        self.assertTrue(are_everybodys(report))
        self.assertTrue(
            are_everybodys(EvaluationReport(model=report.model, dataset="shapes, cross-validated"))
        )
        self.assertEqual([row.row for row in MeasuredPhoto.objects.filter(report=report)], [place])
        kept = report.figures["panels"]["answers"]
        self.assertTrue(default_storage.exists(kept))
        with self.captureOnCommitCallbacks(execute=True):
            withdrawals.withdraw([photo])
        report.refresh_from_db()
        self.assertNotIn("answers", report.figures["panels"])
        self.assertFalse(default_storage.exists(kept))
        self.assertEqual(len(project_versions.labelled_images(frozen).ids), 29)

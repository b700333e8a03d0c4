"""The models that ship come with whole reports; their images join where CIFAR-10 is."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from cifarsite.test import make_user
from training.data import image_sheets
from training.engine.data.image_set import ImageSet
from training.evaluation import measuring, pretrained_reports, reports
from training.models import EvaluationReport, ModelVersion
from training.registry import pretrained
from training.tests.evaluation.report_case import ReportTestCase, synthetic_cifar10

PANELS = ("curves", "sweep", "histogram", "mistakes", "unsure", "examples", "slices", "kinds", "robustness")


@pytest.mark.parametrize("name", [folder.name for folder in pretrained.shipped_folders()])
def test_a_shipped_model_has_all_panels_and_an_answer_for_every_test_image(name: str) -> None:
    folder = pretrained.PRETRAINED_DIR / name
    figures = json.loads((folder / "test.json").read_text())
    assert {*PANELS, "data", "map", "speed", "intervals"} <= set(figures["panels"])
    assert figures["n"] == len(figures["predicted"]) == 10_000
    # Made by another machine, a few of the closest answers may differ.
    assert figures["accuracy"] == pytest.approx(pretrained.shipped_card(name)["test"]["accuracy"], abs=0.001)
    packed = (folder / "answers.npz").read_bytes()
    assert len(packed) < 400_000
    assert pretrained_reports.belong_together(figures, packed), f"Run 'manage.py ship_report {name}'."


@pytest.mark.django_db
def test_the_real_report_of_10000_images_takes_300_kb_and_10_queries_at_most(
    client: Client, settings: Any, tmp_path: Path
) -> None:
    settings.MODELS_DIR, settings.MEDIA_ROOT = tmp_path / "models", tmp_path / "media"
    pretrained.install_pretrained()
    pretrained_reports.complete()
    version = ModelVersion.objects.get(is_champion=True)
    report, other = version.reports.get(), ModelVersion.objects.exclude(pk=version.pk).earliest("pk")
    cifar = synthetic_cifar10()
    image_sheets.keep_tiles(ImageSet(report.dataset, report.dataset_sha256, cifar.x_test, cifar.y_test))
    client.force_login(make_user("alice"))
    for path in (
        "report/",
        "report/all/",
        "report/mistakes/",
        "report/images/",
        "report/images/3/",
        f"compare/{other.pk}/",
    ):
        for language in ("en", "vi"):
            with CaptureQueriesContext(connection) as queries:
                answer = client.get(f"/models/{version.pk}/{path}", headers={"accept-language": language})
            assert answer.status_code == 200, path
            assert len(answer.content) < 300_000, path
            assert len(queries) <= 10, (path, len(queries))


class ShippedReports(ReportTestCase):
    """A model that ships, made small: measured, written beside its file, installed on a new site."""

    folder: Path
    card: dict[str, Any]

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.folder = cls.models_dir / "pretrained" / "tiny"
        cls.folder.mkdir(parents=True, exist_ok=True)
        content = (cls.models_dir / f"{cls.better.sha256}.keras").read_bytes()
        (cls.folder / "model.keras").write_bytes(content)
        test = {"n": 10_000, "accuracy": 0.5}
        cls.card = {
            **cls.better.card,
            "sha256": hashlib.sha256(content).hexdigest(),
            "recipe": "tiny",
            "preprocessing": "squash32-v1",
            "data": {"name": "CIFAR-10", "sha256": "c" * 64},
            "validation": test,
            "test": test,
        }
        (cls.folder / "card.json").write_text(json.dumps(cls.card))
        with mock.patch.object(pretrained, "PRETRAINED_DIR", cls.folder.parent):
            pretrained_reports.ship("tiny", cls.cifar)

    def setUp(self) -> None:
        super().setUp()
        for name, value in (("PRETRAINED_DIR", self.folder.parent), ("SHIPPED_CHAMPION", "tiny")):
            self.enterContext(mock.patch.object(pretrained, name, value))
        # An empty site: no model, no image.
        ModelVersion.objects.all().delete()
        for file in ("tiles-000.npy", "data.npy"):
            default_storage.delete(f"sets/{'c' * 64}/{file}")

    def install(self) -> ModelVersion:
        call_command("install_pretrained", stdout=io.StringIO(), stderr=io.StringIO())
        return ModelVersion.objects.get(is_champion=True)

    def test_a_new_site_without_the_data_shows_the_whole_report_and_says_where_images_come_from(self) -> None:
        version = self.install()
        page = self.client.get(self.url("all/", version))
        for name in ("roc", "pr", "sweep", "reliability", "histogram", "robustness"):
            self.assertContains(page, f'id="chart-{name}"')
        for text in (
            "data-map",
            "Most confident mistakes",
            "Least confident predictions",
            "Test images that duplicate training images",
        ):
            self.assertContains(page, text)
        self.assertContains(page, "This site has no images of CIFAR-10")
        self.assertNotContains(page, "sheet.png?")
        for part in ("images/", "images/3/", "predictions.csv", "figures/map.svg", "points.json"):
            self.assertEqual(self.client.get(self.url(part, version)).status_code, 200, part)

    def test_a_site_with_the_data_shows_the_images_too(self) -> None:
        with (
            override_settings(CIFAR10_DIR="somewhere"),
            mock.patch.object(pretrained_reports, "load_cifar10", return_value=self.cifar),
        ):
            version = self.install()
        page = self.client.get(self.url("all/", version))
        self.assertNotContains(page, "do not come with the project")
        self.assertEqual(self.client.get(self.url("sheet.png?i=1,2", version)).status_code, 200)
        self.assertEqual(self.client.get(self.url("data.png", version)).status_code, 200)

    def test_another_copy_with_the_same_labels_lends_its_images(self) -> None:
        version = self.install()
        report = version.reports.get()
        other = synthetic_cifar10()
        other.y_test[:2] = other.y_test[1], other.y_test[0]
        self.assertEqual(pretrained_reports.show_images(other), 0)
        self.assertFalse(image_sheets.are_kept(report.dataset_sha256))
        self.assertEqual(pretrained_reports.show_images(synthetic_cifar10()), 1)
        self.assertTrue(image_sheets.are_kept(report.dataset_sha256))

    def test_a_folder_that_holds_no_cifar10_stops_nothing(self) -> None:
        said = io.StringIO()
        with override_settings(CIFAR10_DIR=str(self.folder)):
            call_command("install_pretrained", stdout=io.StringIO(), stderr=said)
        self.assertIn("Reports show no images", said.getvalue())

    def test_a_second_start_completes_nothing_and_an_own_report_stays(self) -> None:
        version = self.install()
        self.assertEqual(pretrained_reports.complete(), [])
        measuring.evaluate_on_cifar10(version, self.cifar)
        own = version.reports.get().figures
        self.install()
        self.assertEqual(version.reports.get().figures, own)

    def test_a_report_of_an_older_installation_gets_its_panels(self) -> None:
        version = self.install()
        report = version.reports.get()
        bare = {key: value for key, value in report.figures.items() if key != "panels"}
        EvaluationReport.objects.filter(pk=report.pk).update(figures=bare)
        self.install()
        self.assertTrue(reports.has_panels(version.reports.get()))

    def test_the_report_of_a_newer_release_replaces_that_of_an_earlier_one(self) -> None:
        version = self.install()
        file = self.folder / "test.json"
        before = file.read_text()
        self.addCleanup(file.write_text, before)
        newer = json.loads(before)
        newer["panels"]["computed_at"], newer["log_loss"] = "2100-01-01T00:00:00+00:00", 0.123
        file.write_text(json.dumps(newer))
        self.install()
        self.assertEqual(version.reports.get().figures["log_loss"], 0.123)

    def test_answers_of_another_model_are_left_alone(self) -> None:
        file = self.folder / "test.json"
        self.addCleanup(file.write_text, file.read_text())
        file.write_text(json.dumps({"n": 10_000, "accuracy": 0.5}))
        version = self.install()
        self.assertFalse(reports.has_panels(version.reports.get()))

    def test_the_command_refuses_a_name_that_does_not_ship_and_another_copy_of_the_data(self) -> None:
        with self.assertRaisesMessage(CommandError, "No model 'huge' ships; there are: tiny."):
            call_command("ship_report", "huge")
        self.addCleanup((self.folder / "card.json").write_text, json.dumps(self.card))
        (self.folder / "card.json").write_text(
            json.dumps({**self.card, "data": {"name": "CIFAR-10", "sha256": "d" * 64}})
        )
        load = "training.management.commands.ship_report.load_cifar10"
        with (
            mock.patch(load, return_value=self.cifar),
            self.assertRaisesMessage(CommandError, "another copy"),
        ):
            call_command("ship_report")
        self.assertTrue(Path(self.folder / "answers.npz").is_file())

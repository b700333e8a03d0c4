"""What a card says of verdicts and photos, and where people read it."""

import io
import json
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from PIL import Image

from cifarsite.core.numbers import decimal
from cifarsite.test import SiteTestCase, picture
from training.engine.data.cifar10 import load_cifar10
from training.engine.data.photo_set import PhotosError, load_photos
from training.engine.evaluation import synthetic_ood
from training.engine.evaluation.metrics import run_model
from training.engine.evaluation.reliability import apart
from training.engine.inference.calibration import (
    expected_calibration_error,
    mean_interval,
    softmax,
    surprise,
)
from training.engine.inference.predictor import Predictor
from training.engine.inference.verdict import DecisionPolicy
from training.evaluation import reliability
from training.registry import pretrained
from training.reports.reliability_narrative import gap_sentences
from training.reports.trust import auroc_lower, good_for, not_for
from training.tests.evaluation.report_case import ReportTestCase


def make_photos(folder: Path) -> None:
    """Six photos of ships, two of cats, five of other things; their looks do not matter."""
    for name, n in (("ten_classes/ship", 6), ("ten_classes/cat", 2), ("none_of_the_ten", 5)):
        (folder / name).mkdir(parents=True)
        for number in range(n):
            picture("steelblue" if number % 2 else "tan", (90 + number, 60)).save(
                folder / name / f"{number}.jpg"
            )


class CardOfAModel(ReportTestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        make_photos(folder)
        cls.better.card["test"] = {
            key: cls.report.figures[key] for key in ("n", "accuracy", "interval", "ece", "ece_before")
        }
        with override_settings(PHOTOS_DIR=str(folder)):
            reliability.measure_trust(cls.better, cls.cifar)

    def test_it_counts_every_image_once(self) -> None:
        self.better.refresh_from_db()
        card = self.better.card
        test, photos = card["verdicts"]["test"], card["photos"]
        self.assertEqual(sum(test["counts"].values()), test["n"])
        self.assertEqual(sum(photos["verdicts_ten"].values()), photos["n_ten"])
        self.assertEqual((photos["n_ten"], photos["n_other"]), (8, 5))
        self.assertEqual(sum(photos["verdicts_other"].values()), 5)
        self.assertEqual({name: n for name, (_hits, n) in photos["classes"].items()}, {"cat": 2, "ship": 6})
        self.assertEqual(set(card["verdicts"]["made_up"]), set(synthetic_ood.KINDS))
        self.assertEqual(card["judge"]["temperature"], 1.1)

    def test_report_model_page_and_markdown_show_photos_beside_cifar10(self) -> None:
        shown = f"{decimal(100 * self.better.card['photos']['accuracy'], 1)}\u00a0%"
        for path in (self.url("unknown/"), f"/models/{self.better.pk}/", self.url("card.md")):
            page = self.client.get(path).content.decode()
            self.assertIn("n = 8", page, path)
            self.assertIn(shown, page, path)
            self.assertIn("Out-of-scope use", page, path)
            self.assertIn("Decisions about people or safety", page, path)
        page = self.client.get(self.url("unknown/")).content.decode()
        self.assertIn("CIFAR-10 against photos", page)
        self.assertIn("Screenshots", page)

    def test_the_report_shows_each_kind_of_photo_apart(self) -> None:
        kinds = self.better.card["photos"]["kinds"]
        self.assertEqual([kinds[kind]["n_ten"] for kind in ("web", "web_near", "collected")], [0, 0, 8])
        self.assertEqual(kinds["collected"]["n_other"], 5)
        page = self.client.get(self.url("unknown/")).content.decode()
        self.assertIn("Photos by source", page)
        self.assertIn("much like one of the ten", page)

    def test_a_report_without_photos_says_how_to_get_them(self) -> None:
        page = self.client.get(self.url("unknown/", self.worse)).content.decode()
        self.assertIn("Ask an administrator to evaluate it on photos.", page)
        self.assertIn("the model was not measured on photos", page)

    def test_everybody_reads_what_a_verdict_means_in_few_queries(self) -> None:
        self.client.logout()
        with CaptureQueriesContext(connection) as queries:
            page = self.client.get("/verdicts/").content.decode()
        self.assertLessEqual(len(queries), 4)
        for text in ("tiny-better", "90&nbsp;% correct", "Unsure", "verdicts/noise"):
            self.assertIn(text, page)
        self.assertNotRegex(page, r" style=|<style|<script(?![^>]* src=)")

    def test_the_result_page_and_the_footer_lead_there(self) -> None:
        self.assertContains(self.client.get("/"), 'href="/verdicts/"')

    def test_evaluate_measures_verdicts_too(self) -> None:
        self.worse.refresh_from_db()
        self.assertNotIn("verdicts", self.worse.card)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("training.management.commands.evaluate.load_cifar10", lambda folder: self.cifar)
            call_command("evaluate", "tiny-worse", "--json", stdout=io.StringIO())
        self.worse.refresh_from_db()
        self.assertIn("made_up", self.worse.card["verdicts"])
        self.assertNotIn("photos", self.worse.card)


class WithoutAModel(SiteTestCase):
    def test_the_page_on_verdicts_stands(self) -> None:
        self.assertContains(self.client.get("/verdicts/"), "no figures")


def card(name: str = "photo_net") -> dict[str, Any]:
    return pretrained.shipped_card(name)


def figures(name: str = "photo_net") -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads((pretrained.PRETRAINED_DIR / name / "test.json").read_text()))


def test_a_gap_is_called_worse_only_where_the_interval_says_so() -> None:
    photos = {**card()["photos"], "accuracy": 0.5, "interval": [0.4, 0.6]}
    assert "is less accurate on photos" in gap_sentences({**card(), "photos": photos})[0]
    unknown = {**photos, "accuracy": 0.9, "interval": [0.8, 0.95]}
    assert "too few photos to say" in gap_sentences({**card(), "photos": unknown})[0]


def test_what_speaks_for_a_use_does_not_speak_against_it() -> None:
    strong, weak = card(), card("fast_cnn")
    assert any("Photos that show one of the ten" in text for text in good_for(strong, figures()))
    assert any("Photos that show one of the ten" in text for text in not_for(weak, figures("fast_cnn")))
    assert any("with the strongest" in text and "(n = 200)" in text for text in not_for(strong, figures()))
    for found in (strong, weak):
        assert not set(good_for(found, figures())) & set(not_for(found, figures()))


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [(97.688, 1, "97.7"), (0.00991, 3, "0.010"), (1e-7, 2, "0.00"), (2.5, 0, "2")],
)
def test_figures_are_rounded_not_cut_off(value: float, digits: int, shown: str) -> None:
    with translation.override("en"):
        assert decimal(value, digits) == shown


def test_a_folder_without_photos_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match="ten_classes/<class>"):
        load_photos(tmp_path)
    make_photos(tmp_path)
    (tmp_path / "none_of_the_ten" / "broken.jpg").write_bytes(b"\xff\xd8no")
    with pytest.raises(PhotosError, match=r"broken\.jpg cannot be read"):
        load_photos(tmp_path)


def test_the_shipped_champion_can_be_trusted_as_far_as_its_card_says() -> None:
    found = card()
    assert found["test"]["ece"] < 0.012 < found["test"]["ece_before"]
    assert found["validation"]["ece_held_out"] < 0.015
    assert found["verdicts"]["test"]["set_coverage"] > 0.945
    assert found["photos"]["auroc"] > 0.92
    assert found["photos"]["cifar_test"]["auroc"] > 0.95
    for against in (found["verdicts"], found["photos"]):
        assert all(row["auroc"] > 0.98 for row in against["made_up"].values())


@pytest.fixture(scope="module")
def champion() -> Predictor:
    file = pretrained.shipped_file(pretrained.SHIPPED_CHAMPION)
    return Predictor(file, DecisionPolicy.from_card(card()["judge"]))


@pytest.mark.needs_cifar10
def test_the_shipped_champion_tells_noise_text_colours_and_screens_from_cifar10(
    champion: Predictor, cifar10_dir: Path
) -> None:
    version, judge = card()["preprocessing"], champion.judge
    images = load_cifar10(cifar10_dir).x_test[:200]
    seen = run_model(champion, images, version)
    own = judge.scores(seen.logits, seen.ood_penalty)
    for kind in synthetic_ood.KINDS:
        strange = run_model(champion, synthetic_ood.make(kind, 40, seed=3), version)
        assert apart(own, judge.scores(strange.logits, strange.ood_penalty))["auroc"] > 0.97, kind


@pytest.mark.needs_browser
def test_screenshots_of_this_site_are_none_of_the_ten(
    champion: Predictor, page: Any, live_server: Any
) -> None:
    shots = []
    for path in ("/", "/verdicts/", "/accounts/login/", "/accounts/signup/"):
        for width, scheme in ((1280, "light"), (390, "dark")):
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.goto(live_server.url + path)
            with Image.open(io.BytesIO(page.screenshot())) as image:
                shots.append(np.asarray(image.convert("RGB")))
    version, judge = card()["preprocessing"], champion.judge
    seen = run_model(champion, shots, version)
    verdicts, _ = judge.verdicts(
        judge.calibration.probabilities(seen.logits), judge.scores(seen.logits, seen.ood_penalty)
    )
    assert verdicts == ["unknown"] * len(shots)


def test_few_photos_give_no_mark_for_confidence_however_the_error_by_bins_comes_out() -> None:
    for ece in (0.0, 0.1, 0.3):
        photos = {**card()["photos"], "ece": ece, "n_ten": 68, "surprise_interval": [0.1, 0.5]}
        said = [
            *good_for({**card(), "photos": photos}, figures()),
            *not_for({**card(), "photos": photos}, figures()),
        ]
        assert not [text for text in said if "on its confidence on photos" in text]


def test_many_photos_give_one_by_what_the_log_loss_leaves_room_for() -> None:
    def marks(low: float, high: float) -> tuple[int, int]:
        photos = {**card()["photos"], "n_ten": 2_000, "surprise_interval": [low, high]}
        made = {**card(), "photos": photos}
        lists = (good_for(made, figures()), not_for(made, figures()))
        return tuple(sum("on its confidence on photos" in text for text in said) for said in lists)  # type: ignore[return-value]

    assert marks(-0.05, 0.05) == (1, 0)
    assert marks(0.02, 0.12) == (0, 1)


def test_a_model_that_means_what_it_says_has_no_surprise_and_a_boaster_has() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 10))
    meant = softmax(logits)
    labels = np.array([rng.choice(10, p=row) for row in meant])
    low, high = mean_interval(surprise(meant, labels))
    assert low < 0 < high
    assert mean_interval(surprise(softmax(1.5 * logits), labels))[0] > 0
    # The error by bins of 63 images calls even the model that means what it says badly calibrated.
    few = [expected_calibration_error(meant[i : i + 63], labels[i : i + 63]) for i in range(0, 6_300, 63)]
    assert np.mean(few) > 0.09


def test_a_share_of_few_photos_is_good_only_where_its_interval_is() -> None:
    photos = {**card()["photos"], "accuracy": 0.85, "interval": [0.74, 0.92]}
    assert not any(
        "Photos that show one" in text for text in good_for({**card(), "photos": photos}, figures())
    )
    assert 0.94 < auroc_lower(0.987, 68, 98) < 0.987
    assert auroc_lower(0.92, 20, 20) < 0.9

"""The gate: not inferior on images that chose nothing and trained nothing, to the champion of the switch."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from django.test import override_settings
from django.utils import translation

from classifier.accounts.tokens import make_token
from training.engine.data.cifar10 import LEAST_HELD_OUT, SPLIT_SEED, held_out_rows, stratified_split
from training.engine.recipes import RECIPES
from training.models import ModelVersion, Promotion, Refusal
from training.registry import promotion, promotion_gate, smoke_test
from training.registry.pretrained import shipped_card, shipped_folders
from training.registry.promotion import PromotionRefused, promote, roll_back
from training.registry.promotion_gate import examine
from training.tests.admin.test_admin import TRUTH, TrainingAdminTestCase, make_model


def test_every_recipe_leaves_the_images_of_the_gate_alone() -> None:
    labels = np.repeat(np.arange(10, dtype=np.uint8), 5_000)
    rows = set(held_out_rows(labels))
    assert len(rows) == 2_500
    for recipe in RECIPES.values():
        training, _validation = stratified_split(labels, recipe.validation_fraction, SPLIT_SEED)
        assert not rows & set(training), recipe.name
    with pytest.raises(ValueError, match="hold out at least 5%"):
        replace(RECIPES["fast_cnn"], validation_fraction=LEAST_HELD_OUT / 2)


def test_the_shipped_models_say_what_they_answer_to_these_images() -> None:
    for folder in shipped_folders():
        card = shipped_card(folder.name)
        held_out = card["held_out"]
        right = sum(map(str.__eq__, held_out["truth"], held_out["predicted"]))
        assert (held_out["n"], held_out["sha256"]) == (2_500, card["data"]["sha256"])
        assert right / 2_500 == pytest.approx(card["validation"]["accuracy"])


def test_what_is_not_significantly_worse_may_still_be_much_worse() -> None:
    # 10,000 images, 800 of them answered differently, 0.56 points worse: p = 0.051.
    assert promotion_gate.mcnemar(372, 428) > 0.05
    assert promotion_gate.lowest_difference(372, 428, 10_000) == pytest.approx(-0.0102, abs=0.0002)
    # By Agresti and Min's formula, worked out by hand: -8 of 102, minus 1.645 times 0.0397.
    assert promotion_gate.lowest_difference(4, 12, 100) == pytest.approx(-8 / 102 - 1.645 * 0.03967, abs=1e-4)
    assert promotion_gate.lowest_difference(0, 0, 2_500) > -0.001


class GateTests(TrainingAdminTestCase):
    def model(self, name: str, missed: int = 125, **fields: Any) -> ModelVersion:
        """A model that misses the first ``missed`` of 2,500 held-out images."""
        made = make_model(name, folder=self.folder)
        truth = 25 * TRUTH
        wrong = "".join("1" if digit == "0" else "0" for digit in truth[:missed])
        made.card["held_out"] |= {"truth": truth, "predicted": wrong + truth[missed:], **fields}
        made.save()
        return made

    def live(self, version: ModelVersion, **options: Any) -> None:
        promote(version, by=self.root, reason="A try.", **options)

    def champion(self) -> str:
        return ModelVersion.objects.get(is_champion=True).name

    def test_a_model_within_the_margin_goes_live_and_one_beyond_does_not(self) -> None:
        self.live(self.model("first"))
        self.live(self.model("a little worse", 125 + 10))
        worse = self.model("worse", 135 + 25)
        with self.assertRaisesMessage(PromotionRefused, "a difference of −1.00 points"):
            self.live(worse)
        with override_settings(GATE_MARGIN=0.05):
            self.live(worse)

    def test_many_small_losses_do_not_add_up(self) -> None:
        """Each is within the margin of the champion; all of them together are held against the best."""
        missed, lost = 125, 0
        self.live(self.model("first", missed))
        for number in range(12):
            version = self.model(f"{number}", missed + 10)
            self.assertGreater(promotion_gate.lowest_difference(0, 10, 2_500), -0.01)
            try:
                self.live(version)
            except PromotionRefused as refusal:
                self.assertIn("may be less accurate than first by more than the margin", refusal.detail)
                break
            missed, lost = missed + 10, lost + 10
        else:
            self.fail("Twelve losses of 0.4 points each went live.")
        self.assertLess(lost / 2_500, 0.01)

    def test_whoever_overrules_the_gate_sets_a_new_standard(self) -> None:
        self.live(self.model("first"))
        self.live(self.model("small", 500), override=True)
        self.live(self.model("as small", 500))
        self.assertEqual(self.champion(), "as small")

    def test_a_model_that_was_rolled_back_from_is_no_standard(self) -> None:
        self.live(self.model("first"))
        self.live(self.model("good on these images alone", 25))
        roll_back(by=self.root, reason="Bad on photos.")
        self.live(self.model("like the first"))

    def test_the_test_images_decide_nothing(self) -> None:
        self.live(self.model("first"))
        version = self.model("second")
        version.reports.update(
            accuracy=0.1, figures={"ece": 0.9, "classes": [], "truth": "0", "predicted": "1"}
        )
        self.live(version)
        self.assertEqual(self.champion(), "second")

    def test_the_floors_are_those_of_the_held_out_images(self) -> None:
        self.live(self.model("first"))
        with self.assertRaisesMessage(PromotionRefused, "calibration error (ECE) is 0.060"):
            self.live(self.model("boastful", ece=0.06))
        blind = "".join("5" if digit == "3" else digit for digit in 25 * TRUTH)
        with self.assertRaisesMessage(PromotionRefused, "Its recall of the class cat is only 0\u00a0%"):
            self.live(self.model("blind", predicted=blind))

    def test_the_numbers_of_a_refusal_are_written_in_the_reader_s_way(self) -> None:
        self.live(self.model("first"))
        blind = "".join("5" if digit == "3" else digit for digit in 25 * TRUTH)
        with translation.override("vi"):
            refusals = examine(self.model("worse", ece=0.06, predicted=blind))["refusals"]
        self.assertEqual(len(refusals), 3)
        numbers = re.findall(r"\d[\d.,]*\d", " ".join(refusals))
        self.assertIn("0,060", numbers)
        self.assertIn("2.500", numbers)
        self.assertFalse([number for number in numbers if "." in number and number != "2.500"], numbers)

    def test_other_images_are_no_comparison(self) -> None:
        self.live(self.model("first", sha256="b" * 64))
        with self.assertRaisesMessage(PromotionRefused, "not measured on the same held-out images"):
            self.live(self.model("second"))

    def test_the_champion_that_it_was_compared_with_must_still_be_the_champion(self) -> None:
        first, second, third = (self.model(name) for name in ("first", "second", "third"))
        self.live(first)
        switch = promotion._switch

        def somebody_was_quicker(*args: Any, **fields: Any) -> Promotion:
            with mock.patch.object(promotion, "_switch", switch):
                self.live(second)
            return switch(*args, **fields)

        token = make_token(self.root, scopes=["train"])[1]
        with mock.patch.object(promotion, "_switch", somebody_was_quicker):
            answer = self.client.post(
                f"/api/v1/models/{third.pk}/promote",
                {"reason": "Better."},
                content_type="application/json",
                headers={"Authorization": f"Bearer {token}"},
            )
        self.assertEqual(answer.status_code, 409)
        self.assertIn("Another model has become the champion in the meantime", answer.json()["detail"])
        self.assertEqual(self.champion(), "second")
        self.assertEqual(Promotion.objects.count(), 2)
        self.assertEqual(Refusal.objects.get().model, third)

    def test_a_roll_back_does_not_take_away_what_somebody_promoted_meanwhile(self) -> None:
        first, second, third = (self.model(name) for name in ("first", "second", "third"))
        self.live(first)
        self.live(second)
        answers = smoke_test.still_answers

        def somebody_was_quicker(version: ModelVersion) -> None:
            answers(version)
            self.live(third)

        with (
            mock.patch.object(smoke_test, "still_answers", somebody_was_quicker),
            self.assertRaisesMessage(
                PromotionRefused, "Another model has become the champion in the meantime"
            ),
        ):
            roll_back(by=self.root, reason="Second is slow.")
        self.assertEqual(self.champion(), "third")

    def test_the_pages_show_what_the_gate_found(self) -> None:
        self.live(self.model("first"))
        self.live(self.model("second", 130))
        version = self.model("third", 132)
        version.reports.all().delete()
        page = self.client.get(version.get_absolute_url())
        self.assertContains(page, "of 2,500 held-out images")
        self.assertContains(page, "Compared with first, the best earlier champion")

"""A model is loaded and tried beside the champion before it goes live."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from io import StringIO
from unittest import mock

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from classifier.models import AuditEntry
from training.models import ModelVersion, Promotion, Refusal
from training.registry import promotion_gate, smoke_test
from training.registry.promotion import PromotionRefused, promote, roll_back
from training.tests.evaluation.report_case import ReportTestCase


class TrialTests(ReportTestCase):
    def bytes_as_model(self) -> ModelVersion:
        """A registered file that is no model."""
        content = b"not a model"
        digest = hashlib.sha256(content).hexdigest()
        (self.models_dir / f"{digest}.keras").write_bytes(content)
        self.worse.pk, self.worse.name, self.worse.sha256 = None, "bytes", digest
        self.worse.save()
        report = self.other
        report.pk, report.model, report.dataset_sha256 = None, self.worse, self.report.dataset_sha256
        report.figures["predicted"] = report.figures["truth"]
        report.save()
        return ModelVersion.objects.get(name="bytes")

    def lenient(self) -> None:
        self.enterContext(override_settings(GATE_CLASS_FLOOR=0.0, GATE_ECE=1.0, GATE_MARGIN=1.0))

    def test_both_are_loaded_in_a_process_of_their_own_and_timed(self) -> None:
        loaded = set(sys.modules)
        found = smoke_test.try_here(self.worse, self.better)
        self.assertGreater(found["seconds"], 0)
        self.assertGreater(found["champion_seconds"], 0)
        self.assertEqual(found["champion"], self.better.sha256)
        self.assertFalse({name for name in set(sys.modules) - loaded if "smoke_test" in name})

    def test_what_was_tried_is_not_tried_again_beside_the_same_champion(self) -> None:
        smoke_test.tried(self.worse, self.better)
        with mock.patch.object(subprocess, "run", side_effect=AssertionError):
            smoke_test.tried(self.worse, self.better)
        self.assertFalse(smoke_test.is_valid(self.worse, None))
        self.worse.smoke_test["versions"] = {"keras": "2"}
        self.assertFalse(smoke_test.is_valid(self.worse, self.better))

    def test_a_file_that_is_no_model_never_goes_live_not_even_by_an_override(self) -> None:
        self.lenient()
        version = self.bytes_as_model()
        with self.assertRaisesMessage(PromotionRefused, "The model makes no predictions"):
            promote(version, by=self.charlie, reason="Looks good.", override=True)
        self.assertTrue(ModelVersion.objects.get(pk=self.better.pk).is_champion)
        refusal = Refusal.objects.get()
        self.assertEqual((refusal.by, refusal.reason), (self.charlie, "Looks good."))
        self.assertIn("cannot be loaded", refusal.detail)

    def test_a_much_slower_model_is_refused_with_both_times(self) -> None:
        self.lenient()
        slow = {"seconds": 0.030, "champion_seconds": 0.004, "champion": self.better.sha256}
        self.worse.smoke_test = {**slow, "versions": smoke_test.versions()}
        said = "It takes 30.0 ms for one photo, 7.5 times as long as the champion (4.0 ms"
        with self.assertRaisesMessage(PromotionRefused, said):
            promote(self.worse, by=self.charlie, reason="New.")
        self.assertEqual(Refusal.objects.get().gate["seconds"], 0.030)
        with override_settings(GATE_SLOWDOWN=8.0):
            self.assertFalse(promotion_gate.examine(self.worse)["refusals"])

    def test_the_record_of_a_refusal_is_on_the_models_page_for_staff(self) -> None:
        with self.assertRaises(PromotionRefused):
            promote(self.worse, by=self.charlie, reason="I like it.")
        self.client.force_login(self.charlie)
        page = self.client.get(self.worse.get_absolute_url())
        self.assertContains(page, "“I like it.”")
        self.client.force_login(self.alice)
        self.assertNotContains(self.client.get(self.worse.get_absolute_url()), "I like it.")

    @pytest.mark.slow
    def test_commands_promote_and_roll_back(self) -> None:
        self.lenient()
        Promotion.objects.create(action="install", promoted=self.better, reason="First.")
        said = StringIO()
        call_command("promote", "tiny-worse", "--reason", "A try.", stdout=said)
        self.assertIn("tiny-worse is the champion now instead of tiny-better.", said.getvalue())
        line = Promotion.objects.first()
        assert line is not None
        self.assertEqual((line.promoted, line.report, len(line.report_sha256)), (self.worse, self.other, 64))
        call_command("rollback", "--reason", "It was one.", stdout=said)
        self.assertTrue(ModelVersion.objects.get(pk=self.better.pk).is_champion)
        with self.assertRaisesMessage(CommandError, "There is no earlier champion to roll back to."):
            call_command("rollback", "--reason", "Again.", stdout=said)

    def test_a_promotion_and_a_roll_back_are_in_the_audit_log_with_who_did_it(self) -> None:
        self.lenient()
        # Both were tried; test_commands_promote_and_roll_back does it for real.
        for version, champion in ((self.worse, self.better), (self.better, self.worse)):
            times = {"seconds": 0.004, "champion_seconds": 0.004, "champion": champion.sha256}
            version.smoke_test = {**times, "versions": smoke_test.versions()}
            version.save()
        Promotion.objects.create(action="install", promoted=self.better, reason="First.")
        promote(self.worse, by=self.charlie, reason="A try.", override=True)
        roll_back(by=self.bob, reason="It was one.")
        better, worse = self.better.pk, self.worse.pk
        self.assertEqual(
            list(AuditEntry.objects.order_by("pk").values_list("kind", "by__username", "detail")),
            [
                ("model_promoted", "charlie", f"model {worse} instead of {better}"),
                ("model_rolled_back", "bob", f"model {better} instead of {worse}"),
            ],
        )

    def test_a_model_that_no_longer_answers_is_no_way_back(self) -> None:
        version = self.bytes_as_model()
        for promoted in (version, self.better):
            Promotion.objects.create(action="promote", promoted=promoted, reason="Once.")
        with self.assertRaisesMessage(PromotionRefused, "The model makes no predictions"):
            roll_back(by=self.charlie, reason="Back.")

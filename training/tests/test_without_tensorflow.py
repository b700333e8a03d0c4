"""Each command that runs a model says in a sentence that TensorFlow is missing."""

from __future__ import annotations

from importlib import util
from typing import Any
from unittest import mock

from django.core.management import CommandError, call_command
from django.utils import timezone

from cifarsite.test import SiteTestCase
from training import workers
from training.models import TrainingJob
from training.registry import exports
from training.tests.test_api_training import make_model


class WithoutTensorFlowTest(SiteTestCase):
    def setUp(self) -> None:
        find = util.find_spec

        def found(name: str, *more: Any) -> Any:
            return None if name == "tensorflow" else find(name, *more)

        self.enterContext(mock.patch.object(util, "find_spec", found))
        self.model = make_model("here")

    def test_each_command_names_it_and_what_to_do(self) -> None:
        for words, otherwise in (
            (["train", "--recipe", "fast_cnn"], "start the job on the Training page"),
            (["evaluate", "here"], "on a host of the training workers"),
            (["classify", "photo.jpg"], "upload the files to the site"),
            (["export", "here", "--format", "keras", "model.zip"], "start a prediction worker"),
        ):
            with self.subTest(words[0]), self.assertRaises(CommandError) as refused:
                call_command(*words)
            said = str(refused.exception)
            self.assertIn("TensorFlow is not installed on this host: run 'pip install", said)
            self.assertIn(otherwise, said)
        self.assertFalse(TrainingJob.objects.exists())

    def test_a_worker_exports_for_a_host_without_it(self) -> None:
        workers.record_heartbeat("w", ["predict", "default"], timezone.now())
        with (
            mock.patch.object(exports, "publish", return_value=False),
            self.assertRaisesMessage(CommandError, "No worker has made the file yet"),
        ):
            call_command("export", "here", "--format", "keras", "model.zip")

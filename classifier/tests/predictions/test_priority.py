"""Which photos a worker takes: those that somebody waits for first, and by themselves."""

import time
from unittest import mock

from cifarsite.test import SiteTestCase
from classifier.models import Prediction
from classifier.predictions import inference

COLOURS = ("red", "green", "blue", "gold", "pink", "teal", "navy", "plum", "gray", "lime")


class PriorityTests(SiteTestCase):
    def setUp(self) -> None:
        self.lately(-inference.LATELY_SECONDS)
        for colour in COLOURS:
            self.upload(colour=colour)
        Prediction.objects.update(priority=Prediction.Priority.BULK)

    def lately(self, seconds: float) -> None:
        """As if the last single photo had been taken so many seconds after now."""
        at = time.monotonic() + seconds
        patch = mock.patch.object(inference, "_interactive_at", at)
        patch.start()
        self.addCleanup(patch.stop)

    def take(self) -> list[Prediction]:
        return inference._claim("w", "cifar10")

    def test_a_single_photo_is_taken_before_the_batch_and_without_it(self) -> None:
        single = self.upload(colour="white")
        self.assertEqual([row.photo for row in self.take()], [single])

    def test_photos_of_batches_are_taken_by_the_full_batch_while_nobody_uploads(self) -> None:
        self.assertEqual(len(self.take()), len(COLOURS))

    def test_photos_of_batches_are_taken_few_at_a_time_while_people_upload(self) -> None:
        self.lately(-1)
        self.assertEqual(len(self.take()), inference.BULK_BATCH)
        self.assertEqual(len(self.take()), len(COLOURS) - inference.BULK_BATCH)
        self.assertEqual(self.take(), [])

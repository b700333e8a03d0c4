"""Every table that workers claim rows of has a queue that the sweeper walks, and all behave alike."""

from datetime import timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.utils import timezone
from model_bakery import baker

from cifarsite.core.leases import Leased
from cifarsite.test import SiteTestCase
from classifier.models import BatchItem, Shadow, ShadowAnswer
from classifier.operations import sweeper
from training.models import DEFAULT_PROJECT, Project

# baker knows no subclasses of Django's fields; the project is there.
baker.generators.add("training.models.projects.ProjectKey", lambda: Project.objects.get(pk=DEFAULT_PROJECT))
LEASED: list[Any] = [model for model in apps.get_models() if issubclass(model, Leased)]


class QueueTests(SiteTestCase):
    def setUp(self) -> None:
        self.shadow = baker.make(Shadow)

    def make(self, model: Any, state: str, attempt: int, seconds: float) -> Any:
        """A row in this state whose lease ends in so many seconds."""
        ends = timezone.now() + timedelta(seconds=seconds) if state == "running" else None
        of = {"shadow": self.shadow} if model is ShadowAnswer else {}
        of |= {"batch__state": "running"} if model is BatchItem else {}
        return baker.make(model, **{model.state_field: state}, attempt=attempt, lease_expires_at=ends, **of)

    def test_the_sweeper_walks_a_queue_of_each_table(self) -> None:
        models = [queue.claimable().model for queue in sweeper.QUEUES]
        self.assertCountEqual(models, LEASED)

    def test_which_rows_may_be_claimed(self) -> None:
        last = settings.MAX_ATTEMPTS
        cases = (
            ("queued", 0, 0, True),
            ("queued", last, 0, False),
            ("running", 1, -1, True),
            ("running", 1, 10, False),
            ("running", last, -1, False),
            ("done", 1, -1, False),
        )
        for model in LEASED:
            for state, attempt, seconds, expected in cases:
                with self.subTest(model.__name__, state=state, attempt=attempt, seconds=seconds):
                    row = self.make(model, state, attempt, seconds)
                    self.assertIs(model.objects.claimable().filter(pk=row.pk).exists(), expected)

    def test_a_row_that_was_lost_too_often_is_over_and_a_live_one_is_not(self) -> None:
        for queue in sweeper.QUEUES:
            model: Any = queue.claimable().model
            with self.subTest(queue.name):
                lost = self.make(model, "running", settings.MAX_ATTEMPTS, -1)
                live = self.make(model, "running", settings.MAX_ATTEMPTS, 10)
                self.assertEqual(queue.recover()[f"{queue.name}_lost"], 1)
                lost.refresh_from_db()
                live.refresh_from_db()
                self.assertIn(getattr(lost, model.state_field), ("failed", "refused"))
                self.assertIsNone(lost.claim)
                self.assertEqual(getattr(live, model.state_field), "running")

    def test_a_released_row_waits_again_and_is_not_charged(self) -> None:
        for model in LEASED:
            with self.subTest(model.__name__):
                row = self.make(model, "queued", 0, 0)
                (mine,) = model.objects.filter(pk=row.pk).claim(worker="one")
                self.assertEqual(model.objects.filter(pk=row.pk).claimable().claim(worker="two"), [])
                self.assertEqual(model.objects.held_with(mine).release(), 1)
                row.refresh_from_db()
                self.assertEqual((getattr(row, model.state_field), row.attempt), ("queued", 0))
                self.assertIsNone(row.lease_expires_at)

"""Work that ends while somebody looks, and a store of files that is away: nothing is lost by either."""

from __future__ import annotations

from typing import Any
from unittest import mock

from django.core.files.storage import FileSystemStorage
from django.test import override_settings
from django.urls import reverse
from django.utils import timezone

from cifarsite.core.storage import StorageUnavailable
from cifarsite.test import SiteTestCase, answer
from classifier.feedback import corrections
from classifier.models import Photo, Prediction, Reclassification, ReclassificationItem, Shadow, ShadowAnswer
from classifier.monitoring import reclassification, shadow_deployment
from classifier.predictions import queue
from classifier.privacy import account_data
from training.data import evaluation_sets
from training.models import EvaluationSet, ModelVersion


class AwayFiles(FileSystemStorage):
    """The store of files while it does not answer."""

    def _open(self, name: str, mode: str = "rb") -> Any:
        raise StorageUnavailable(f"No answer about {name}.")


AWAY = {
    "default": {"BACKEND": f"{__name__}.AwayFiles"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}


def version(name: str, **fields: Any) -> ModelVersion:
    return ModelVersion.objects.create(
        name=name, recipe="x", sha256=name * 16, size=1, preprocessing="squash32-v1", card={}, **fields
    )


class RerunStragglers(SiteTestCase):
    def setUp(self) -> None:
        old = version("old1")
        self.photo = self.upload()
        answer(self.photo, "cat")
        Prediction.objects.update(model=old)
        version("new1", is_champion=True)
        self.reclassification = reclassification.start(by=self.charlie)
        self.asked = ReclassificationItem.objects.get().prediction

    def answer_comes(self) -> None:
        Prediction.objects.filter(pk=self.asked.pk).update(
            status="done", label="dog", verdict="recognised", finished_at=timezone.now()
        )

    def test_an_answer_that_comes_while_it_is_looked_at_is_noted(self) -> None:
        settle = reclassification._settle

        def late(run: Reclassification) -> None:
            settle(run)
            self.answer_comes()

        with mock.patch.object(reclassification, "_settle", late):
            reclassification.feed()
        reclassification.feed()
        item = ReclassificationItem.objects.get()
        self.assertEqual((item.after, item.changed), ("dog", True))
        self.reclassification.refresh_from_db()
        self.assertEqual(self.reclassification.state, Reclassification.State.DONE)

    def test_an_answer_in_hand_at_the_end_is_noted(self) -> None:
        Prediction.objects.filter(pk=self.asked.pk).update(status="running")
        reclassification.cancel(self.reclassification)
        self.answer_comes()
        reclassification.feed()
        self.assertIs(ReclassificationItem.objects.get().changed, True)

    def test_all_answers_are_noted_before_the_end_however_many(self) -> None:
        self.answer_comes()
        with mock.patch.object(reclassification, "OPEN_ROWS", 0):
            more = [self.upload(colour=colour) for colour in ("gold", "navy")]
            for photo in more:
                ReclassificationItem.objects.create(
                    reclassification=self.reclassification, prediction=answer(photo, "dog"), before="cat"
                )
        with (
            mock.patch.object(reclassification, "OPEN_ROWS", 1),
            mock.patch.object(reclassification, "ROWS_A_PASS", 1),
        ):
            reclassification.feed()
        self.assertFalse(ReclassificationItem.objects.filter(changed=None).exists())


class StoreAway(SiteTestCase):
    photo: Photo

    def setUp(self) -> None:
        corrections.set_consent(self.alice, True)
        self.champion = version("live", is_champion=True)
        self.photo = self.upload()
        answer(self.photo)
        Prediction.objects.update(model=self.champion)
        corrections.correct(self.photo, self.alice, "dog")
        self.client.raise_request_exception = False

    def test_the_challengers_rows_wait(self) -> None:
        challenger = version("next")
        shadow = Shadow.objects.create(model=challenger)
        row = ShadowAnswer.objects.create(shadow=shadow, prediction=self.photo.prediction)
        never = mock.Mock()  # it would be asked if the photo could be read
        with (
            mock.patch.object(shadow_deployment, "_held", (challenger.pk, never)),
            override_settings(STORAGES=AWAY),
        ):
            self.assertEqual(shadow_deployment.work("worker"), 0)
        row.refresh_from_db()
        self.assertEqual((row.status, row.attempt, row.claim), (ShadowAnswer.Status.QUEUED, 0, None))
        self.assertTrue(shadow_deployment.claimable(shadow).exists())
        self.assertFalse(queue.claimable().exists())
        never.predict.assert_not_called()

    @override_settings(STORAGES=AWAY)
    def test_pages_say_that_it_passes(self) -> None:
        self.client.force_login(self.charlie)
        self.assertEqual(self.client.get(reverse("classifier:review")).status_code, 503)
        url = reverse("classifier:review-photo", args=[self.photo.pk])
        self.assertEqual(self.client.post(url, {"label": "dog"}).status_code, 503)
        self.client.force_login(self.alice)
        url = reverse("classifier:photo-ask", args=[self.photo.pk])
        self.assertEqual(self.client.post(url, {"preset": "left"}).status_code, 503)
        self.assertEqual(Prediction.objects.count(), 1)

    @override_settings(STORAGES=AWAY)
    def test_an_export_breaks_off_where_it_would_be_incomplete(self) -> None:
        with self.assertRaises(StorageUnavailable):
            for _piece in account_data.export(self.alice):
                continue

    @override_settings(STORAGES=AWAY)
    def test_an_evaluation_set_is_not_called_damaged(self) -> None:
        row = EvaluationSet.objects.create(name="x", sha256="e" * 64, n=1, manifest=[{"label": "cat"}])
        with self.assertRaises(StorageUnavailable):
            evaluation_sets.load_set(row)

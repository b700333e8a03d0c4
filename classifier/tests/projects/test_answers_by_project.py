"""A worker runs each project's photos through that project's champion."""

from __future__ import annotations

from typing import Any
from unittest import mock

from cifarsite.test import SiteTestCase, drawn_model, image_file
from classifier.models import Photo, Prediction
from classifier.predictions import inference, queue
from classifier.tests.projects.drawn import DrawnPredictor, make_project
from classifier.uploads.photos import upload_photo
from training.models import DEFAULT_PROJECT, ModelVersion
from training.registry import model_store


class WorkerTests(SiteTestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        drawn_model(DEFAULT_PROJECT, is_champion=True)
        make_project("two", 2)
        make_project("many", 37)

    def setUp(self) -> None:
        self.predictors: dict[str, DrawnPredictor] = {}
        self.damaged: set[str] = set()
        patch = mock.patch.object(model_store, "predictor", self.predictor)
        patch.start()
        self.addCleanup(patch.stop)
        self.addCleanup(inference._reported.clear)

    def predictor(self, version: ModelVersion) -> Any:
        if version.name in self.damaged:
            raise model_store.ModelFileError(f"{version.name} is damaged.")
        return self.predictors.setdefault(version.name, DrawnPredictor(version))

    def ask(self, project: str, colour: str = "steelblue") -> Photo:
        return upload_photo(self.alice, image_file(colour=colour), project=project)  # type: ignore[arg-type]

    def test_each_photo_is_answered_by_its_own_projects_champion(self) -> None:
        photos = [self.ask(project) for project in ("two", "many", DEFAULT_PROJECT, "two")]
        self.assertEqual(inference.predict_pending("worker"), 4)
        for photo in photos:
            answer = photo.prediction
            assert answer.model
            self.assertEqual(answer.model.project_id, photo.project_id)
            self.assertEqual(answer.label, answer.model.classes[0])
            self.assertEqual(len(answer.probabilities or ()), len(answer.model.classes))
            self.assertEqual(answer.project_id, photo.project_id)

    def test_photos_of_one_project_go_through_its_model_together(self) -> None:
        for number in range(6):
            self.ask("two" if number % 2 else "many", ("red", "green", "blue")[number // 2])
        inference.predict_pending("worker")
        self.assertEqual(self.predictors["drawn-two"].batches, [3])
        self.assertEqual(self.predictors["drawn-many"].batches, [3])

    def test_a_project_whose_model_is_damaged_does_not_keep_the_others_waiting(self) -> None:
        self.damaged.add("drawn-two")
        waiting, answered = self.ask("two"), self.ask("many")
        self.assertEqual(inference.predict_pending("worker"), 1)
        self.assertEqual(waiting.prediction.status, Prediction.Status.QUEUED)
        self.assertEqual(waiting.prediction.attempt, 0)
        self.assertEqual(answered.prediction.status, Prediction.Status.DONE)
        self.damaged.clear()
        self.assertEqual(inference.predict_pending("worker"), 1)

    def test_the_last_whole_champion_of_the_same_project_stands_in(self) -> None:
        ModelVersion.objects.filter(name="drawn-two").update(is_champion=False)
        newer = ModelVersion.objects.get(name="drawn-two")
        newer.pk, newer.name, newer.sha256, newer.is_champion = None, "newer", "f" * 64, True
        newer.save()
        from training.models import Promotion

        for model in (ModelVersion.objects.get(name="drawn-two"), newer):
            Promotion.objects.create(action="promote", promoted=model, reason="for the test")
        self.damaged.add("newer")
        photo = self.ask("two")
        inference.predict_pending("worker")
        assert photo.prediction.model
        self.assertEqual(photo.prediction.model.name, "drawn-two")

    def test_an_empty_look_costs_one_query(self) -> None:
        with self.assertNumQueries(1):
            inference.predict_pending("worker")

    def test_what_is_wrong_with_two_models_is_said_together(self) -> None:
        self.damaged |= {"drawn-two", "drawn-many"}
        self.ask("two")
        self.ask("many")
        with mock.patch("training.workers.report") as report:
            inference.predict_pending("worker")
        said = report.call_args.args[1]
        self.assertIn("drawn-two is damaged.", said)
        self.assertIn("drawn-many is damaged.", said)

    def test_asking_again_asks_the_same_project(self) -> None:
        photo = self.ask("two")
        inference.predict_pending("worker")
        again = queue.ask_again(photo)
        self.assertEqual(again.project_id, "two")
        inference.predict_pending("worker")
        assert photo.prediction.model
        self.assertEqual(photo.prediction.model.project_id, "two")

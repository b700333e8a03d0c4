"""Why the model answered so: heat maps and nearest images, by the models that ship."""

from __future__ import annotations

import io
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from django.test import override_settings
from django.utils import timezone
from PIL import Image

from cifarsite.test import SiteTestCase, picture
from cifarsite.tests.run_folder import synthetic_cifar10
from classifier import tasks
from classifier.models import Explanation, Photo, Prediction
from classifier.photos.history import remove_photos
from classifier.predictions import explanations, inference
from classifier.predictions.explanation_text import factor
from classifier.uploads.photos import upload_photo
from training.engine.data.cifar10 import CLASS_NAMES, read_training_images
from training.models import EmbeddingIndex, ModelVersion
from training.registry import model_store, neighbour_index, pretrained

WORKER = "tests@here"


class ExplanationTests(SiteTestCase):
    """The small shipped model answers, and a made-up CIFAR-10 in the official layout is at hand."""

    cifar10: Path

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.cifar10 = synthetic_cifar10()
        models = Path(folder.name) / "models"
        cls.enterClassContext(
            override_settings(MODELS_DIR=models, CIFAR10_DIR=str(cls.cifar10), NEIGHBOUR_IMAGES=300)
        )
        super().setUpClass()

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        pretrained.install_pretrained()
        ModelVersion.objects.filter(is_champion=True).update(is_champion=False)
        ModelVersion.objects.filter(recipe="fast_cnn").update(is_champion=True)

    def setUp(self) -> None:
        model_store._loaded.cache_clear()
        neighbour_index._loaded.cache_clear()
        self.client.force_login(self.alice)
        file = io.BytesIO()
        picture(size=(300, 200)).save(file, "PNG")
        self.photo = upload_photo(self.alice, io.BytesIO(file.getvalue()))
        self.url = f"/photos/{self.photo.pk}/"
        inference.predict_pending(WORKER)

    def ask(self) -> Explanation:
        self.client.post(f"{self.url}why/")
        explanations.explain_pending(WORKER)
        return Explanation.objects.get()

    def collect(self) -> None:
        neighbour_index.collect_pending(WORKER)
        explanations.fill_in_left()

    def test_a_person_asks_and_the_page_shows_heat_and_words(self) -> None:
        self.assertContains(self.client.get(self.url), "Explain this prediction")
        page = self.client.post(f"{self.url}why/", headers={"HX-Request": "true"})
        self.assertContains(page, "every 1s")
        self.ask()
        page = self.client.get(self.url)
        answer = self.photo.prediction
        self.assertContains(page, f"Heat map of {answer.label}.")
        self.assertRegex(page.content.decode(), "covering it divides the odds by|No single region decides")

    def test_the_map_is_the_change_of_the_odds_when_a_spot_is_covered(self) -> None:
        row = self.ask()
        answer = self.photo.prediction
        names = [row.name for row in answer.ranked[:2]]
        self.assertEqual(set(row.maps), set(names))
        grid = np.array(row.maps[names[0]])
        self.assertEqual(grid.shape, (16, 16))
        self.assertTrue(np.isfinite(grid).all())
        self.assertGreater(np.abs(grid).max(), 0.01)

    def test_the_heat_is_a_private_picture_with_the_photos_proportions(self) -> None:
        row = self.ask()
        url = f"{self.url}why/{CLASS_NAMES.index(self.photo.prediction.label)}/heat/"
        response = self.client.get(url)
        self.assertIn("private", response["Cache-Control"])
        with Image.open(io.BytesIO(response.content)) as heat:
            self.assertEqual((heat.mode, heat.size), ("RGBA", (480, 320)))
        self.assertEqual(self.client.get(f"{self.url}why/10/heat/").status_code, 404)
        self.client.force_login(self.bob)
        for address in (url, f"{self.url}why/", f"{self.url}why/nearest/"):
            self.assertEqual(self.client.get(address).status_code, 404)
        self.assertEqual(self.client.post(f"{self.url}why/").status_code, 404)
        row.refresh_from_db()
        self.assertEqual(row.status, "done")

    def test_the_heat_of_a_part_lies_on_that_part(self) -> None:
        self.client.post(f"{self.url}ask/", {"preset": "right"})
        inference.predict_pending(WORKER)
        self.ask()
        response = self.client.get(f"{self.url}why/{CLASS_NAMES.index(self.photo.prediction.label)}/heat/")
        with Image.open(io.BytesIO(response.content)) as heat:
            alpha = np.asarray(heat.getchannel("A"))
        self.assertEqual(alpha[:, :240].max(), 0)
        self.assertGreater(alpha[:, 240:].max(), 0)

    def test_the_nearest_training_images_come_when_they_are_collected(self) -> None:
        with self.captureOnCommitCallbacks(execute=False):
            self.assertEqual(self.ask().neighbours, "collecting")
        self.assertContains(self.client.get(self.url), "for the first time")
        index = EmbeddingIndex.objects.get()
        self.collect()
        index.refresh_from_db()
        self.assertEqual((index.status, index.done), ("done", index.total))
        self.assertTrue(200 < index.total <= 300, index.total)
        row = Explanation.objects.get()
        self.assertEqual((row.neighbours, len(row.nearest)), ("found", explanations.NEAREST))
        cosines = [image["cosine"] for image in row.nearest]
        self.assertEqual(cosines, sorted(cosines, reverse=True))
        self.assertContains(self.client.get(self.url), "The nearest training images")
        response = self.client.get(f"{self.url}why/nearest/")
        with Image.open(io.BytesIO(response.content)) as strip:
            self.assertEqual(strip.size, (32 * explanations.NEAREST, 32))

    def test_a_training_image_is_its_own_nearest(self) -> None:
        version = ModelVersion.objects.get(is_champion=True)
        neighbour_index.request_index(version)
        self.collect()
        index = neighbour_index.load(version)
        assert index is not None
        row = int(index.rows[17])
        images, labels = read_training_images(self.cifar10, [row])
        features, _ = model_store.predictor(version).forward(images)
        found = index.nearest(features[0], 1)[0]
        self.assertEqual(found[:2], (row, int(labels[0])))
        self.assertGreater(found[2], 0.999)

    def test_without_training_images_the_page_says_so(self) -> None:
        with tempfile.TemporaryDirectory() as empty, override_settings(CIFAR10_DIR=empty):
            self.assertEqual(self.ask().neighbours, "absent")
            page = self.client.get(self.url)
            self.assertContains(page, "This site has no images of CIFAR-10, so it cannot show any")
            self.assertNotContains(page, "CIFAR10_DIR")
            self.photo.owner.is_staff = True
            self.photo.owner.save()
            page = self.client.get(self.url)
            self.assertContains(page, "can set CIFAR10_DIR")
            self.assertContains(page, "/training/cifar10/")
        self.assertFalse(EmbeddingIndex.objects.exists())

    def test_two_close_labels_stand_side_by_side(self) -> None:
        row = self.ask()
        self.collect()
        answer = self.photo.prediction
        names = [row.name for row in answer.ranked[:2]]
        self.photo.predictions.update(
            probabilities=[{names[0]: 0.5, names[1]: 0.4}.get(name, 0.0125) for name in CLASS_NAMES]
        )
        page = self.client.get(self.url).content.decode()
        for name in names:
            self.assertIn(f"why/{CLASS_NAMES.index(name)}/heat/", page)
            self.assertIn(f"are labelled {name}", page)
        self.assertEqual(page.count('class="heat-map"'), 2)
        self.assertEqual(row.pk, Explanation.objects.get().pk)

    def test_asking_twice_makes_one_and_a_failed_one_is_tried_again(self) -> None:
        self.client.post(f"{self.url}why/")
        row = self.ask()
        self.assertEqual(explanations.explain_pending(WORKER), 0)
        Explanation.objects.update(status="failed", error_detail="Lost.")
        self.assertContains(self.client.get(self.url), "Lost.")
        again = self.ask()
        self.assertEqual((again.pk, again.status), (row.pk, "done"))

    def test_a_worker_that_lost_its_lease_writes_nothing(self) -> None:
        self.client.post(f"{self.url}why/")
        long_ago = timezone.now() - timedelta(hours=1)
        Explanation.objects.update(status="running", attempt=3, lease_expires_at=long_ago)
        self.assertEqual(explanations.explain_pending(WORKER), 0)
        explanations.QUEUE.recover()
        self.assertContains(self.client.get(self.url), "The worker was lost.")

    def test_it_goes_with_the_photo(self) -> None:
        self.ask()
        remove_photos(Photo.objects.all())
        self.assertFalse(Explanation.objects.exists())
        self.assertFalse(Prediction.objects.exists())

    def test_the_page_takes_as_many_queries_with_an_explanation(self) -> None:
        self.ask()
        self.collect()
        with self.assertNumQueries(15):
            self.client.get(self.url)
        with self.assertNumQueries(5):
            self.client.get(f"{self.url}why/", {"state": "done-found-0"})

    def test_people_are_answered_while_images_are_collected(self) -> None:
        neighbour_index.request_index(ModelVersion.objects.get(is_champion=True))
        other = upload_photo(self.alice, self.another())
        tasks.collect_neighbours.apply(throw=True)
        self.assertEqual(other.prediction.status, "done")

    def another(self) -> Any:
        file = io.BytesIO()
        picture("darkred").save(file, "PNG")
        file.seek(0)
        return file

    def test_factors_are_read_easily(self) -> None:
        self.assertEqual(
            [factor(nats) for nats in (0.0, 1.0, 3.5, 9.0)], ["1.0", "2.7", "33", "more than 1,000"]
        )

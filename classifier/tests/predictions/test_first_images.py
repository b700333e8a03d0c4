"""The first test image of each class, through the whole site to the shipped champion's answer."""

import io

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import override_settings
from django.urls import reverse
from PIL import Image

from cifarsite.test import SiteTestCase
from classifier.models import Prediction
from classifier.predictions import inference
from training.engine.data.cifar10 import CLASS_NAMES, load_cifar10
from training.registry import pretrained


@pytest.mark.needs_cifar10
class FirstImagesTestCase(SiteTestCase):
    @pytest.fixture(autouse=True)
    def models_folder(self, tmp_path, cifar10_dir):
        self.cifar10_dir = cifar10_dir
        with override_settings(MODELS_DIR=tmp_path / "models"):
            yield

    def test_at_least_eight_of_ten_are_right(self):
        pretrained.install_pretrained()
        data = load_cifar10(self.cifar10_dir)
        self.client.force_login(self.alice)
        for number, name in enumerate(CLASS_NAMES):
            buffer = io.BytesIO()
            Image.fromarray(data.x_test[np.argmax(data.y_test == number)]).save(buffer, "PNG")
            file = SimpleUploadedFile(f"{name}.png", buffer.getvalue(), "image/png")
            answer = self.client.post(reverse("classifier:upload"), {"file": file})
            assert answer.status_code == 302
        assert inference.predict_pending("test") == 10
        rows = Prediction.objects.select_related("photo", "model")
        right = [row.label == row.photo.filename.removesuffix(".png") for row in rows]
        assert sum(right) >= 8
        for row in rows:
            assert row.probabilities is not None
            assert row.model is not None
            assert row.model.is_champion
            assert row.status == Prediction.Status.DONE
            assert abs(sum(row.probabilities) - 1) < 1e-4
            assert row.provenance["temperature"] == row.model.card["judge"]["temperature"]
        page = self.client.get(rows[0].photo.get_absolute_url())
        self.assertContains(page, pretrained.SHIPPED_CHAMPION)

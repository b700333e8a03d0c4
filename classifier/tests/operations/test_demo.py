"""manage.py demo: what new people, tests and screenshots look at."""

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from cifarsite.test import PASSWORD, SiteTestCase, image_bytes
from classifier.models import Batch, Correction, Photo, Prediction, User
from training.models import ProjectImage, Promotion, TrainingJob
from training.registry.model_store import champion
from training.registry.pretrained import install_pretrained


def demo(**options: object) -> str:
    out = io.StringIO()
    call_command("demo", password=PASSWORD, stdout=out, **options)
    return out.getvalue()


@pytest.mark.slow
@override_settings(CIFAR10_DIR="")
class TheDemo(SiteTestCase):
    def setUp(self) -> None:
        User.objects.all().delete()

    def test_it_makes_a_lively_site_once(self) -> None:
        install_pretrained()
        said = demo()
        self.assertIn(f"Sign in as linh, sam, mara, password {PASSWORD}", said)
        self.assertTrue(self.client.login(username="linh", password=PASSWORD))
        self.assertFalse(Prediction.objects.exclude(status="done").exists())
        self.assertEqual(Batch.objects.get().state, "done")
        self.assertEqual(Batch.objects.get().items.filter(status="refused").count(), 1)
        self.assertEqual(set(Correction.objects.values_list("state", flat=True)), {"proposed", "accepted"})
        self.assertEqual(set(TrainingJob.objects.values_list("state", flat=True)), {"succeeded", "failed"})
        self.assertEqual(
            list(Promotion.objects.order_by("id").values_list("action", flat=True))[-2:],
            ["promote", "rollback"],
        )
        self.assertEqual(getattr(champion(), "recipe", None), "photo_net")
        self.assertEqual(getattr(champion("leaves"), "recipe", None), "transfer")
        self.assertEqual(ProjectImage.objects.filter(project="leaves").count(), 72)
        leaves = Prediction.objects.filter(project="leaves")
        self.assertLessEqual(set(leaves.values_list("label", flat=True)), {"birch", "fern", "oak"})
        self.assertEqual(leaves.count(), 6)
        before = Photo.objects.count()
        self.assertIn("already installed", demo())
        self.assertEqual(Photo.objects.count(), before)

    def test_it_leaves_a_site_alone_that_is_in_use(self) -> None:
        User.objects.create_user("somebody")
        User.objects.create_user("else")
        with self.assertRaisesMessage(CommandError, "or add --force"):
            demo()
        self.assertFalse(User.objects.filter(username="linh").exists())

    def test_it_says_so_where_a_folder_holds_no_photos(self) -> None:
        with self.assertRaisesMessage(CommandError, "holds no photos"):
            demo(photos=Path(__file__).parent)


def test_it_shows_the_photos_of_a_folder(tmp_path: Path) -> None:
    from classifier.operations.demo_data import images

    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "tom.png").write_bytes(image_bytes("PNG"))
    name, content, label = next(images(tmp_path))
    assert (name, label) == ("tom.png", "cat")
    assert content == image_bytes("PNG")

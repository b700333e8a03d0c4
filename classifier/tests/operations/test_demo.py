"""manage.py demo: what new people, tests and screenshots look at."""

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from cifarsite.test import PASSWORD, SiteTestCase, image_bytes
from cifarsite.tests.hosts import Host, demo_site
from classifier.models import User


def demo(**options: object) -> str:
    out = io.StringIO()
    call_command("demo", password=PASSWORD, stdout=out, **options)
    return out.getvalue()


LIVELY = """
from classifier.models import *
from training.models import ProjectImage, Promotion, TrainingJob
from training.registry.model_store import champion
from django.test import Client
leaves = Prediction.objects.filter(project="leaves")
answer = {
    "signs in": Client().login(username="linh", password=%r),
    "open": Prediction.objects.exclude(status="done").count(),
    "batches": list(Batch.objects.values_list("state", flat=True)),
    "refused": Batch.objects.get().items.filter(status="refused").count(),
    "corrections": sorted(set(Correction.objects.values_list("state", flat=True))),
    "jobs": sorted(set(TrainingJob.objects.values_list("state", flat=True))),
    "promotions": list(Promotion.objects.order_by("id").values_list("action", flat=True))[-2:],
    "champions": [champion().recipe, champion("leaves").recipe],
    "images": ProjectImage.objects.filter(project="leaves").count(),
    "leaves": leaves.count(),
    "other labels": leaves.exclude(label__in=["birch", "fern", "oak"]).count(),
    "photos": Photo.objects.count(),
}
"""


@pytest.mark.slow
def test_it_makes_a_lively_site_once(tmp_path: Path) -> None:
    host = Host(tmp_path / "site", CIFAR10_DIR="")
    host.copy(demo_site())
    assert f"Sign in as linh, sam, mara, password {PASSWORD}" in (host.folder / "said.txt").read_text()
    found = host.ask(LIVELY % PASSWORD)
    photos = found.pop("photos")
    assert photos
    assert found == {
        "signs in": True,
        "open": 0,
        "batches": ["done"],
        "refused": 1,
        "corrections": ["accepted", "proposed"],
        "jobs": ["failed", "succeeded"],
        "promotions": ["promote", "rollback"],
        "champions": ["photo_net", "transfer"],
        "images": 72,
        "leaves": 6,
        "other labels": 0,
    }
    assert "already installed" in host.manage("demo", "--password", PASSWORD)
    assert host.ask(LIVELY % PASSWORD)["photos"] == photos


@override_settings(CIFAR10_DIR="")
class InUseTests(SiteTestCase):
    def setUp(self) -> None:
        User.objects.all().delete()

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

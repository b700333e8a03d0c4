"""People's accepted corrections as a set of their own: 'manage.py evaluate --corrections', and the page."""

import io
import json
import uuid

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from PIL import Image

from training.data import dataset_versions, withdrawals
from training.engine.data.cifar10 import CLASS_NAMES
from training.engine.data.preprocessing import hash_pixels
from training.engine.tests.data.synthetic import images
from training.models import DatasetVersion
from training.tests.evaluation.report_case import ReportTestCase


def photo(number: int, label: int) -> dict[str, str]:
    """A corrected photo as the reviewer's acceptance leaves it in the storage."""
    pixels = Image.fromarray(images([label], 1_000 + number)[0])
    packed = io.BytesIO()
    pixels.save(packed, "PNG")
    name = default_storage.save(f"corrections/{number}.png", ContentFile(packed.getvalue()))
    sha256 = hash_pixels(pixels)
    source = str(uuid.UUID(int=number))
    return {"source": source, "file": name, "label": CLASS_NAMES[label], "sha256": sha256}


def evaluated(*words: str) -> dict[str, object]:
    out = io.StringIO()
    call_command("evaluate", *words, "--json", stdout=out)
    found: dict[str, object] = json.loads(out.getvalue())
    return found


class Corrections(ReportTestCase):
    def freeze(self, name: str, numbers: range) -> DatasetVersion:
        return dataset_versions.freeze(
            name, [photo(n, n % 10) for n in numbers], by=self.alice, cifar10="c" * 64
        )

    def test_a_model_is_measured_on_the_photos_that_no_model_learns_from(self) -> None:
        version = self.freeze("spring", range(40))
        kept_apart = sum(version.manifest["counts"]["measure"].values())
        self.assertGreater(kept_apart, 0)
        found = evaluated("tiny-better", "--corrections")
        self.assertEqual(found["n"], kept_apart)
        self.assertEqual(found["dataset"], "Corrected photos of spring")

    def test_the_newest_version_is_meant_where_none_is_named(self) -> None:
        self.freeze("spring", range(40))
        self.freeze("summer", range(80))
        self.assertEqual(evaluated("tiny-better", "--corrections")["dataset"], "Corrected photos of summer")
        named = evaluated("tiny-better", "--corrections", "spring")
        self.assertEqual(named["dataset"], "Corrected photos of spring")

    def test_without_photos_it_says_what_to_do(self) -> None:
        with self.assertRaisesMessage(CommandError, "freeze a version first"):
            call_command("evaluate", "tiny-better", "--corrections")
        with self.assertRaisesMessage(CommandError, "There is no dataset version 'autumn'"):
            call_command("evaluate", "tiny-better", "--corrections", "autumn")

    def test_a_withdrawn_photo_measures_nothing(self) -> None:
        version = self.freeze("spring", range(40))
        before = evaluated("tiny-better", "--corrections")["n"]
        added = version.manifest["added"]
        measuring = [row["source"] for row in added if row["part"] == dataset_versions.MEASURE]
        withdrawals.withdraw([uuid.UUID(measuring[0])])
        self.assertEqual(evaluated("tiny-better", "--corrections")["n"], int(str(before)) - 1)

    def test_the_slices_hold_uploads_against_cifar_with_n_and_interval(self) -> None:
        page = self.client.get(self.url("robustness/"))
        self.assertEqual([row["n"] for row in page.context["sources"]], [10_000, 0])
        self.freeze("spring", range(40))
        found = evaluated("tiny-better", "--corrections")
        page = self.client.get(self.url("robustness/"))
        cifar, uploads = page.context["sources"]
        self.assertEqual((cifar["band"], cifar["n"]), ("CIFAR-10 test", 10_000))
        self.assertEqual((uploads["band"], uploads["n"]), ("Corrected photos of spring", found["n"]))
        self.assertIn(" – ", uploads["interval"])
        self.assertContains(page, "Uploads against CIFAR-10")
        own = self.client.get(self.url(f"?set={uploads['link']}"))
        self.assertContains(own, "Corrected photos of spring")
        self.assertEqual(own.context["report"].n, found["n"])

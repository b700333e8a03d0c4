from __future__ import annotations

import random
import uuid
from collections import Counter

from django.core.files.storage import default_storage
from django.db import transaction
from PIL import Image, ImageEnhance

from cifarsite.core.keyset import BadCursor
from cifarsite.test import SiteTestCase
from training.models import Project, ProjectClass, ProjectImage
from training.projects import classes, images
from training.projects.additions import Addition, Collection, choose_split, signed, store, unsigned
from training.projects.lifecycle import create
from training.projects.refusals import ProjectRefused
from training.tests.projects.drawings import add_images, drawing, image_of, many_images, picture_of


class ImagesTestCase(SiteTestCase):
    project: Project
    apple: ProjectClass
    pear: ProjectClass

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.project = create("Fruit", class_names=["apple", "pear"])
        cls.apple, cls.pear = cls.project.classes.all()

    def splits(self, **which) -> Counter[str]:
        return Counter(self.project.images.filter(**which).values_list("split", flat=True))


class SplitTestCase(ImagesTestCase):
    def test_every_class_has_its_share_at_every_size(self) -> None:
        dice = random.Random(3)
        for wanted, n in (((3, 1, 1), 5), ((14, 3, 3), 20), ((140, 30, 30), 200)):
            taken: Counter[str] = Counter()
            for _ in range(n):
                key = f"{dice.getrandbits(256):064x}"
                places = tuple(taken[s] for s in ("training", "validation", "test"))
                taken[choose_split(key, places)] += 1
            self.assertEqual((taken["training"], taken["validation"], taken["test"]), wanted)

    def test_it_copes_with_classes_that_people_moved_about(self) -> None:
        for taken in ((0, 0, 4), (0, 19, 0), (40, 0, 0), (0, 0, 100)):
            self.assertIn(choose_split("f" * 64, taken), ("training", "validation", "test"))
        self.assertNotEqual(choose_split("f" * 64, (40, 0, 0)), "")

    def test_a_split_stays_when_images_are_added(self) -> None:
        add_images(self.project, self.apple, range(12))
        before = dict(self.project.images.values_list("pk", "split"))
        add_images(self.project, self.apple, range(100, 130))
        add_images(self.project, self.pear, range(200, 210))
        after = dict(self.project.images.filter(pk__in=before).values_list("pk", "split"))
        self.assertEqual(before, after)
        self.assertGreater(self.splits(label=self.apple)["test"], 3)
        self.assertGreaterEqual(min(self.splits(label=self.pear).values()), 1)

    def test_hashes_survive_the_databases_integers(self) -> None:
        for number in (0, 1, 2**63 - 1, 2**63, 2**64 - 1):
            self.assertEqual(unsigned(signed(number)), number)
            self.assertLess(abs(signed(number)), 2**63 + 1)


class DoublesTestCase(ImagesTestCase):
    def test_the_same_pixels_are_there_once(self) -> None:
        add_images(self.project, self.apple, range(2))
        again = add_images(self.project, self.apple, [drawing(0), drawing(0), drawing(7), drawing(7)])
        self.assertEqual([one.is_double for one in again], [True, True, False, True])
        self.assertEqual(self.project.images.count(), 3)

    def test_the_same_pixels_in_another_class_are_told_apart_from_doubles(self) -> None:
        add_images(self.project, self.apple, range(1))
        (again,) = add_images(self.project, self.pear, range(1))
        self.assertFalse(again.is_double)
        self.assertEqual(again.same and again.same.label, self.apple)

    def test_other_projects_may_have_them_too(self) -> None:
        other = create("Other", class_names=["apple"])
        add_images(self.project, self.apple, range(1))
        add_images(other, other.classes.get(), range(1))
        self.assertEqual(ProjectImage.objects.count(), 2)

    def test_lookalikes_share_a_group_and_a_split(self) -> None:
        first = drawing(5, (240, 180))
        add_images(self.project, self.apple, range(20, 40))
        add_images(self.project, self.apple, [first])
        alike = [
            first.resize((120, 90)),
            ImageEnhance.Brightness(first).enhance(1.08),
            first.crop((2, 2, 238, 178)),
        ]
        add_images(self.project, self.apple, alike)
        add_images(self.project, self.pear, [ImageEnhance.Color(first).enhance(0.8)])
        head = self.project.images.filter(near_duplicates__isnull=False).distinct().get()
        group = self.project.images.filter(near_duplicate_of=head)
        self.assertEqual(group.count(), 4)
        self.assertEqual(set(group.values_list("split", flat=True)), {head.split})

    def test_plain_pictures_of_other_colours_are_no_lookalikes(self) -> None:
        plain = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue", "white")]
        add_images(self.project, self.apple, plain)
        self.assertFalse(self.project.images.exclude(near_duplicate_of=None).exists())

    def test_where_the_first_of_a_group_goes_the_group_stays(self) -> None:
        first = drawing(5, (240, 180))
        add_images(self.project, self.apple, [first])
        add_images(self.project, self.apple, [first.resize((200, 150)), first.resize((160, 120))])
        head = self.project.images.get(near_duplicate_of=None)
        images.remove(self.project.images.filter(pk=head.pk))
        heir = self.project.images.get(near_duplicate_of=None)
        self.assertEqual(self.project.images.get(near_duplicate_of=heir).split, heir.split)
        add_images(self.project, self.apple, [first])
        self.assertEqual(self.project.images.filter(near_duplicate_of=heir).count(), 2)


class ChangesTestCase(ImagesTestCase):
    def test_it_relabels(self) -> None:
        added = add_images(self.project, self.apple, range(3))
        ids = [image_of(one).pk for one in added[:2]]
        before = dict(self.project.images.values_list("pk", "split"))
        self.assertEqual(images.relabel(self.project, ids, self.pear), 2)
        self.assertEqual(images.counts(self.project), {self.apple.pk: 1, self.pear.pk: 2})
        self.assertEqual(before, dict(self.project.images.values_list("pk", "split")))

    def test_it_relabels_only_within_the_project(self) -> None:
        other = create("Other", class_names=["apple"])
        added = add_images(self.project, self.apple, range(1))
        with self.assertRaises(ProjectRefused):
            images.relabel(self.project, [image_of(added[0]).pk], other.classes.get())
        self.assertEqual(images.relabel(other, [image_of(added[0]).pk], other.classes.get()), 0)
        self.assertEqual(images.counts(self.project), {self.apple.pk: 1, self.pear.pk: 0})

    def test_it_moves_a_whole_group(self) -> None:
        first = drawing(5, (240, 180))
        add_images(self.project, self.apple, [first, first.resize((200, 150))])
        member = self.project.images.exclude(near_duplicate_of=None).get()
        target = "test" if member.split != "test" else "training"
        self.assertEqual(images.move(self.project, [member.pk], target), 2)
        self.assertEqual(self.splits(), {target: 2})
        with self.assertRaises(ProjectRefused):
            images.move(self.project, [member.pk], "holdout")

    def test_it_removes_rows_and_files(self) -> None:
        added = add_images(self.project, self.apple, range(3))
        name = str(image_of(added[0]).file.name)
        self.assertTrue(default_storage.exists(name))
        with self.captureOnCommitCallbacks(execute=True):
            self.assertEqual(images.remove(self.project.images.filter(pk=image_of(added[0]).pk)), 1)
        self.assertFalse(default_storage.exists(name))
        self.assertEqual(self.project.images.count(), 2)

    def test_a_file_that_was_added_again_meanwhile_stays(self) -> None:
        added = add_images(self.project, self.apple, range(1))
        with self.captureOnCommitCallbacks(execute=True):
            images.remove(self.project.images.all())
            add_images(self.project, self.pear, range(1))
        self.assertTrue(default_storage.exists(str(image_of(added[0]).file.name)))

    def test_what_was_made_of_a_photo_goes_with_it(self) -> None:
        photo = uuid.uuid4()
        add_images(self.project, self.apple, range(2), photo=photo)
        add_images(self.project, self.apple, range(5, 7))
        self.assertEqual(images.remove_of_photos([photo, uuid.uuid4()]), 2)
        self.assertEqual(self.project.images.count(), 2)

    def test_many_go_with_few_queries(self) -> None:
        many_images(self.project, [self.apple, self.pear], 1_200)
        # Each 500 go with one, and so do the names of their files; two classes are counted.
        with self.assertNumQueries(15):
            images.remove(self.project.images.all())
        self.assertFalse(self.project.images.exists())


class CountsTestCase(ImagesTestCase):
    def assert_counted(self, *numbers: int) -> None:
        """What is kept is what there is, and that is so many."""
        for row, n in zip((self.apple, self.pear), numbers, strict=True):
            self.assertEqual(self.project.images.filter(label=row).count(), n)
        self.assertEqual(images.counts(self.project), {self.apple.pk: numbers[0], self.pear.pk: numbers[1]})
        self.assertEqual(images.counts_by_name(self.project), {"apple": numbers[0], "pear": numbers[1]})
        self.assertEqual(images.total(self.project), sum(numbers))

    def test_every_change_is_counted(self) -> None:
        self.assert_counted(0, 0)
        added = add_images(self.project, self.apple, range(5))
        add_images(self.project, self.pear, range(3, 9))  # two of them are there already
        self.assert_counted(5, 4)
        ids = [image_of(one).pk for one in added]
        images.relabel(self.project, ids[:2], self.pear)
        images.relabel(self.project, ids[:3], self.pear)
        self.assert_counted(2, 7)
        images.move(self.project, ids, "test")
        images.remove(self.project.images.filter(pk__in=ids[1:4]))
        self.assert_counted(1, 5)
        self.assertEqual(classes.merge(self.apple, self.pear), 1)
        self.assertEqual(images.counts_by_name(self.project), {"pear": 6})

    def test_what_is_rolled_back_is_not_counted(self) -> None:
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            add_images(self.project, self.apple, range(5))
            raise ZeroDivisionError
        self.assert_counted(0, 0)

    def test_wrong_numbers_are_put_right(self) -> None:
        add_images(self.project, self.apple, range(3))
        self.assertEqual(images.recount(), {"image_counts_corrected": 0})
        # As of a version of the site that does not keep them.
        ProjectClass.objects.filter(pk=self.apple.pk).update(image_count=1)
        ProjectClass.objects.filter(pk=self.pear.pk).update(image_count=7)
        images.remove(self.project.images.all())
        add_images(self.project, self.pear, range(2))
        self.assertEqual(images.recount(), {"image_counts_corrected": 1})
        self.assert_counted(0, 2)


class WarningsTestCase(ImagesTestCase):
    def warnings(self) -> str:
        return " ".join(map(str, images.warnings(self.project)))

    def test_it_says_what_to_do_first(self) -> None:
        self.assertIn("import", " ".join(map(str, images.warnings(create("Empty")))))
        self.assertIn("second", " ".join(map(str, images.warnings(create("One", class_names=["a"])))))

    def test_it_warns_of_small_and_lopsided_classes(self) -> None:
        many_images(self.project, [self.apple], 50)
        said = self.warnings()
        self.assertIn("fewer than 10 images: add some to pear (0)", said)
        self.assertIn("'apple' has 50 images and 'pear' 0", said)

    def test_five_times_is_the_limit(self) -> None:
        add_images(self.project, self.apple, range(10))
        many_images(self.project, [self.pear], 49)
        self.assertEqual(self.warnings(), "")

    def test_it_warns_of_lookalikes_under_two_labels(self) -> None:
        first = drawing(5, (240, 180))
        add_images(self.project, self.apple, [first])
        add_images(self.project, self.pear, [first.resize((200, 150))])
        self.assertIn("1 image looks nearly like one of another class", self.warnings())
        self.assertEqual(images.doubtful(self.project).get().label, self.pear)


class PagesTestCase(ImagesTestCase):
    def test_pages_show_every_image_once_both_ways(self) -> None:
        many_images(self.project, [self.apple, self.pear], 50)
        rows = self.project.images.filter(label=self.apple)
        seen, cursor, pages = [], "", []
        while True:
            page = images.page(rows, cursor, 10)
            seen += [row.pk for row in page.items]
            pages.append(page)
            if not page.next_cursor:
                break
            cursor = page.next_cursor
        self.assertEqual(len(seen), 25)
        self.assertEqual(len(set(seen)), 25)
        self.assertEqual(pages[0].previous_cursor, "")
        back = images.page(rows, pages[2].previous_cursor, 10)
        self.assertEqual([r.pk for r in back.items], [r.pk for r in pages[1].items])

    def test_a_damaged_cursor_says_so(self) -> None:
        for cursor in ("x", "é", "bm9uZQ", "A" * 300):
            with self.assertRaises(BadCursor):
                images.page(self.project.images.all(), cursor)


class CollectionTestCase(ImagesTestCase):
    def test_it_notices_what_others_add_and_remove(self) -> None:
        collection = Collection(self.project)
        collection.add([])
        first = drawing(5, (240, 180))
        add_images(self.project, self.apple, [first])
        again = add_images_with(collection, self.project, self.apple, first.resize((200, 150)))
        self.assertIsNotNone(again.near_duplicate_of_id)
        images.remove(self.project.images.all())
        alone = add_images_with(collection, self.project, self.apple, first.resize((160, 120)))
        self.assertIsNone(alone.near_duplicate_of_id)

    def test_a_group_costs_a_fixed_number_of_queries(self) -> None:
        collection = Collection(self.project)
        add_images_with(collection, self.project, self.apple, drawing(1))
        group = [Addition(picture_of(drawing(n)), self.apple, "x") for n in range(50, 82)]
        store(self.project, [one.picture for one in group])
        with self.assertNumQueries(4):  # one of them a class that has more images now
            collection.add(group)


def add_images_with(collection, project, label, image) -> ProjectImage:
    addition = Addition(picture_of(image), label, "x.png")
    store(project, [addition.picture])
    collection.add([addition])
    assert addition.image is not None
    return addition.image

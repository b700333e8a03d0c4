"""The pages of projects: who sees what, what staff change, what is refused, how many queries it takes."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from cifarsite.test import SiteTestCase
from classifier.models import AuditEntry, Batch, BatchItem, Photo
from classifier.tests.uploads.archives import zipped
from classifier.uploads import import_worker
from training.models import Project, ProjectClass, ProjectImage, ProjectImport
from training.projects.access import class_names
from training.projects.lifecycle import create
from training.tests.projects.drawings import add_images, drawing, drawn_file, image_of, many_images


class PagesTestCase(SiteTestCase):
    project: Project
    apple: ProjectClass
    pear: ProjectClass

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.project = create("Fruit", class_names=["apple", "pear"])
        cls.apple, cls.pear = cls.project.classes.all()

    def setUp(self) -> None:
        self.client.force_login(self.charlie)
        import_worker._last = None

    def post(self, path: str = "", **data: Any) -> Any:
        return self.client.post(f"/projects/fruit/{path}", data, follow=True)

    def ids(self, additions: Any) -> list[str]:
        return [str(image_of(one).pk) for one in additions]


class ListTest(PagesTestCase):
    def test_everybody_signed_in_sees_what_is_open_to_them(self) -> None:
        create("Secret", is_open=False, members=[self.alice])
        for person, seen in ((self.alice, True), (self.bob, False), (self.charlie, True)):
            self.client.force_login(person)
            page = self.client.get("/projects/")
            self.assertContains(page, "CIFAR-10")
            self.assertEqual(b"Secret" in page.content, seen)
            self.assertEqual(self.client.get("/projects/secret/").status_code, 200 if seen else 404)
        self.client.logout()
        self.assertEqual(self.client.get("/projects/").status_code, 302)

    def test_an_empty_list_says_what_to_do(self) -> None:
        Project.objects.filter(pk="fruit").delete()
        self.assertContains(self.client.get("/projects/"), "Create one, import a ZIP archive")
        self.client.force_login(self.alice)
        page = self.client.get("/projects/")
        self.assertContains(page, "Ask staff")
        self.assertNotContains(page, '<form method="post" class="stack"')

    def test_staff_make_one(self) -> None:
        sent = {"name": "Cà phê", "slug": "", "classes": "arabica\n\nrobusta\n"}
        page = self.client.post("/projects/", sent, follow=True)
        self.assertRedirects(page, "/projects/ca-phe/")
        self.assertEqual(class_names("ca-phe"), ["arabica", "robusta"])
        self.assertTrue(AuditEntry.objects.filter(kind="project_created").exists())

    def test_what_is_wrong_is_said_and_what_was_typed_stays(self) -> None:
        page = self.client.post("/projects/", {"name": "Fruit", "classes": "a"})
        self.assertContains(page, "There is a project &#x27;fruit&#x27; already", status_code=409)
        self.assertContains(page, 'value="Fruit"', status_code=409)
        page = self.client.post("/projects/", {"name": "x", "classes": "a\nA"})
        self.assertContains(page, "same class", status_code=400)

    def test_others_make_none(self) -> None:
        self.client.force_login(self.alice)
        self.assertEqual(self.client.post("/projects/", {"name": "x"}).status_code, 403)
        self.charlie.groups.add(Group.objects.get(name="operators"))
        self.client.force_login(self.charlie)
        self.assertEqual(self.client.post("/projects/", {"name": "x"}).status_code, 403)
        self.assertNotContains(self.client.get("/projects/"), "Create a project")

    def test_its_queries_do_not_grow(self) -> None:
        found = []
        for count in (1, 30):
            for number in range(count):
                create(f"p{count} {number}", class_names=["a"])
            with CaptureQueriesContext(connection) as queries:
                self.client.get("/projects/")
            found.append(len(queries))
        self.assertEqual(found[0], found[1])
        self.assertLessEqual(found[0], 6)


class ProjectTest(PagesTestCase):
    def test_it_shows_classes_counts_and_images(self) -> None:
        add_images(self.project, self.apple, range(6))
        page = self.client.get("/projects/fruit/")
        self.assertContains(page, "apple")
        self.assertContains(page, 'loading="lazy"', 6)
        self.assertContains(page, "fewer than 10 images")
        self.assertContains(page, "have fewer: pear (0). Add images to them")
        self.assertNotContains(page, "recipe=transfer")
        add_images(self.project, self.pear, range(20, 25))
        self.assertContains(self.client.get("/projects/fruit/"), "?project=fruit&amp;recipe=transfer")

    def test_it_shows_a_class_and_a_split(self) -> None:
        add_images(self.project, self.apple, range(3))
        add_images(self.project, self.pear, range(10, 20))
        page = self.client.get(f"/projects/fruit/?class={self.pear.pk}")
        self.assertContains(page, 'loading="lazy"', 10)
        tests = self.project.images.filter(label=self.pear, split="test").count()
        page = self.client.get(f"/projects/fruit/?class={self.pear.pk}&split=test")
        self.assertContains(page, 'loading="lazy"', tests)

    def test_pages_are_keyset_pages(self) -> None:
        many_images(self.project, [self.apple], 100)
        page = self.client.get("/projects/fruit/")
        self.assertContains(page, 'name="ids"', 48)
        cursor = page.context["page"].next_cursor
        second = self.client.get(f"/projects/fruit/?class={self.apple.pk}&cursor={cursor}")
        self.assertContains(second, 'name="ids"', 48)
        self.assertEqual(self.client.get("/projects/fruit/?cursor=nonsense").status_code, 404)

    def test_wrong_parameters_show_the_first_class(self) -> None:
        for query in ("class=0", "class=x", "class=" + "9" * 30, "split=x", "show=x"):
            self.assertEqual(self.client.get(f"/projects/fruit/?{query}").status_code, 200, query)

    def test_names_are_escaped(self) -> None:
        evil = create("<script>x</script>", slug="evil", class_names=["<b>bold", "🐈"])
        add_images(evil, evil.classes.all()[0], range(2))
        for person in (self.charlie, self.alice):
            self.client.force_login(person)
            page = self.client.get("/projects/evil/")
            self.assertContains(page, "&lt;b&gt;bold")
            self.assertNotContains(page, "<b>bold")
            self.assertNotContains(page, "<script>x")
            self.assertContains(page, "🐈")

    def test_people_who_are_not_staff_see_classes_and_no_images(self) -> None:
        added = add_images(self.project, self.apple, range(2))
        self.client.force_login(self.alice)
        page = self.client.get("/projects/fruit/")
        self.assertContains(page, "apple")
        self.assertNotContains(page, "/images/")
        self.assertNotContains(page, '<form method="post" action="/projects')
        url = f"/projects/fruit/images/{image_of(added[0]).pk}/"
        self.assertEqual(self.client.get(url).status_code, 403)

    def test_staff_of_another_role_see_and_change_nothing(self) -> None:
        add_images(self.project, self.apple, range(2))
        self.charlie.groups.add(Group.objects.get(name="reviewers"))
        page = self.client.get("/projects/fruit/")
        self.assertContains(page, 'loading="lazy"', 2)
        self.assertNotContains(page, 'name="ids"')
        self.assertEqual(self.post("change/", name="x").status_code, 403)
        self.assertEqual(self.client.get("/projects/fruit/import/").status_code, 403)

    def test_cifar10_has_a_page_without_changes(self) -> None:
        page = self.client.get("/projects/cifar10/")
        self.assertContains(page, "cannot be changed")
        self.assertNotContains(page, "/projects/cifar10/classes/")

    def test_an_image_is_served_with_a_tag(self) -> None:
        add_images(self.project, self.apple, range(1))
        image = self.project.images.get()
        url = f"/projects/fruit/images/{image.pk}/"
        answer = self.client.get(url)
        self.assertEqual((answer.status_code, answer.getvalue()[:4]), (200, b"\x89PNG"))
        self.assertEqual(answer.headers["Content-Type"], "image/png")
        self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
        self.assertIn("private", answer.headers["Cache-Control"])
        again = self.client.get(url, headers={"If-None-Match": answer.headers["ETag"]})
        self.assertEqual(again.status_code, 304)
        self.assertEqual(self.client.get(f"/projects/cifar10/images/{image.pk}/").status_code, 404)
        self.assertEqual(self.client.get(f"/projects/fruit/images/{uuid.uuid4()}/").status_code, 404)
        image.file.storage.delete(str(image.file.name))
        self.assertEqual(self.client.get(url).status_code, 404)

    def test_it_speaks_vietnamese_numbers_too(self) -> None:
        many_images(self.project, [self.apple], 1_200)
        with translation.override("vi"):
            page = self.client.get("/projects/fruit/", headers={"Accept-Language": "vi"})
        self.assertEqual(page.status_code, 200)
        self.assertNotContains(page, f"class={self.apple.pk:,}" if self.apple.pk > 999 else "class=1.")

    def test_its_queries_and_time_do_not_grow_with_the_project(self) -> None:
        big = create("Big", class_names=[f"class {n}" for n in range(100)])
        many_images(big, list(big.classes.all()), 10_000)
        add_images(self.project, self.apple, range(10))
        found = []
        for slug in ("fruit", "big"):
            self.client.get(f"/projects/{slug}/")
            with CaptureQueriesContext(connection) as queries:
                self.assertEqual(self.client.get(f"/projects/{slug}/").status_code, 200)
            found.append(len(queries))
        self.assertEqual(found[0], found[1])
        self.assertLessEqual(found[1], 16)


class ClassesTest(PagesTestCase):
    def change(self, row: Any, act: str, **data: Any) -> Any:
        return self.post(f"classes/{row.pk}/", act=act, **data)

    def test_they_are_added_renamed_moved_merged_and_deleted(self) -> None:
        self.assertContains(self.post("classes/", act="add", names="plum\n fig \n"), "2 classes added.")
        self.assertEqual(class_names(self.project), ["apple", "pear", "plum", "fig"])
        self.change(self.apple, "rename", name="Apple")
        self.change(self.apple, "down")
        self.assertEqual(class_names(self.project), ["pear", "Apple", "plum", "fig"])
        self.post("classes/", act="sort")
        self.assertEqual(class_names(self.project), ["Apple", "fig", "pear", "plum"])
        add_images(self.project, self.pear, range(3))
        page = self.change(self.pear, "merge", into=self.apple.pk)
        self.assertContains(page, "is now part of")
        self.assertEqual(self.apple.images.count(), 3)
        page = self.change(self.apple, "delete")
        self.assertContains(page, "images: 3")
        self.change(self.apple, "delete", confirmed="apple")
        self.assertEqual(class_names(self.project), ["fig", "plum"])

    def test_refusals_are_shown(self) -> None:
        self.assertContains(self.post("classes/", act="add", names="APPLE"), "choose another name")
        self.assertContains(self.post("classes/", act="add", names=" "), "type one")
        self.assertContains(self.change(self.apple, "rename", name="pear"), "merge the two")
        self.assertContains(self.change(self.apple, "rename", name="../x"), "without slashes")
        self.assertContains(self.change(self.apple, "merge", into=self.apple.pk), "another class")
        self.assertEqual(self.change(self.apple, "merge", into="x").status_code, 404)
        self.assertEqual(class_names(self.project), ["apple", "pear"])

    def test_classes_of_other_projects_are_404(self) -> None:
        other = create("Other", class_names=["x"]).classes.get()
        self.assertEqual(self.change(other, "rename", name="y").status_code, 404)
        self.assertEqual(self.change(self.apple, "merge", into=other.pk).status_code, 404)


class ImagesTest(PagesTestCase):
    def test_they_are_relabelled_by_button_and_by_key(self) -> None:
        added = add_images(self.project, self.apple, range(4))
        ids = self.ids(added)
        page = self.post("images/", act="relabel", label=self.pear.pk, ids=ids[:2])
        self.assertContains(page, "Images moved to &#x27;pear&#x27;: 2.")
        self.post("images/", act=f"label-{self.pear.pk}", ids=ids[2:3])
        self.assertEqual(self.pear.images.count(), 3)

    def test_they_are_moved_and_removed(self) -> None:
        ids = self.ids(add_images(self.project, self.apple, range(4)))
        self.post("images/", act="move", split="test", ids=ids)
        self.assertEqual(self.project.images.filter(split="test").count(), 4)
        self.assertContains(self.post("images/", act="move", split="x", ids=ids), "Choose training")
        self.assertContains(self.post("images/", act="remove", ids=ids[:3]), "Images removed: 3.")
        self.assertEqual(self.project.images.count(), 1)

    def test_nothing_chosen_says_so(self) -> None:
        add_images(self.project, self.apple, range(1))
        for ids in ([], ["x"], ["'; drop table"]):
            self.assertContains(self.post("images/", act="remove", ids=ids), "Choose images first.")
        self.assertEqual(self.post("images/", act="relabel", label="x", ids=[uuid.uuid4()]).status_code, 404)
        self.assertEqual(self.project.images.count(), 1)

    def test_images_of_other_projects_stay(self) -> None:
        other = create("Other", class_names=["x"])
        ids = self.ids(add_images(other, other.classes.get(), range(2)))
        self.post("images/", act="remove", ids=ids)
        self.post("images/", act="move", split="test", ids=ids)
        self.assertEqual(other.images.count(), 2)

    def test_doubtful_ones_are_shown_in_pairs(self) -> None:
        first = drawing(5, (240, 180))
        add_images(self.project, self.apple, [first])
        add_images(self.project, self.pear, [first.resize((200, 150))])
        self.assertContains(self.client.get("/projects/fruit/"), "?show=doubtful")
        page = self.client.get("/projects/fruit/?show=doubtful")
        self.assertContains(page, 'loading="lazy"', 2)
        self.assertContains(page, 'name="ids"', 1)


class SettingsTest(PagesTestCase):
    def test_it_is_renamed_closed_and_given_members(self) -> None:
        self.assertContains(self.post("change/", name="Obst", members="alice"), "The project is changed.")
        self.project.refresh_from_db()
        self.assertEqual((self.project.name, self.project.is_open), ("Obst", False))
        self.assertContains(self.post("change/", name="Obst", members="nobody"), "Nobody here is called")
        self.post("change/", name="Obst", is_open="on", members="")
        self.project.refresh_from_db()
        self.assertEqual((self.project.is_open, self.project.members.count()), (True, 0))

    def test_it_is_deleted_once_its_slug_is_typed(self) -> None:
        add_images(self.project, self.apple, range(3))
        self.assertContains(self.client.get("/projects/fruit/delete/"), "Images: 3")
        wrong = self.client.post("/projects/fruit/delete/", {"confirmed": "Fruit"})
        self.assertContains(wrong, "Type &#x27;fruit&#x27;", status_code=400)
        self.assertRedirects(
            self.client.post("/projects/fruit/delete/", {"confirmed": "fruit"}), "/projects/"
        )
        self.assertFalse(ProjectImage.objects.exists())
        self.assertTrue(AuditEntry.objects.filter(kind="project_deleted", detail="fruit: 3 images").exists())

    def test_one_in_use_says_why_it_stays(self) -> None:
        photo = self.upload()
        Photo.objects.filter(pk=photo.pk).update(project=self.project)
        page = self.client.get("/projects/fruit/delete/")
        self.assertContains(page, "photos: 1")
        self.assertNotContains(page, 'name="confirmed"')
        refused = self.client.post("/projects/fruit/delete/", {"confirmed": "fruit"})
        self.assertContains(refused, "in use", status_code=400)


class ImportPageTest(PagesTestCase):
    def send(self, files: dict[str, bytes], **more: Any) -> Any:
        archive = SimpleUploadedFile("a.zip", zipped(files).read(), "application/zip")
        return self.client.post("/projects/fruit/import/", {"archive": archive, **more}, follow=True)

    def test_from_the_form_to_the_images(self) -> None:
        page = self.send({f"apple/{n}.png": drawn_file(n) for n in range(3)} | {"apple/x.txt": b"x"})
        self.assertContains(page, "a.zip")
        self.assertContains(page, 'hx-trigger="every 2s"')
        row = ProjectImport.objects.get()
        live = f"/projects/fruit/imports/{row.pk}/live/"
        self.assertEqual(self.client.get(live).status_code, 200)
        import_worker.import_slice("test")
        over = self.client.get(live)
        self.assertEqual((over.status_code, over.headers["HX-Refresh"]), (286, "true"))
        page = self.client.get(f"/projects/fruit/imports/{row.pk}/")
        self.assertContains(page, "All done")
        self.assertContains(page, "apple/x.txt")
        self.assertContains(page, "This file is not an image")
        self.assertNotContains(page, "hx-trigger")
        self.assertContains(self.client.get("/projects/fruit/"), 'loading="lazy"', 3)

    def test_refusals_are_shown_on_the_form(self) -> None:
        self.assertContains(self.send({"1.png": b"x"}), "folder named like the class", status_code=400)
        missing = self.client.post("/projects/fruit/import/", {})
        self.assertContains(missing, "Choose a ZIP archive first.", status_code=400)
        table = SimpleUploadedFile("l.csv", b"filename,label\nnone.png,apple\n")
        self.assertContains(self.send({"1.png": b"x"}, labels=table), "none.png", status_code=400)
        for batch in ("", "x", str(uuid.uuid4())):
            sent = {"way": "batch", "batch": batch}
            self.assertIn(self.client.post("/projects/fruit/import/", sent).status_code, (400, 404))
        none = self.client.post("/projects/fruit/import/", {"way": "corrections"})
        self.assertContains(none, "review some first", status_code=400)
        self.assertFalse(ProjectImport.objects.exists())

    def test_it_is_cancelled(self) -> None:
        self.send({"apple/1.png": drawn_file(1)})
        row = ProjectImport.objects.get()
        page = self.client.post(f"/projects/fruit/imports/{row.pk}/cancel/", follow=True)
        self.assertContains(page, "nothing of it is kept")
        page = self.client.post(f"/projects/fruit/imports/{row.pk}/cancel/", follow=True)
        self.assertContains(page, "already finished")

    def test_only_ones_own_batches_with_labels_are_offered(self) -> None:
        for owner, name, truth in (
            (self.charlie, "mine.zip", "apple"),
            (self.charlie, "unlabelled.zip", ""),
            (self.alice, "others.zip", "apple"),
        ):
            batch = Batch.objects.create(
                owner=owner, project=self.project, filename=name, sha256="0" * 64, size=1, state="done"
            )
            photo = self.upload(owner)
            BatchItem.objects.create(
                batch=batch, number=0, name="p.jpg", truth=truth, status="stored", photo=photo
            )
        page = self.client.get("/projects/fruit/import/")
        self.assertContains(page, "mine.zip")
        self.assertNotContains(page, "unlabelled.zip")
        self.assertNotContains(page, "others.zip")
        batch = Batch.objects.get(filename="mine.zip")
        page = self.client.post(
            "/projects/fruit/import/", {"way": "batch", "batch": str(batch.pk)}, follow=True
        )
        self.assertContains(page, "mine.zip")
        self.assertEqual(ProjectImport.objects.get().total, 1)

    def test_imports_of_other_projects_are_404(self) -> None:
        create("Other")
        self.send({"apple/1.png": drawn_file(1)})
        row = ProjectImport.objects.get()
        for end in ("", "live/", "cancel/"):
            method = self.client.post if end == "cancel/" else self.client.get
            self.assertEqual(method(f"/projects/other/imports/{row.pk}/{end}").status_code, 404)

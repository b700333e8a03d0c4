"""A project of members is not there for others, on every door; one without a model says so."""

from __future__ import annotations

import io
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command

from cifarsite.test import ApiTestCase, answer, drawn_model, image_bytes, image_file
from classifier.models import ArchiveUpload, Batch, Photo
from classifier.photos import projects
from classifier.tests.projects.drawn import make_project
from classifier.tests.uploads.archives import photos, zipped
from classifier.uploads.photos import upload_photo
from training.models import DEFAULT_PROJECT, ModelVersion, Project


def archive(count: int = 1) -> SimpleUploadedFile:
    return SimpleUploadedFile("a.zip", zipped(photos(count)).getvalue(), "application/zip")


class DoorTests(ApiTestCase):
    """Alice is a member of 'closed', Bob is not; Charlie is staff."""

    closed: Project
    open: Project
    empty: Project

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        drawn_model(DEFAULT_PROJECT, is_champion=True)
        cls.closed = make_project("closed", 3, is_open=False, members=[cls.alice])
        cls.open = make_project("open", 2)
        cls.empty = Project.objects.create(slug="empty", name="Empty")

    def doors(self, slug: str, token: str) -> dict[str, Any]:
        """The answer of each door to a project; the browser is signed in as the token's owner."""
        self.client.force_login({"alice": self.alice, "bob": self.bob, "charlie": self.charlie}[token])
        begin = {"filename": "a.zip", "size": "5", "fingerprint": "f", "project": slug}
        return {
            "page": self.client.post("/", {"file": image_file(), "project": slug}),
            "script": self.client.post(
                "/", {"file": image_file(), "project": slug}, headers={"Accept": "application/json"}
            ),
            "batch": self.client.post("/batches/", {"archive": archive(), "project": slug}),
            "pieces": self.client.post("/batches/uploads/", begin),
            "api": self.call("post", f"photos?project={slug}", {"file": image_file()}, token=token),
            "api batch": self.call("post", "batches", {"archive": archive(), "project": slug}, token=token),
        }

    def looks(self, slug: str, token: str) -> dict[str, Any]:
        self.client.force_login({"alice": self.alice, "bob": self.bob, "charlie": self.charlie}[token])
        return {
            "history": self.client.get(f"/history/?project={slug}"),
            "export": self.client.get(f"/history/export.csv?project={slug}"),
            "delete": self.client.post(f"/history/delete/?project={slug}", {"everything": "1"}),
            "calendar": self.client.get(f"/history/calendar/?project={slug}"),
            "api": self.call("get", f"photos?project={slug}", token=token),
            "api batches": self.call("get", f"batches?project={slug}", token=token),
        }

    def test_others_get_404_on_every_door(self) -> None:
        for door, response in (self.doors("closed", "bob") | self.looks("closed", "bob")).items():
            with self.subTest(door):
                self.assertEqual(response.status_code, 404)
        self.assertFalse(Photo.objects.exists() or Batch.objects.exists() or ArchiveUpload.objects.exists())

    def test_it_is_as_a_project_that_is_not_there(self) -> None:
        for door, response in (self.doors("nowhere", "bob") | self.looks("nowhere", "bob")).items():
            with self.subTest(door):
                self.assertEqual(response.status_code, 404)

    def test_members_and_staff_are_let_in(self) -> None:
        for token in ("alice", "charlie"):
            for door, response in (self.doors("closed", token) | self.looks("closed", token)).items():
                with self.subTest(door, token=token):
                    self.assertIn(response.status_code, (200, 201, 202, 302))
        # The history's 'delete all' took them away again.
        self.assertEqual({photo.project_id for photo in Photo.objects.all()}, {"closed"})
        self.assertEqual({batch.project_id for batch in Batch.objects.all()}, {"closed"})
        self.assertEqual({upload.project_id for upload in ArchiveUpload.objects.all()}, {"closed"})

    def test_without_a_project_the_default_one_is_meant(self) -> None:
        for response in self.doors("", "bob").values():
            self.assertIn(response.status_code, (200, 201, 202, 302))
        self.assertEqual({photo.project_id for photo in Photo.objects.all()}, {DEFAULT_PROJECT})

    def test_a_project_without_a_model_says_what_to_do(self) -> None:
        for door, response in self.doors("empty", "bob").items():
            with self.subTest(door):
                self.assertEqual(response.status_code, 409)
                self.assertContains(response, "has no model yet", status_code=409)
        self.assertFalse(Photo.objects.exists() or Batch.objects.exists())

    def test_the_api_names_the_project_of_photos_and_batches(self) -> None:
        made = self.call("post", "photos?project=closed", {"file": image_file()}).json()["photos"][0]
        self.assertEqual(made["project"], "closed")
        batch = self.call("post", "batches", {"archive": archive(), "project": "closed"}).json()
        self.assertEqual(batch["project"], "closed")
        listed = self.call("get", "batches").json()["batches"]
        self.assertEqual([(one["id"], one["project"]) for one in listed], [(batch["id"], "closed")])
        self.assertEqual(self.call("get", "batches?project=open").json()["batches"], [])

    def test_batches_are_paged(self) -> None:
        made = [self.call("post", "batches", {"archive": archive(n)}).json()["id"] for n in (1, 2, 3)]
        seen, cursor = [], ""
        while True:
            page = self.call("get", f"batches?limit=2&cursor={cursor}").json()
            seen += [one["id"] for one in page["batches"]]
            cursor = page["next_cursor"]
            if not cursor:
                break
        self.assertEqual(seen, made[::-1])
        self.assert_problem(self.call("get", "batches?cursor=nonsense"), 400, "bad_cursor")
        self.assertEqual(self.call("get", "batches", token="bob").json()["batches"], [])

    def test_the_same_archive_for_another_project_is_another_batch(self) -> None:
        self.client.force_login(self.alice)
        for slug in ("closed", "open", "closed"):
            self.client.post("/batches/", {"archive": archive(), "project": slug})
        newest, second, first = Batch.objects.all()
        self.assertEqual(newest.same_as, first)
        self.assertIsNone(second.same_as)

    # --- The upload page ------------------------------------------------------------------------

    def test_the_page_offers_projects_that_answer_and_remembers_the_last(self) -> None:
        self.client.force_login(self.alice)
        page = self.client.get("/")
        self.assertEqual({one.pk for one in page.context["projects"]}, {DEFAULT_PROJECT, "closed", "open"})
        self.assertEqual(page.context["project"].pk, DEFAULT_PROJECT)
        self.client.post("/", {"file": image_file(), "project": "open"})
        for address in ("/", "/batches/"):
            page = self.client.get(address)
            self.assertEqual(page.context["project"].pk, "open")
            self.assertContains(page, '<option value="open" selected>&lt;i&gt;open&lt;/i&gt;</option>')
        self.client.force_login(self.bob)
        self.assertNotContains(self.client.get("/"), 'value="closed"')

    def test_where_there_is_one_project_there_is_nothing_to_choose(self) -> None:
        ModelVersion.objects.exclude(project=DEFAULT_PROJECT).update(is_champion=False)
        self.client.force_login(self.bob)
        page = self.client.get("/")
        self.assertNotContains(page, "<select")
        self.assertContains(page, '<input type="hidden" name="project" value="cifar10">')

    def test_a_project_that_was_remembered_and_is_closed_now_is_not_offered(self) -> None:
        self.client.force_login(self.alice)
        self.client.post("/", {"file": image_file(), "project": "closed"})
        self.closed.members.clear()
        self.assertEqual(self.client.get("/").context["project"].pk, DEFAULT_PROJECT)

    def test_who_loses_access_keeps_their_photos(self) -> None:
        photo = upload_photo(self.alice, image_file(), project="closed")  # type: ignore[arg-type]
        answer(photo, "🦊 fox", 0.8)
        self.closed.members.clear()
        for door, response in self.doors("closed", "alice").items():
            with self.subTest(door):
                self.assertEqual(response.status_code, 404)
        self.assertContains(self.client.get(photo.get_absolute_url()), "🦊 fox")
        self.assertContains(self.client.get("/history/?project=closed"), str(photo.pk))
        self.assertEqual(self.call("get", f"photos/{photo.pk}").json()["project"], "closed")
        listed = self.call("get", "photos?project=closed").json()["photos"]
        self.assertEqual([one["id"] for one in listed], [str(photo.pk)])
        for response in self.looks("closed", "bob").values():
            self.assertEqual(response.status_code, 404)

    def test_an_upload_in_pieces_ends_where_the_project_is_closed_meanwhile(self) -> None:
        self.client.force_login(self.alice)
        content = zipped(photos(1)).getvalue()
        begun = self.client.post(
            "/batches/uploads/",
            {"filename": "a.zip", "size": len(content), "fingerprint": "f", "project": "closed"},
        ).json()
        address = f"/batches/uploads/{begun['id']}/"
        self.client.patch(
            address, content, content_type="application/octet-stream", headers={"Upload-Offset": "0"}
        )
        self.closed.members.clear()
        self.assertEqual(self.client.post(f"{address}finish/").status_code, 404)
        self.closed.members.add(self.alice)
        self.assertEqual(self.client.post(f"{address}finish/").status_code, 201)
        self.assertEqual(Batch.objects.get().project_id, "closed")

    # --- Filters and commands -------------------------------------------------------------------

    def test_labels_to_filter_by_are_those_of_ones_projects(self) -> None:
        self.assertIn("🦊 fox", projects.labels_known(["closed"]))
        self.assert_problem(self.call("get", "photos?label=🦊 fox", token="bob"), 422, "invalid")
        self.assertEqual(self.call("get", "photos?label=🦊 fox").status_code, 200)
        self.assert_problem(self.call("get", "photos?project=open&label=cat"), 422, "invalid")

    def test_a_correction_is_a_class_of_the_photos_project(self) -> None:
        photo = upload_photo(self.alice, image_file(), project="closed")  # type: ignore[arg-type]
        answer(photo, "🦊 fox", 0.8)
        problem = self.post_json(f"photos/{photo.pk}/correction", {"label": "cat"})
        self.assertIn("🦊 fox", self.assert_problem(problem, 422, "invalid")["detail"])
        for label in ("<b>bold", "unknown", "not_sure"):
            said = self.post_json(f"photos/{photo.pk}/correction", {"label": label}).json()
            self.assertEqual(said["correction"], label)

    def test_the_command_says_which_projects_there_are(self) -> None:
        for slug, words in (("empty", "has no model yet"), ("nowhere", "There is no project 'nowhere'")):
            with self.subTest(slug), self.assertRaisesMessage(CommandError, words):
                call_command("classify", "a.jpg", "--project", slug, stdout=io.StringIO())
        with self.assertRaisesMessage(CommandError, "not both"):
            call_command("classify", "a.jpg", "--project", "open", "--model", "drawn-open")

    def test_the_quota_counts_the_photos_of_all_projects(self) -> None:
        upload_photo(self.alice, io.BytesIO(image_bytes()), project="open")
        with self.settings(QUOTA_PHOTOS=1):
            refused = self.call("post", "photos?project=closed", {"file": image_file()})
        self.assert_problem(refused, 413, "quota")

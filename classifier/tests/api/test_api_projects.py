"""Projects by the API: who may, what comes of it, what is refused."""

from __future__ import annotations

import io
import json
from typing import Any

from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cifarsite.test import ApiTestCase
from classifier.models import AuditEntry
from classifier.tests.uploads.archives import zipped
from classifier.uploads import import_worker
from training.models import ModelVersion, Project, ProjectImport
from training.projects import lifecycle
from training.projects.lifecycle import create
from training.tests.projects.drawings import add_images, drawn_file, many_images


def archive(files: dict[str, bytes] | None = None) -> SimpleUploadedFile:
    files = files or {
        f"{c}/{n}.png": drawn_file(10 * k + n) for k, c in enumerate(("apple", "pear")) for n in range(3)
    }
    return SimpleUploadedFile("fruit.zip", zipped(files).read(), "application/zip")


class ProjectsTest(ApiTestCase):
    def make(self, body: dict[str, Any], **more: Any) -> Any:
        return self.post_json("projects", body, token=more.pop("token", "charlie"), **more)

    def test_cifar10_is_one(self) -> None:
        body = self.call("get", "projects/cifar10").json()
        self.assertEqual((body["slug"], body["name"], len(body["classes"])), ("cifar10", "CIFAR-10", 10))
        self.assertEqual(body["classes"][:2], ["airplane", "automobile"])
        self.assertEqual(self.call("get", "projects").json()["projects"][0], body)

    def test_staff_make_one(self) -> None:
        response = self.make({"name": "Fruit", "classes": ["pear", "apple"]})
        self.assertEqual(response.status_code, 201, response.content)
        self.assertEqual(
            response.json(),
            {
                "slug": "fruit",
                "name": "Fruit",
                "classes": ["pear", "apple"],
                "images": {"pear": 0, "apple": 0},
                "champion": None,
            },
        )
        self.assertEqual(response.headers["Location"], "/api/v1/projects/fruit")
        self.assertEqual(Project.objects.get(pk="fruit").created_by, self.charlie)
        self.assertTrue(AuditEntry.objects.filter(kind="project_created", detail="fruit").exists())

    def test_others_do_not(self) -> None:
        self.assert_problem(self.make({"name": "Fruit"}, token="alice"), 403, "scope")
        self.charlie.groups.add(Group.objects.get(name="reviewers"))
        self.assert_problem(self.make({"name": "Fruit"}), 403, "staff_only")
        self.charlie.groups.add(Group.objects.get(name="trainers"))
        self.assertEqual(self.make({"name": "Fruit"}).status_code, 201)

    def test_what_is_wrong_is_said(self) -> None:
        for body, status, code in (
            ({"name": "CIFAR", "slug": "cifar10"}, 409, "slug_taken"),
            ({"name": "x", "slug": "A B"}, 422, "slug"),
            ({"name": "猫"}, 422, "slug"),
            ({"name": "x", "classes": ["a", "A"]}, 422, "class_taken"),
            ({"name": "x", "classes": ["../x"]}, 422, "class_name"),
            ({"name": "x", "classes": ["x" * 300]}, 422, "class_name"),
            ({"name": "x", "classes": ["unknown"]}, 422, "class_name"),
            ({"name": "x", "classes": ["a\0b"]}, 422, "class_name"),
            ({"name": ""}, 422, "invalid"),
            ({}, 422, "invalid"),
            ({"name": "x", "colour": "red"}, 422, "invalid"),
            ({"name": "x", "classes": [str(n) for n in range(1_001)]}, 422, "invalid"),
        ):
            with self.subTest(body=str(body)[:60]):
                self.assert_problem(self.make(body), status, code)
        self.assertEqual(Project.objects.count(), 1)

    def test_the_same_key_makes_one(self) -> None:
        headers = {"Idempotency-Key": "k1"}
        first = self.make({"name": "Fruit"}, headers=headers)
        again = self.make({"name": "Fruit"}, headers=headers)
        self.assertEqual((first.status_code, again.status_code), (201, 201))
        self.assertEqual(again.headers["Idempotency-Replayed"], "true")
        self.assert_problem(self.make({"name": "Obst"}, headers=headers), 422, "idempotency_key_reused")

    def test_members_only_is_404_for_others(self) -> None:
        project = create("Fruit", is_open=False, members=[self.alice], class_names=["a"])
        row = ProjectImport.objects.create(project=project, filename="a.zip")
        self.assertEqual(self.call("get", "projects/fruit").status_code, 200)
        self.assertEqual(self.call("get", "projects/fruit", token="charlie").status_code, 200)
        self.assert_problem(self.call("get", "projects/fruit", token="bob"), 404, "not_found")
        listed = self.call("get", "projects", token="bob").json()["projects"]
        self.assertEqual([one["slug"] for one in listed], ["cifar10"])
        self.assert_problem(self.call("get", f"projects/fruit/imports/{row.pk}", token="alice"), 403, "scope")
        lifecycle.change(project, members="")
        self.assert_problem(self.call("get", "projects/fruit"), 404, "not_found")
        self.assert_problem(self.call("get", "projects/nothing", token="charlie"), 404, "not_found")

    def test_it_shows_the_champion(self) -> None:
        project = create("Fruit", class_names=["a", "b"])
        model = ModelVersion.objects.create(
            project=project, classes=["a", "b"], name="m", recipe="transfer", sha256="0" * 64, size=1,
            preprocessing="centre224-v1", card={}, is_champion=True,
        )  # fmt: skip
        self.assertEqual(self.call("get", "projects/fruit").json()["champion"], {"id": model.pk, "name": "m"})

    def test_pages_go_through_all_in_a_fixed_number_of_queries(self) -> None:
        found = []
        for number in range(60):
            create(f"Project {number}", class_names=["a", "b"])
        with CaptureQueriesContext(
            connection,
        ) as queries:
            page = self.call("get", "projects").json()
        found += [one["slug"] for one in page["projects"]]
        self.assertEqual(len(found), 50)
        counted = len(queries)
        page = self.call("get", f"projects?cursor={page['next_cursor']}").json()
        found += [one["slug"] for one in page["projects"]]
        self.assertEqual((len(set(found)), page["next_cursor"]), (61, None))
        with CaptureQueriesContext(connection) as queries:
            self.call("get", "projects/cifar10")
        self.assertLessEqual(abs(counted - len(queries)), 1)
        self.assert_problem(self.call("get", "projects?cursor=nothing"), 400, "bad_cursor")


class ImportsTest(ApiTestCase):
    project: Project

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.project = create("Fruit")

    def send(self, files: dict[str, Any] | None = None, **more: Any) -> Any:
        sent = {"archive": archive()} if files is None else files
        return self.call("post", "projects/fruit/images", sent, token=more.pop("token", "charlie"), **more)

    def test_from_a_zip_to_images(self) -> None:
        response = self.send()
        self.assertEqual(response.status_code, 202, response.content)
        body = response.json()
        self.assertEqual((body["state"], body["total"], body["errors"]), ("queued", 6, []))
        self.assertGreater(int(response.headers["Retry-After"]), 0)
        where = f"projects/fruit/imports/{body['id']}"
        self.assertEqual(response.headers["Location"], f"/api/v1/{where}")
        import_worker.import_slice("test")
        body = self.call("get", where, token="charlie").json()
        self.assertEqual(
            (body["state"], body["added"], body["duplicates"], body["failed"]), ("done", 6, 0, 0)
        )
        self.assertEqual(body["images"], {"apple": 3, "pear": 3})
        self.assertEqual(self.call("get", "projects/fruit").json()["classes"], ["apple", "pear"])

    def test_a_table_of_labels_instead_of_folders(self) -> None:
        files = {"archive": archive({"1.png": drawn_file(1), "2.png": drawn_file(2)})}
        files["labels"] = SimpleUploadedFile("l.csv", b"filename,label\n1.png,apple\n2.png,pear\n")
        self.assertEqual(self.send(files).status_code, 202)
        import_worker.import_slice("test")
        self.assertEqual(self.call("get", "projects/fruit").json()["images"], {"apple": 1, "pear": 1})

    def test_between_two_pieces_of_work_it_is_running(self) -> None:
        pk = self.send().json()["id"]
        ProjectImport.objects.filter(pk=pk).update(cursor=2)
        self.assertEqual(
            self.call("get", f"projects/fruit/imports/{pk}", token="charlie").json()["state"], "running"
        )

    def test_errors_say_what_to_do(self) -> None:
        for files, status, code in (
            ({"archive": archive({"1.png": b"x"})}, 400, "no_folders"),
            ({"archive": SimpleUploadedFile("a.zip", b"hello")}, 400, "not_an_archive"),
            ({"archive": archive({f"{n}/1.png": b"x" for n in range(1_001)})}, 400, "too_many_classes"),
            ({"archive": archive({f"{'x' * 300}/1.png": b"x"})}, 400, "class_name"),
            (
                {"archive": archive(), "labels": SimpleUploadedFile("l.csv", b"filename,label\nx.png,a\n")},
                400,
                "no_match",
            ),
            ({"archive": archive(), "labels": SimpleUploadedFile("l.csv", b"\n")}, 400, "truth_invalid"),
            ({}, 422, "invalid"),
            ({"archive": "text"}, 422, "invalid"),
        ):
            with self.subTest(code=code):
                self.assert_problem(self.send(files), status, code)
        self.assertFalse(ProjectImport.objects.exists())
        refused = self.call("post", "projects/cifar10/images", {"archive": archive()}, token="charlie")
        self.assert_problem(refused, 409, "fixed")

    def test_only_staff_may(self) -> None:
        self.assert_problem(self.send(token="alice"), 403, "scope")
        missing = self.call("post", "projects/nothing/images", {"archive": archive()}, token="charlie")
        self.assert_problem(missing, 404, "not_found")
        self.assertFalse(ProjectImport.objects.exists())

    def test_the_same_key_imports_once(self) -> None:
        content = archive().read()
        sent = lambda: {"archive": SimpleUploadedFile("a.zip", content)}  # noqa: E731
        first = self.send(sent(), headers={"Idempotency-Key": "k"}).json()
        again = self.send(sent(), headers={"Idempotency-Key": "k"})
        self.assertEqual(again.json()["id"], first["id"])
        self.assertEqual(ProjectImport.objects.count(), 1)

    def test_it_can_be_cancelled(self) -> None:
        pk = self.send().json()["id"]
        response = self.call("post", f"projects/fruit/imports/{pk}/cancel", token="charlie")
        self.assertEqual((response.status_code, response.json()["state"]), (202, "cancelled"))
        pk = self.send().json()["id"]
        import_worker.import_slice("test")
        late = self.call("post", f"projects/fruit/imports/{pk}/cancel", token="charlie")
        self.assert_problem(late, 409, "wrong_state")

    def test_imports_of_other_projects_are_404(self) -> None:
        create("Other")
        pk = self.send().json()["id"]
        self.assert_problem(
            self.call("get", f"projects/other/imports/{pk}", token="charlie"), 404, "not_found"
        )

    def test_queries_do_not_grow_with_the_images(self) -> None:
        found = []
        pk = self.send().json()["id"]
        import_worker.import_slice("test")
        for size in (0, 2_000):
            if size:
                many_images(self.project, list(self.project.classes.all()), size)
            with CaptureQueriesContext(connection) as queries:
                self.call("get", f"projects/fruit/imports/{pk}", token="charlie")
                self.call("get", "projects/fruit", token="charlie")
            found.append(len(queries))
        self.assertEqual(found[0], found[1])

    def test_names_come_back_as_they_are(self) -> None:
        label = self.project.classes.model(project=self.project, position=0, name="<b>🐈")
        label.save()
        add_images(self.project, label, range(1))
        body = json.load(io.BytesIO(self.call("get", "projects/fruit").content))
        self.assertEqual(body["images"], {"<b>🐈": 1})

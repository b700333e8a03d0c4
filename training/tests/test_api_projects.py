"""The API's models, jobs, recipes and datasets of projects; what is members' only is there for members."""

from typing import Any
from unittest import mock

from django.contrib.auth.models import Group
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from cifarsite.test import ApiTestCase
from training.data import project_versions
from training.engine.recipes import RECIPES
from training.models import ModelVersion, Project, Promotion, TrainingJob
from training.registry import exports
from training.tests.data.test_project_versions import make_project
from training.tests.test_api_training import make_model, make_report


class ProjectsApiTestCase(ApiTestCase):
    trees: Project
    secret: Project

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.trees = make_project("trees", oak=6, birch=5)
        cls.secret = make_project("secret", a=5, b=5)
        Project.objects.filter(pk="secret").update(is_open=False)
        cls.secret.members.add(cls.bob)

    def request(self, **body: Any) -> Any:
        return self.post_json("training-jobs", {"recipe": "transfer", **body}, token="charlie")

    def of_project(self, name: str, project: str, **fields: Any) -> ModelVersion:
        return make_model(name, project_id=project, classes=["oak", "birch"], recipe="transfer", **fields)


class JobTests(ProjectsApiTestCase):
    def test_it_queues_a_run_of_a_project(self) -> None:
        body = self.request(project="trees", hyperparameters={"seed": 3})
        self.assertEqual(body.status_code, 202, body.content)
        answer = body.json()
        self.assertEqual(
            (answer["project"], answer["recipe"], answer["dataset"]), ("trees", "transfer", None)
        )
        self.assertEqual(answer["parameters"], {"epochs": 0, "seed": 3})
        self.assertEqual(TrainingJob.objects.get().project, self.trees)

    def test_without_a_project_it_is_cifar10s(self) -> None:
        self.assertEqual(self.request(recipe="fast_cnn").json()["project"], "cifar10")

    def test_it_refuses_recipes_for_other_classes_and_says_so(self) -> None:
        problem = self.assert_problem(self.request(project="trees", recipe="fast_cnn"), 422, "parameter")
        self.assertIn("trains on CIFAR-10 alone", problem["detail"])
        self.assertIn("transfer", problem["detail"])
        problem = self.assert_problem(self.request(), 422, "parameter")
        self.assertIn("the project 'cifar10' has none", problem["detail"])
        self.assertFalse(TrainingJob.objects.exists())

    def test_it_says_what_a_project_lacks_before_there_is_a_job(self) -> None:
        make_project("few", oak=4, birch=9)
        problem = self.assert_problem(self.request(project="few"), 422, "dataset")
        self.assertIn("oak (4)", problem["detail"])
        make_project("one", oak=9)
        problem = self.assert_problem(self.request(project="one"), 422, "dataset")
        self.assertIn("at least 2 classes", problem["detail"])
        self.assertFalse(TrainingJob.objects.exists())

    def test_it_does_not_know_other_projects(self) -> None:
        for slug in ("nothing", "Trees", "../x", "trees\0"):
            self.assert_problem(self.request(project=slug), 404, "not_found")

    def test_it_trains_on_a_version_of_this_project_alone(self) -> None:
        mine, other = (project_versions.freeze(slug) for slug in ("trees", "secret"))
        self.assert_problem(self.request(project="trees", dataset=other.pk), 422, "dataset")
        body = self.request(project="trees", dataset=mine.pk).json()
        self.assertEqual((body["dataset"]["id"], body["dataset"]["project"]), (mine.pk, "trees"))

    def test_parameters_are_checked_and_given_once(self) -> None:
        for more in ({"magic": 1}, {"epochs": 101}, {"seed": 0.5}):
            self.assert_problem(self.request(project="trees", hyperparameters=more), 422, "parameter")
        twice = self.request(project="trees", seed=1, hyperparameters={"seed": 2})
        self.assertIn("given twice", self.assert_problem(twice, 422, "parameter")["detail"])
        wrong: Any
        for wrong in ([], {"seed": "1"}, {"seed": None}, {"seed": True}, {"x" * 51: 1}):
            self.assert_problem(self.request(project="trees", hyperparameters=wrong), 422, "invalid")

    def test_it_lists_jobs_of_all_projects_or_of_one_by_state(self) -> None:
        for body in (
            {"project": "trees"},
            {"project": "secret"},
            {"recipe": "fast_cnn"},
            {"project": "trees"},
        ):
            self.assertEqual(self.request(**body).status_code, 202)
        TrainingJob.objects.filter(project="secret").update(state="running", step=3, steps=9)

        def listed(query: str) -> list[tuple[str, str, int | None]]:
            page = self.call("get", f"training-jobs?{query}", token="charlie").json()
            rows = page["training_jobs"]
            return [(row["project"], row["state"], row["queue_position"]) for row in rows]

        trees = [("trees", "queued", 3), ("trees", "queued", 1)]
        self.assertEqual(listed("project=trees"), trees)
        self.assertEqual(
            listed(""), [trees[0], ("cifar10", "queued", 2), ("secret", "running", None), trees[1]]
        )
        self.assertEqual(listed("state=running"), [("secret", "running", None)])
        self.assertEqual(listed("state=failed&project=trees"), [])
        for query, status, code in (("state=lost", 422, "invalid"), ("project=no", 404, "not_found")):
            self.assert_problem(self.call("get", f"training-jobs?{query}", token="charlie"), status, code)
        running = TrainingJob.objects.get(state="running")
        answer = self.call("get", f"training-jobs/{running.pk}", token="charlie").json()
        self.assertEqual(answer["progress"], {"phase": "data", "done": 3, "total": 9, "seconds_left": None})

    def test_the_list_has_keyset_pages_and_costs_as_few_queries_for_many(self) -> None:
        TrainingJob.objects.bulk_create(
            TrainingJob(project=self.trees, recipe="transfer", parameters={}) for _ in range(60)
        )
        self.call("get", "training-jobs?project=trees", token="charlie")
        with self.assertNumQueries(5):
            first = self.call("get", "training-jobs?project=trees", token="charlie").json()
        self.assertEqual(len(first["training_jobs"]), 50)
        cursor = first["next_cursor"]
        second = self.call("get", f"training-jobs?project=trees&cursor={cursor}", token="charlie").json()
        self.assertEqual((len(second["training_jobs"]), second["next_cursor"]), (10, None))

    def test_lists_for_staff_are_kept_from_others(self) -> None:
        for path in ("training-jobs", "datasets"):
            self.assert_problem(self.call("get", path), 403, "scope")


class ListTests(ProjectsApiTestCase):
    def test_it_lists_recipes_with_their_parameters(self) -> None:
        found = self.call("get", "recipes").json()["recipes"]
        self.assertEqual({row["name"] for row in found}, set(RECIPES))
        transfer = next(row for row in found if row["name"] == "transfer")
        self.assertTrue(transfer["own_classes"])
        self.assertEqual(transfer["parameters"][0]["name"], "epochs")
        self.assertFalse(next(row for row in found if row["name"] == "fast_cnn")["own_classes"])

    def test_it_lists_datasets_by_project(self) -> None:
        version = project_versions.freeze("trees")
        project_versions.freeze("secret")
        page = self.call("get", "datasets?project=trees", token="charlie").json()
        self.assertEqual([row["id"] for row in page["datasets"]], [version.pk])
        self.assertEqual(page["datasets"][0]["sha256"], version.sha256)
        self.assertEqual(len(self.call("get", "datasets", token="charlie").json()["datasets"]), 2)
        self.assert_problem(self.call("get", "datasets?project=no", token="charlie"), 404, "not_found")

    def test_models_and_champions_are_a_projects(self) -> None:
        make_model("cifar", is_champion=True)
        self.of_project("oak", "trees", is_champion=True)
        self.of_project("birch", "trees")
        names = [row["name"] for row in self.call("get", "models?project=trees").json()["models"]]
        self.assertEqual(names, ["birch", "oak"])
        self.assertEqual([row["name"] for row in self.call("get", "models").json()["models"]], ["cifar"])
        champion = self.call("get", "models/champion?project=trees").json()
        self.assertEqual(
            (champion["name"], champion["project"], champion["classes"]), ("oak", "trees", ["oak", "birch"])
        )
        self.assertEqual(self.call("get", "models/champion").json()["name"], "cifar")
        problem = self.assert_problem(
            self.call("get", "models/champion?project=secret", token="bob"), 404, "not_found"
        )
        self.assertIn("has no champion yet", problem["detail"])

    def test_a_members_only_project_is_not_there_for_others(self) -> None:
        version = self.of_project("hidden", "secret", is_champion=True)
        make_report(version)
        paths = ("models?project=secret", "models/champion?project=secret", f"models/{version.pk}/report")
        for path in paths:
            self.assert_problem(self.call("get", path, token="alice"), 404, "not_found")
            self.assertEqual(self.call("get", path, token="bob").status_code, 200, path)
            self.assertEqual(self.call("get", path, token="charlie").status_code, 200, path)
        self.assertNotIn("hidden", self.call("get", "models", token="alice").content.decode())

    def test_a_roll_back_is_of_the_project_that_is_named(self) -> None:
        body = {"reason": "Back.", "project": "nothing"}
        self.assert_problem(self.post_json("models/rollback", body, token="charlie"), 404, "not_found")
        body["project"] = "trees"
        self.assert_problem(self.post_json("models/rollback", body, token="charlie"), 409, "refused")


class RoleTests(ProjectsApiTestCase):
    def test_staff_of_another_group_see_and_do_not_train(self) -> None:
        version = self.of_project("oak", "trees")
        self.charlie.groups.set(Group.objects.filter(name="reviewers"))
        requests: tuple[tuple[str, dict[str, Any]], ...] = (
            ("training-jobs", {"project": "trees", "recipe": "transfer"}),
            (f"models/{version.pk}/promote", {"reason": "Better."}),
            ("models/rollback", {"reason": "Back."}),
        )
        for path, body in requests:
            self.assert_problem(self.post_json(path, body, token="charlie"), 403, "staff_only")
        self.assertEqual(self.call("get", "training-jobs", token="charlie").status_code, 200)
        self.client.force_login(self.charlie)
        pages = ("/training/", "/training/schedule/", f"/models/{version.pk}/promote/", "/models/rollback/")
        for page in pages:
            self.assertEqual(self.client.post(page, {"reason": "Better."}).status_code, 403, page)
        self.assertEqual(self.client.get("/training/").status_code, 200)
        self.charlie.groups.set(Group.objects.filter(name="trainers"))
        self.assertEqual(self.post_json(*requests[0], token="charlie").status_code, 202)
        self.assertFalse(Promotion.objects.exists())


class FileTests(ProjectsApiTestCase):
    def setUp(self) -> None:
        self.version = self.of_project("oak", "trees")

    def test_it_sends_the_zip_that_was_made(self) -> None:
        for format in exports.FORMATS:
            name = exports.stored_name(self.version, format)
            default_storage.save(name, ContentFile(b"PK " + format.encode()))
            self.addCleanup(default_storage.delete, name)
            answer = self.call("get", f"models/{self.version.pk}/file?format={format}", token="charlie")
            self.assertEqual(b"".join(answer.streaming_content), b"PK " + format.encode())
            self.assertEqual(answer["Content-Type"], "application/zip")
            self.assertIn(f"oak-{format}.zip", answer["Content-Disposition"])

    def test_it_is_for_staff_and_says_what_is_wrong(self) -> None:
        path = f"models/{self.version.pk}/file"
        self.assert_problem(self.call("get", path), 403, "staff_only")
        self.assert_problem(self.call("get", f"{path}?format=onnx", token="charlie"), 422, "invalid")
        self.assert_problem(self.call("get", "models/999/file", token="charlie"), 404, "not_found")
        # Its file is not there.
        problem = self.assert_problem(self.call("get", path, token="charlie"), 409, "refused")
        self.assertIn("restore it from the backup", problem["detail"])

    def test_a_host_without_tensorflow_has_a_worker_make_it(self) -> None:
        sent: list[Any] = []

        def make(*words: Any) -> bool:
            sent.append(words)
            default_storage.save(exports.stored_name(self.version, "tflite"), ContentFile(b"made"))
            return True

        self.addCleanup(default_storage.delete, exports.stored_name(self.version, "tflite"))
        with (
            mock.patch("importlib.util.find_spec", return_value=None),
            mock.patch.object(exports, "publish", make),
        ):
            answer = self.call("get", f"models/{self.version.pk}/file?format=tflite", token="charlie")
        self.assertEqual(b"".join(answer.streaming_content), b"made")
        self.assertEqual(sent, [(exports.TASK, self.version.pk, "tflite")])

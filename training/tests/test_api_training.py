"""The API's models and training jobs."""

import shutil
from typing import Any
from unittest import mock

from django.test import override_settings

from cifarsite.test import ApiTestCase
from training.jobs import lifecycle, run_folders
from training.models import DatasetVersion, EvaluationReport, ModelVersion, Promotion, TrainingJob
from training.registry.model_store import TEST_SET


def make_model(name: str, **fields: Any) -> ModelVersion:
    number = ModelVersion.objects.count()
    defaults = {"recipe": "fast_cnn", "sha256": f"{number:064}", "size": 1, "preprocessing": "squash32-v1"}
    return ModelVersion.objects.create(name=name, card={}, **{**defaults, **fields})


def make_report(model: ModelVersion) -> EvaluationReport:
    figures = {"ece": 0.01, "classes": [], "truth": "0123456789", "predicted": "0123456789"}
    return EvaluationReport.objects.create(
        model=model, dataset=TEST_SET, dataset_sha256="x", n=10, accuracy=1.0, figures=figures
    )


class ModelTests(ApiTestCase):
    def test_it_lists_models_newest_first_in_pages(self) -> None:
        for number in range(51):
            make_model(f"m{number}")
        first = self.call("get", "models").json()
        self.assertEqual(len(first["models"]), 50)
        self.assertEqual(first["models"][0]["name"], "m50")
        second = self.call("get", f"models?cursor={first['next_cursor']}").json()
        self.assertEqual([model["name"] for model in second["models"]], ["m0"])
        self.assertIsNone(second["next_cursor"])
        for cursor in ("x", "-1", "1.5", "²"):
            self.assert_problem(self.call("get", f"models?cursor={cursor}"), 400, "bad_cursor")
        self.assertEqual(self.call("get", f"models?cursor={10**30}").status_code, 200)

    def test_it_needs_the_same_few_queries_for_any_number(self) -> None:
        for number in range(10):
            make_model(f"m{number}")
        self.call("get", "models")
        # The token and its owner, the rates, the project, the page.
        with self.assertNumQueries(4):
            self.call("get", "models")

    def test_it_names_the_champion(self) -> None:
        self.assert_problem(self.call("get", "models/champion"), 404, "not_found")
        make_model("old")
        make_model("live", is_champion=True)
        body = self.call("get", "models/champion").json()
        self.assertEqual((body["name"], body["is_champion"]), ("live", True))

    def test_it_sends_a_report_with_a_tag(self) -> None:
        model = make_model("m")
        self.assert_problem(self.call("get", f"models/{model.pk}/report"), 404, "not_found")
        make_report(model)
        response = self.call("get", f"models/{model.pk}/report")
        self.assertEqual((response.status_code, response.json()["accuracy"]), (200, 1.0))
        self.assertNotIn("truth", response.json()["figures"])
        self.assertIn("GMT", response.headers["Last-Modified"])
        headers = {"If-None-Match": response.headers["ETag"]}
        again = self.call("get", f"models/{model.pk}/report", headers=headers)
        self.assertEqual((again.status_code, again.content), (304, b""))


class PromotionTests(ApiTestCase):
    def test_it_says_why_the_gate_refuses(self) -> None:
        model = make_model("m")
        response = self.post_json(f"models/{model.pk}/promote", {"reason": "Better."}, token="charlie")
        body = self.assert_problem(response, 409, "refused")
        self.assertIn("not measured on the held-out images", body["detail"])
        response = self.post_json("models/rollback", {"reason": "Worse."}, token="charlie")
        self.assert_problem(response, 409, "refused")
        self.assertFalse(Promotion.objects.exists())

    def test_it_refuses_bodies_that_make_no_sense(self) -> None:
        model = make_model("m")
        for body in ({}, {"reason": ""}, {"reason": "  "}, {"reason": 3}, {"reason": "x", "override": True}):
            for path in (f"models/{model.pk}/promote", "models/rollback"):
                self.assert_problem(self.post_json(path, body, token="charlie"), 422, "invalid")

    def test_it_does_not_know_other_models(self) -> None:
        response = self.post_json("models/999/promote", {"reason": "x"}, token="charlie")
        self.assert_problem(response, 404, "not_found")

    def test_it_keeps_both_from_people_who_are_not_staff(self) -> None:
        model = make_model("m")
        for path in (f"models/{model.pk}/promote", "models/rollback"):
            self.assert_problem(self.post_json(path, {"reason": "x"}), 403, "scope")
        self.assertFalse(Promotion.objects.exists())


class TrainingJobTests(ApiTestCase):
    def request(self, **body: Any) -> Any:
        return self.post_json("training-jobs", {"recipe": "fast_cnn", **body}, token="charlie")

    def test_it_queues_a_run(self) -> None:
        response = self.request(epochs=2, seed=7)
        self.assertEqual(response.status_code, 202, response.content)
        body = response.json()
        self.assertEqual((body["state"], body["queue_position"], body["model"]), ("queued", 1, None))
        self.assertEqual((body["parameters"]["epochs"], body["parameters"]["seed"]), (2, 7))
        self.assertEqual(response.headers["Location"], f"/api/v1/training-jobs/{body['id']}")
        job = TrainingJob.objects.get()
        self.assertEqual(job.requested_by, self.charlie)
        again = self.call("get", f"training-jobs/{job.pk}", token="charlie").json()
        self.assertEqual(again["id"], job.pk)

    def test_it_refuses_unknown_recipes_and_wrong_parameters(self) -> None:
        self.assert_problem(self.request(recipe="magic"), 422, "parameter")
        self.assert_problem(self.request(epochs=0), 422, "parameter")
        for body in ({"epochs": -1}, {"epochs": "2"}, {"epochs": 2.5}, {"seed": -1}, {"color": "red"}):
            self.assert_problem(self.request(**body), 422, "invalid")
        self.assertFalse(TrainingJob.objects.exists())

    def test_it_trains_on_a_dataset_version(self) -> None:
        dataset = DatasetVersion.objects.create(name="CIFAR-10 and more", sha256="d" * 64, manifest={})
        body = self.request(dataset=dataset.pk).json()
        self.assertEqual((body["dataset"]["id"], body["dataset"]["name"]), (dataset.pk, "CIFAR-10 and more"))
        self.assertEqual(TrainingJob.objects.get().dataset, dataset)
        problem = self.assert_problem(self.request(dataset=999), 422, "dataset")
        self.assertIn("999", problem["detail"])

    @override_settings(WEBHOOK_SECRET="known to both")
    def test_it_takes_a_webhook_and_refuses_a_private_one(self) -> None:
        body = self.request(webhook="https://example.org/hook").json()
        self.assertEqual((body["webhook"]["url"], body["webhook"]["state"]),
                         ("https://example.org/hook", "waiting"))  # fmt: skip
        self.assert_problem(self.request(webhook="https://10.0.0.1/hook"), 422, "webhook")
        self.assertEqual(TrainingJob.objects.count(), 1)

    def test_it_makes_no_row_for_people_who_are_not_staff(self) -> None:
        self.assert_problem(self.post_json("training-jobs", {"recipe": "fast_cnn"}), 403, "scope")
        self.assertFalse(TrainingJob.objects.exists())

    def test_it_cancels_and_answers_409_to_what_the_state_does_not_allow(self) -> None:
        pk = self.request().json()["id"]
        self.assert_problem(
            self.call("post", f"training-jobs/{pk}/stop", token="charlie"), 409, "wrong_state"
        )
        response = self.call("post", f"training-jobs/{pk}/cancel", token="charlie")
        self.assertEqual((response.status_code, response.json()["state"]), (202, "cancelled"))
        response = self.call("post", f"training-jobs/{pk}/resume", token="charlie")
        self.assert_problem(response, 409, "wrong_state")

    def test_it_stops_and_resumes(self) -> None:
        pk = self.request(epochs=5).json()["id"]
        TrainingJob.objects.update(state="running")
        response = self.call("post", f"training-jobs/{pk}/stop", token="charlie")
        self.assertEqual(response.status_code, 202)
        self.assertTrue(TrainingJob.objects.get().stop_requested)
        TrainingJob.objects.update(state="stopped")
        figures = dict.fromkeys(
            ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds", "images_per_second"),
            0.5,
        )
        TrainingJob.objects.get().epochs.create(number=1, **figures)
        response = self.call("post", f"training-jobs/{pk}/resume", token="charlie")
        self.assertEqual((response.status_code, response.json()["state"]), (202, "queued"))
        self.assertEqual([epoch["number"] for epoch in response.json()["epochs"]], [1])

    def test_it_does_not_know_other_jobs(self) -> None:
        others = [("get", part) for part in ("", "/events", "/log")]
        for method, path in (*others, ("post", "/cancel"), ("post", "/stop"), ("post", "/resume")):
            response = self.call(method, f"training-jobs/999{path}", token="charlie")
            self.assert_problem(response, 404, "not_found")

    def test_it_tells_what_happened_newest_first_in_pages(self) -> None:
        pk = self.request().json()["id"]
        job = TrainingJob.objects.get()
        self.call("post", f"training-jobs/{pk}/cancel", token="charlie")
        path = f"training-jobs/{pk}/events"
        first, second = self.call("get", path, token="charlie").json()["events"]
        self.assertEqual((first["what"], second["what"]), ("cancelled", "requested"))
        self.assertEqual((first["by"], first["at"] >= second["at"]), ("charlie", True))
        for number in range(50):
            lifecycle.note(job, "crashed", f"Attempt {number}.")
        body = self.call("get", path, token="charlie").json()
        self.assertEqual((body["events"][0]["detail"], body["events"][0]["by"]), ("Attempt 49.", None))
        rest = self.call("get", f"{path}?cursor={body['next_cursor']}", token="charlie").json()
        self.assertEqual([event["what"] for event in rest["events"]], ["cancelled", "requested"])
        self.assertIsNone(rest["next_cursor"])
        self.assert_problem(self.call("get", f"{path}?cursor=x", token="charlie"), 400, "bad_cursor")
        # The token and its owner, the rates, the job, the page.
        with self.assertNumQueries(4):
            self.call("get", path, token="charlie")

    def test_events_and_log_are_for_staff_with_the_scope_train(self) -> None:
        pk = self.request().json()["id"]
        for part in ("events", "log"):
            self.assert_problem(self.call("get", f"training-jobs/{pk}/{part}"), 403, "scope")
            few = self.token(self.charlie, "predict", "read")
            self.assert_problem(self.call("get", f"training-jobs/{pk}/{part}", token=few), 403, "scope")
            old = self.token(self.charlie, "train")
            self.charlie.is_staff = False
            self.charlie.save()
            self.assert_problem(self.call("get", f"training-jobs/{pk}/{part}", token=old), 403, "staff_only")
            self.charlie.is_staff = True
            self.charlie.save()

    def test_it_sends_the_end_of_the_log(self) -> None:
        pk = self.request().json()["id"]
        job = TrainingJob.objects.get()
        path = f"training-jobs/{pk}/log"
        response = self.call("get", path, token="charlie")
        self.assertEqual((response.status_code, response.content), (200, b""))
        self.assertEqual(response.headers["Content-Type"], "text/plain; charset=utf-8")
        folder = lifecycle.run_folder(job)
        self.addCleanup(shutil.rmtree, folder)
        folder.mkdir(parents=True)
        said = [f"epoch {number} ü" for number in range(30)]
        (folder / "log.txt").write_text("\n".join(said) + "\n", encoding="utf-8")
        self.assertEqual(self.call("get", path, token="charlie").text.splitlines(), said[-20:])
        self.assertEqual(self.call("get", f"{path}?lines=25", token="charlie").text.splitlines(), said[-25:])
        with mock.patch.object(run_folders, "LOG_BYTES", 40):
            self.assertEqual(self.call("get", path, token="charlie").text.splitlines(), said[-3:])
        # The row lacks what a run says after its last write.
        TrainingJob.objects.update(live={"log": said[-21:-1]})
        for count in (1, 20, 25):
            found = self.call("get", f"{path}?lines={count}", token="charlie").text.splitlines()
            self.assertEqual(found, said[-count:])
        self.client.force_login(self.charlie)
        self.assertContains(self.client.get(f"/training/{pk}/"), "epoch 29 ü\n</pre>")
        # It went on on another machine: what this one has is old.
        TrainingJob.objects.update(live={"log": ["epoch 31"]})
        self.assertEqual(self.call("get", path, token="charlie").text, "epoch 31\n")
        for lines in ("0", "1001", "all"):
            self.assert_problem(self.call("get", f"{path}?lines={lines}", token="charlie"), 422, "invalid")

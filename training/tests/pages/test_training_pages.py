"""The pages of training and of models, as staff and as everybody sees them."""

import json
import re
from datetime import timedelta

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from cifarsite.test import SiteTestCase
from training import workers
from training.engine.recipes import RECIPES
from training.jobs import learning_curves, lifecycle, ownership
from training.models import Epoch, EvaluationReport, ModelVersion, Promotion, TrainingJob
from training.registry import model_store

State = TrainingJob.State
STAFF_PAGES = ("", "live/", "epochs.json", "history.json")


def add_epochs(job: TrainingJob, count: int) -> None:
    Epoch.objects.bulk_create(
        Epoch(
            job=job,
            number=number,
            loss=2.5 / number,
            accuracy=1 - 1 / number,
            val_loss=2.6 / number,
            val_accuracy=1 - 1.1 / number,
            learning_rate=0.001,
            seconds=12.5,
            images_per_second=400,
        )
        for number in range(1, count + 1)
    )


def make_version(name: str = "seed_cnn-1", **fields) -> ModelVersion:
    figures = {"n": 10_000, "accuracy": 0.789, "interval": [0.781, 0.797], "ece": 0.0123}
    card = {
        "recipe": "seed_cnn",
        "recipe_sha256": "ab" * 32,
        "parameters": {"epochs": 2, "seed": 0},
        "input_shape": [32, 32, 3],
        "data": {
            "name": "CIFAR-10",
            "sha256": "cd" * 32,
            "training_images": 40_000,
            "validation_images": 10_000,
            "split": "stratified, 20% held out, seed 0",
        },
        "history": {
            "loss": [2.0, 1.5],
            "accuracy": [0.2, 0.4],
            "val_loss": [2.1, 1.6],
            "val_accuracy": [0.19, 0.39],
            "learning_rate": [0.001, 0.001],
            "seconds": [12.0, 11.0],
            "images_per_second": [400.0, 410.0],
        },
        "best_epoch": 2,
        "seconds": 23.0,
        "validation": {**figures, "accuracy": 0.8},
        "test": figures,
        "weights": 9_176_018,
        "layers": [{"name": "conv2d", "kind": "Conv2D", "output": [32, 32, 32], "parameters": 896}],
        "flops": {"forward": 39_000_000, "training": 1},
        "versions": {"keras": "3.15.1"},
        "machine": {"system": "Linux", "processor": "x86_64", "cores": 2},
    }
    values = {"sha256": f"{abs(hash(name)):064x}", "size": 36_700_000, "test_accuracy": 0.789, **fields}
    return ModelVersion.objects.create(
        name=name, recipe="seed_cnn", preprocessing="squash32-v1", card=card, **values
    )


class TestWhoMaySeeTraining(SiteTestCase):
    def setUp(self) -> None:
        self.job = lifecycle.request_training(recipe="seed_cnn", parameters={}, by=self.charlie)
        self.pages = ["/training/", *(f"/training/{self.job.pk}/{part}" for part in STAFF_PAGES)]
        self.posts = [
            "/training/",
            "/training/schedule/",
            "/models/rollback/",
            *(f"/training/{self.job.pk}/{verb}/" for verb in ("cancel", "stop", "resume", "retry")),
        ]

    def test_strangers_are_sent_to_the_sign_in(self) -> None:
        for page in [*self.pages, "/models/"]:
            answer = self.client.get(page)
            self.assertRedirects(answer, f"/accounts/login/?next={page}", fetch_redirect_response=False)

    def test_people_who_are_not_staff_get_403_and_nothing_changes(self) -> None:
        self.client.force_login(self.alice)
        for page in self.pages:
            self.assertEqual(self.client.get(page).status_code, 403, page)
        for page in self.posts:
            self.assertEqual(self.client.post(page, {"recipe": "seed_cnn"}).status_code, 403, page)
        self.assertEqual(TrainingJob.objects.count(), 1)
        self.job.refresh_from_db()
        self.assertEqual(self.job.state, State.QUEUED)

    def test_a_change_is_a_post(self) -> None:
        self.client.force_login(self.charlie)
        for page in self.posts[1:]:
            self.assertEqual(self.client.get(page).status_code, 405, page)

    def test_what_is_not_there_is_404(self) -> None:
        self.client.force_login(self.charlie)
        for page in ("/training/999/", "/training/99999999999999999999/", "/models/999/"):
            self.assertEqual(self.client.get(page).status_code, 404, page)

    def test_a_post_without_the_token_is_refused(self) -> None:
        self.client.handler.enforce_csrf_checks = True
        self.client.force_login(self.charlie)
        self.assertEqual(self.client.post(f"/training/{self.job.pk}/cancel/").status_code, 403)


class TestRequest(SiteTestCase):
    def setUp(self) -> None:
        self.client.force_login(self.charlie)

    def form_values(self, page: str = "/training/?recipe=seed_cnn") -> dict[str, str]:
        html = self.client.get(page).content.decode()
        form = html[html.index('id="request"') : html.index('id="schedule-title"')]
        inputs = re.findall(r"<input[^>]*>", form)
        values = {}
        for tag in inputs:
            name, value = re.search(r'name="(\w+)"', tag), re.search(r'value="([^"]*)"', tag)
            if name and value and name[1] != "csrfmiddlewaretoken":
                values[name[1]] = value[1]
        return values

    def test_the_fields_come_from_the_recipe_with_help_range_and_default(self) -> None:
        page = self.client.get("/training/?recipe=seed_cnn")
        for parameter in RECIPES["seed_cnn"].parameters:
            self.assertContains(page, f'name="{parameter.name}"')
            self.assertContains(page, parameter.help)
        self.assertContains(page, "From 1 to 10000; 300 unless you change it.")
        self.assertNotContains(page, 'name="filter_rate"')

    def test_another_recipe_has_other_fields_without_javascript(self) -> None:
        self.assertContains(self.client.get("/training/?recipe=fast_cnn"), 'name="filter_rate"')

    def test_an_unknown_recipe_shows_the_default_one(self) -> None:
        self.assertEqual(self.client.get("/training/?recipe=../../etc").status_code, 200)

    def test_the_form_queues_a_job(self) -> None:
        answer = self.client.post("/training/", {**self.form_values(), "epochs": "3"})
        job = TrainingJob.objects.get()
        self.assertRedirects(answer, f"/training/{job.pk}/")
        self.assertEqual(job.parameters["epochs"], 3)
        self.assertEqual(job.requested_by, self.charlie)

    def test_the_same_form_sent_twice_queues_one_job(self) -> None:
        values = self.form_values()
        for _ in range(2):
            self.client.post("/training/", values)
        self.assertEqual(TrainingJob.objects.count(), 1)

    def test_a_wrong_value_is_said_beside_its_field_and_the_rest_is_kept(self) -> None:
        answer = self.client.post("/training/", {**self.form_values(), "epochs": "0", "batch_size": "123"})
        self.assertContains(answer, "greater than or equal to 1", status_code=400)
        self.assertContains(answer, 'value="123"', status_code=400)
        self.assertFalse(TrainingJob.objects.exists())

    def test_clone_fills_the_form_from_an_earlier_job(self) -> None:
        job = lifecycle.request_training(recipe="seed_cnn", parameters={"epochs": 17}, by=self.charlie)
        self.assertEqual(self.form_values(f"/training/?clone={job.pk}")["epochs"], "17")
        self.assertEqual(self.client.get("/training/?clone=abc").status_code, 200)

    def test_the_page_says_when_no_worker_lives(self) -> None:
        self.assertContains(self.client.get("/training/"), "No training worker has been seen.")
        workers.record_heartbeat("train@host", ["train"], timezone.now() - timedelta(minutes=10))
        self.assertNotContains(self.client.get("/training/"), "No training worker")

    def test_the_schedule_is_kept(self) -> None:
        values = {"enabled": "on", "every_days": "7", "after_corrections": "0", "recipe": "fast_cnn"}
        self.assertRedirects(self.client.post("/training/schedule/", values), "/training/")
        self.assertContains(self.client.get("/training/"), 'name="enabled" id="id_enabled" checked')

    def test_many_jobs_cost_as_many_queries_as_few(self) -> None:
        for count in (1, 30):
            for _ in range(count):
                job = lifecycle.request_training(recipe="seed_cnn", parameters={}, by=self.charlie)
                add_epochs(job, 2)
            with self.assertNumQueries(9):
                self.client.get("/training/")


class TestJobPage(SiteTestCase):
    def setUp(self) -> None:
        self.client.force_login(self.charlie)
        self.job = lifecycle.request_training(recipe="seed_cnn", parameters={"epochs": 40}, by=self.charlie)
        self.page = f"/training/{self.job.pk}/"

    def claim(self) -> TrainingJob:
        job = ownership.claim_next("train@host")
        assert job is not None
        return job

    def test_a_queued_job_says_its_place(self) -> None:
        second = lifecycle.request_training(recipe="seed_cnn", parameters={}, by=self.charlie)
        self.assertContains(self.client.get(f"/training/{second.pk}/"), "Number 2 in the queue.")

    def test_a_running_job_shows_progress_pace_and_what_it_takes(self) -> None:
        job = self.claim()
        add_epochs(job, 3)
        live = {
            "images_per_second": 412.0,
            "seconds_left": 3725,
            "cpu_percent": 180,
            "cores": 2,
            "memory_mb": 1234,
            "gpus": [{"name": "A card", "percent": 97, "memory_mb": 10_000, "total_mb": 80_000}],
            "log": ["epoch 3/40 <loss>"],
        }
        ownership.owner_writes(job, step=50, steps=134, live=live)
        page = self.client.get(self.page)
        for text in (
            "3 of 40 epochs",
            "Epoch 4, step 50 of 134",
            "412",
            "1:02:05",
            "180&nbsp;% of 200&nbsp;%",
        ):
            self.assertContains(page, text)
        self.assertContains(page, "1234 MiB")
        self.assertContains(page, "97&nbsp;%, 10000 / 80000 MiB")
        self.assertContains(page, "epoch 3/40 &lt;loss&gt;")
        self.assertContains(page, "train@host, attempt 1")

    def test_the_live_part_ends_with_286(self) -> None:
        self.assertEqual(self.client.get(f"{self.page}live/").status_code, 200)
        self.assertContains(self.client.get(self.page), 'hx-trigger="every 2s"')
        lifecycle.cancel(self.job)
        self.assertEqual(self.client.get(f"{self.page}live/").status_code, 286)
        self.assertNotContains(self.client.get(self.page), "hx-trigger")

    def test_a_silent_worker_is_said(self) -> None:
        job = self.claim()
        TrainingJob.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - timedelta(minutes=1))
        self.assertContains(self.client.get(self.page), "has been silent for a while")

    def test_each_state_offers_what_is_possible(self) -> None:
        def offered() -> set[str]:
            html = self.client.get(self.page).content.decode()
            return set(re.findall(r"/training/\d+/(cancel|stop|resume|retry)/", html))

        self.assertEqual(offered(), {"cancel"})
        job = self.claim()
        self.assertEqual(offered(), {"cancel", "stop"})
        add_epochs(job, 3)
        self.client.post(f"{self.page}stop/")
        self.assertEqual(offered(), {"cancel"})
        ownership.finish(job, State.STOPPED)
        self.assertEqual(offered(), {"resume", "retry"})
        self.client.post(f"{self.page}resume/")
        self.assertEqual(offered(), {"cancel"})

    def test_cancelling_asks_first_where_epochs_would_be_thrown_away(self) -> None:
        job = self.claim()
        add_epochs(job, 3)
        asked = self.client.post(f"{self.page}cancel/")
        self.assertContains(asked, "It has trained for 3 epochs.")
        job.refresh_from_db()
        self.assertFalse(job.cancel_requested)
        self.client.post(f"{self.page}cancel/", {"confirmed": "yes"})
        job.refresh_from_db()
        self.assertTrue(job.cancel_requested)

    def test_a_refused_change_is_a_sentence(self) -> None:
        answer = self.client.post(f"{self.page}stop/", follow=True)
        self.assertContains(answer, "only a running job can be stopped")

    def test_a_failure_is_shown_with_its_reason(self) -> None:
        ownership.fail(self.claim(), "diverged", "The loss became nan at step 7.", "Traceback: here")
        page = self.client.get(self.page)
        self.assertContains(page, "The loss became nan at step 7.")
        self.assertContains(page, "Traceback: here")

    def test_the_record_names_everybody(self) -> None:
        self.client.post(f"{self.page}cancel/")
        self.assertContains(self.client.get(self.page), "<strong>cancelled</strong> · charlie")

    def test_the_charts_get_at_most_500_points_with_both_ends(self) -> None:
        add_epochs(self.job, 1_000)
        data = self.client.get(f"{self.page}epochs.json").json()
        self.assertEqual(data["count"], 1_000)
        self.assertEqual(len(data["epoch"]), 500)
        self.assertEqual((data["epoch"][0], data["epoch"][-1]), (1, 1_000))
        self.assertEqual(len(set(data["epoch"])), 500)
        self.assertEqual({len(data[name]) for name in learning_curves.NUMBERS}, {500})

    def test_the_export_is_shaped_like_keras_history(self) -> None:
        add_epochs(self.job, 3)
        answer = self.client.get(f"{self.page}history.json")
        self.assertIn("attachment", answer["Content-Disposition"])
        self.assertEqual(
            list(answer.json()), ["loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]
        )
        self.assertEqual(answer.json()["loss"], [2.5, 1.25, 2.5 / 3])

    def test_the_live_part_costs_few_queries_however_long_the_run(self) -> None:
        add_epochs(self.job, 200)
        with self.assertNumQueries(7):
            self.client.get(f"{self.page}live/")


class TestModels(SiteTestCase):
    def setUp(self) -> None:
        self.version = make_version()
        self.page = f"/models/{self.version.pk}/"

    def test_the_list_says_how_long_a_photo_takes_and_on_what_that_was_measured(self) -> None:
        make_version("seed_cnn-2", is_champion=True)
        speed = {"seconds": 0.0052, "machine": {"processor": "x86_64", "cores": 2}}
        EvaluationReport.objects.create(
            model=self.version,
            dataset=model_store.TEST_SET,
            dataset_sha256="a" * 64,
            n=10_000,
            accuracy=0.789,
            figures={"panels": {"speed": speed}},
        )
        self.client.force_login(self.alice)
        with CaptureQueriesContext(connection) as queries:
            page = self.client.get("/models/")
        self.assertContains(page, "5.2 ms")
        self.assertContains(page, "on 2 cores, x86_64", count=1)
        make_version("seed_cnn-3")
        with self.assertNumQueries(len(queries)):
            self.client.get("/models/")

    def test_everybody_who_is_signed_in_sees_them(self) -> None:
        make_version("seed_cnn-2", is_champion=True)
        self.client.force_login(self.alice)
        page = self.client.get("/models/")
        for text in ("seed_cnn-1", "78.90&nbsp;%", "n = 10,000", "champion", "35.0"):
            self.assertContains(page, text)
        page = self.client.get(self.page)
        for text in (
            "Conv2D",
            "896",
            "9,176,018",
            "squash32-v1",
            "seed_cnn",
            reverse("training:report", args=[1])[:8],
        ):
            self.assertContains(page, text)

    def test_only_staff_promote_download_and_write_notes(self) -> None:
        self.client.force_login(self.alice)
        html = self.client.get(self.page).content.decode()
        for part in ("promote/", "download/", "notes/"):
            self.assertNotIn(f"{self.page}{part}", html)
            answer = self.client.get if part == "download/" else self.client.post
            self.assertEqual(answer(f"{self.page}{part}").status_code, 403)

    def test_a_refusal_of_the_gate_is_shown_and_nothing_changes(self) -> None:
        self.client.force_login(self.charlie)
        self.assertContains(self.client.get(self.page), "was not measured on the held-out images yet")
        answer = self.client.post(f"{self.page}promote/", {"reason": "Better."}, follow=True)
        self.assertContains(answer, "was not measured on the held-out images yet")
        self.assertFalse(Promotion.objects.exists())

    def test_a_promotion_needs_a_reason(self) -> None:
        self.client.force_login(self.charlie)
        answer = self.client.post(f"{self.page}promote/", {"reason": " "}, follow=True)
        self.assertContains(answer, "Say why in a sentence")

    def test_without_an_earlier_model_a_rollback_is_refused(self) -> None:
        self.client.force_login(self.charlie)
        answer = self.client.post("/models/rollback/", {"reason": "Worse."}, follow=True)
        self.assertContains(answer, "There is no earlier champion to roll back to.")

    def test_notes_are_kept(self) -> None:
        self.client.force_login(self.charlie)
        self.client.post(f"{self.page}notes/", {"notes": "Good at <cats>."})
        self.assertContains(self.client.get(self.page), "Good at &lt;cats&gt;.")

    def test_the_download_is_the_registered_file(self) -> None:
        import hashlib

        content = b"the bytes of a model"
        digest = hashlib.sha256(content).hexdigest()
        version = make_version("another", sha256=digest)
        default_storage.save(f"models/{digest}.keras", ContentFile(content))
        self.client.force_login(self.charlie)
        answer = self.client.get(f"/models/{version.pk}/download/")
        self.assertEqual(answer.getvalue(), content)
        self.assertIn('filename="another.keras"', answer["Content-Disposition"])

    def test_a_missing_file_is_a_sentence(self) -> None:
        self.client.force_login(self.charlie)
        answer = self.client.get(f"{self.page}download/", follow=True)
        self.assertContains(answer, "is in neither the storage nor the models folder")

    def test_the_curve_comes_from_the_card(self) -> None:
        self.client.force_login(self.alice)
        data = self.client.get(f"{self.page}curve.json").json()
        self.assertEqual(data["val_accuracy"], [0.19, 0.39])
        self.assertEqual(json.loads(json.dumps(data))["epoch"], [1, 2])

    def test_the_page_says_when_the_weights_are_a_mean(self) -> None:
        self.client.force_login(self.alice)
        self.assertNotContains(self.client.get(self.page), "mean over the epochs")
        card = {**self.version.card, "averaged_epochs": [1, 2]}
        ModelVersion.objects.filter(pk=self.version.pk).update(card=card)
        self.assertContains(self.client.get(self.page), "Weights: mean over the epochs</dt><dd>1, 2</dd>")

    def test_a_card_without_history_still_has_a_page(self) -> None:
        ModelVersion.objects.filter(pk=self.version.pk).update(card={})
        self.client.force_login(self.alice)
        self.assertEqual(self.client.get(self.page).status_code, 200)


class TestThinning(SiteTestCase):
    def test_few_rows_stay_as_they_are(self) -> None:
        self.assertEqual(learning_curves.thinned(3), [0, 1, 2])
        self.assertEqual(learning_curves.thinned(0), [])
        self.assertEqual(learning_curves.thinned(5, 3), [0, 2, 4])

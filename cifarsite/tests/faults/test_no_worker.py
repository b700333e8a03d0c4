"""No worker lives: people and programs are told that they wait, and since when."""

import pytest

from cifarsite.tests.faults.running import Site
from conftest import wait_until

pytestmark = pytest.mark.faults


def test_a_photo_whose_worker_died_is_shown_as_waiting_and_never_as_running_for_ever(sites, measured) -> None:
    site: Site = sites()
    site.start_web()
    worker = site.start_worker(queues="predict,batch,default,train")
    seen = "SELECT count(*) FROM training_worker WHERE queues LIKE '%predict%'"
    wait_until(lambda: site.one(seen) == 1, "the worker's first sign of life")
    site.kill(worker)
    photo = site.upload().json["photos"][0]
    # As if it had been killed with the photo in its hands.
    site.shell("from classifier.models import Prediction\nPrediction.objects.claim(worker='w1@test')")
    page = f"/photos/{photo['id']}/"
    wait_until(lambda: "No worker has been seen since" in site.get(page).text, "the notice", 60)
    text = site.get(page).text
    assert "Waiting for a worker" in text
    assert "Classifying your photo" not in text
    assert site.get(f"/api/v1/photos/{photo['id']}").json["status"] == "queued"
    assert "no worker of the queue" in site.get("/health/").text.replace("&#x27;", "'")
    site.shell(
        "from training.jobs import lifecycle\n"
        "lifecycle.request_training(recipe='fast_cnn', parameters={}, by=None)"
    )
    job = site.get("/training/1/").text
    assert "The last training worker was seen" in job
    # Nothing but a worker is needed for it to go on.
    site.start_sweeper()
    site.start_worker("w2")
    site.wait_until_all_is_answered(1)
    measured(
        "waiting, with 'no worker has been seen since', within a lease; answered once a worker was started"
    )

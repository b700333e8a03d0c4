"""A run whose loss becomes NaN leaves no model, so there is nothing to promote."""

import json

import pytest

from cifarsite.tests.faults.training_runs import (
    events,
    job,
    models,
    request_job,
    start_trainer,
    training_site,
    wait_for_state,
)

pytestmark = pytest.mark.faults
MODELS = "SELECT id, name, is_champion FROM training_modelversion ORDER BY id"
PROMOTIONS = "SELECT count(*) FROM training_promotion"


def test_nothing_can_be_promoted_after_a_run_that_failed_with_nan(sites, synthetic_cifar10, measured) -> None:
    site = training_site(sites, synthetic_cifar10)
    site.start_web()
    start_trainer(site, "w1")
    before, promotions = site.rows(MODELS), site.one(PROMOTIONS)
    pk = request_job(site, epochs=3, nan_in=1)
    wait_for_state(site, pk, "failed")
    assert job(site, pk, "error_code") == "diverged"
    assert events(site, pk).count("started") == 1
    assert models(site, pk) == 0
    told = site.get(f"/api/v1/training-jobs/{pk}").json
    assert (told["state"], told["model"], told["error"]["code"]) == ("failed", None, "diverged")

    def promote(model: int) -> tuple[int, str]:
        body = json.dumps({"reason": "Try it."}).encode()
        path = f"/api/v1/models/{model}/promote"
        reply = site.request("POST", path, body, 60, **{"Content-Type": "application/json"})
        return reply.status, reply.json["code"]

    champion = before[0][0]
    assert promote(champion + 1) == (404, "not_found")
    assert promote(champion) == (409, "refused")
    assert site.rows(MODELS) == before
    assert site.one(PROMOTIONS) == promotions
    measured("failed as diverged after 1 attempt, no model: promote 404; the champion again: 409")

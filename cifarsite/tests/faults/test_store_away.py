"""The store of files is away as a run ends: it waits, and neither model nor report is the poorer for it."""

import pytest

from cifarsite.tests.faults.training_runs import (
    events,
    models,
    request_job,
    start_trainer,
    training_site,
    wait_for_state,
)

pytestmark = pytest.mark.faults
STUMBLING = "cifarsite.tests.faults.settings_of_a_store_that_stumbles"
REPORT = """
import json
from django.core.files.storage import default_storage
from training.models import EvaluationReport
panels = EvaluationReport.objects.get(model__job_id={job}).figures["panels"]
print("panels", json.dumps([*panels, default_storage.exists(panels["answers"])]))
"""


def test_a_store_that_is_away_while_a_run_is_measured_costs_no_panel(
    sites, synthetic_cifar10, measured
) -> None:
    site = training_site(sites, synthetic_cifar10, DJANGO_SETTINGS_MODULE=STUMBLING)
    start_trainer(site, "w1")
    pk = request_job(site, epochs=1)
    wait_for_state(site, pk, "succeeded", 400)
    assert events(site, pk) == ["requested", "started", "succeeded"]
    assert models(site, pk) == 1
    said = (site.folder / "runs" / str(pk) / "process-1.txt").read_text()
    tries = said.count("It is tried again")
    assert tries >= 3, said
    site.environment["DJANGO_SETTINGS_MODULE"] = "cifarsite.settings"
    panels = next(line for line in site.shell(REPORT.format(job=pk)).splitlines() if "panels" in line)
    assert all(f'"{name}"' in panels for name in ("curves", "slices", "data", "answers", "tile"))
    assert panels.endswith("true]")
    measured(f"no answer at the first tries of each kind: {tries} times tried again, the report whole")

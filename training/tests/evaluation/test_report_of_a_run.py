"""A training run ends with the whole report, and 'manage.py evaluate' prints it."""

import json

import pytest

from training.tests.jobs.host import Host

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(host: Host) -> Host:
    host.manage("train", "--recipe", "tiny", "--epochs", "2")
    return host


def test_a_run_leaves_a_model_whose_report_has_every_panel(trained: Host) -> None:
    host = trained
    said = host.manage("shell", "-v", "0", "-c", PRINT).splitlines()
    shown = json.loads(next(line for line in said if line.startswith("{")))
    assert shown["n"] == 10_000
    wanted = {"curves", "sweep", "slices", "robustness", "speed", "data", "answers", "map"}
    assert wanted <= set(shown["panels"])
    assert shown["files"]


def test_the_next_run_measures_itself_and_the_champion_on_accepted_corrections(trained: Host) -> None:
    host = trained
    host.shell(FREEZE)
    host.manage("train", "--recipe", "tiny", "--epochs", "1", "--seed", "3")
    said = host.shell(SETS).splitlines()
    found = json.loads(next(line for line in said if line.startswith("[")))
    on_corrections = [row for row in found if row[1] == "Corrected photos of spring"]
    assert [name for name, _, _ in on_corrections] == ["tiny-1", "tiny-2"]
    assert len({n for _, _, n in on_corrections}) == 1 and on_corrections[0][2] > 0
    assert sum(dataset == "CIFAR-10 test" for _, dataset, _ in found) == 2


def test_evaluate_prints_one_json_object(trained: Host) -> None:
    said = trained.manage("evaluate", "1", "--json").splitlines()
    answer = json.loads(next(line for line in said if line.startswith("{")))
    assert answer["dataset"] == "CIFAR-10 test"
    assert len(answer["figures"]["predicted"]) == answer["n"] == 10_000


PRINT = """
import json
from django.core.files.storage import default_storage
from training.models import EvaluationReport
report = EvaluationReport.objects.earliest("pk")
panels = report.figures["panels"]
files = default_storage.exists(panels["answers"])
print(json.dumps({"n": report.n, "panels": list(panels), "files": files}))
"""

# The first model answers by now, and people have corrected 40 photos.
FREEZE = """
from training.data import dataset_versions as datasets
from training.tests.evaluation.test_report_of_corrections import photo
ModelVersion.objects.update(is_champion=True)
datasets.freeze("spring", [photo(n, n % 10) for n in range(40)], by=None)
"""
SETS = """
import json
rows = EvaluationReport.objects.order_by("model_id", "id").values_list("model__name", "dataset", "n")
print(json.dumps([list(row) for row in rows]))
"""

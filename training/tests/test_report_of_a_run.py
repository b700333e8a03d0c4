"""A training run ends with the whole report, and 'manage.py evaluate' prints it."""

import json

from training.tests.host import Host


def test_a_run_leaves_a_model_whose_report_has_every_panel(host: Host) -> None:
    host.manage("train", "--recipe", "tiny", "--epochs", "2")
    said = host.manage("shell", "-v", "0", "-c", PRINT).splitlines()
    shown = json.loads(next(line for line in said if line.startswith("{")))
    assert shown["n"] == 10_000
    wanted = {"curves", "sweep", "slices", "robustness", "speed", "data", "answers", "map"}
    assert wanted <= set(shown["panels"])
    assert shown["files"]


def test_evaluate_prints_one_json_object(host: Host) -> None:
    said = host.manage("evaluate", "1", "--json").splitlines()
    answer = json.loads(next(line for line in said if line.startswith("{")))
    assert answer["dataset"] == "CIFAR-10 test"
    assert len(answer["figures"]["predicted"]) == answer["n"] == 10_000


PRINT = """
import json
from django.core.files.storage import default_storage
from training.models import EvaluationReport
report = EvaluationReport.objects.get()
panels = report.figures["panels"]
files = default_storage.exists(panels["answers"])
print(json.dumps({"n": report.n, "panels": list(panels), "files": files}))
"""

"""50 promotions and roll-backs while photos come in; a promotion that is killed inside its transaction."""

import json
import threading
from datetime import datetime

import pytest

from cifarsite.tests.faults.running import Site
from conftest import wait_until

pytestmark = pytest.mark.faults

SECOND_MODEL = """
from pathlib import Path
from django.conf import settings
from cifarsite.tests.faults.prepared import make_model, register
path = Path(settings.VAR_DIR) / "second.keras"
make_model(path, seed=1)
version = register(path.read_bytes(), "second")
# Its figures are made up: without them the gate refuses in a sentence, and is overruled.
version.reports.all().delete()
"""
# Every other one goes back; both models are tried first, once each, and loaded by the workers.
SWITCHES = """
import time
from training.models import ModelVersion
from training.registry.promotion import promote, roll_back
second = ModelVersion.objects.get(name="second")
for number in range(25):
    promote(second, by=None, reason="Forth.", override=True)
    time.sleep(0.1)
    roll_back(by=None, reason="Back.")
    time.sleep(0.1)
promote(second, by=None, reason="To stay.", override=True)
"""
KILLED_INSIDE = """
import os, signal
from unittest import mock
from training.models import ModelVersion, Promotion
from training.registry.promotion import roll_back
with mock.patch.object(Promotion.objects, "create", lambda **fields: os.kill(os.getpid(), signal.SIGKILL)):
    roll_back(by=None, reason="Killed between the new champion and its line in the promotion history.")
"""
CHAMPIONS = "SELECT name FROM training_modelversion WHERE is_champion"
HISTORY = "SELECT count(*) FROM training_promotion"
LAST = "SELECT max(created_at) FROM training_promotion"
# Who answered with which model, and when.
ANSWERS = """
SELECT p.worker, m.name, p.finished_at FROM classifier_prediction p
JOIN training_modelversion m ON m.id = p.model_id WHERE p.status = 'done' ORDER BY p.finished_at
"""


class Load:
    """Uploads without a pause, and whatever they were answered with."""

    def __init__(self, site: Site) -> None:
        self.site, self.over = site, threading.Event()
        self.statuses: list[int] = []
        self.champions: list[int] = []
        self.threads = [threading.Thread(target=self._upload) for _ in range(2)]
        self.threads.append(threading.Thread(target=self._look))

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _upload(self) -> None:
        while not self.over.is_set():
            self.statuses.append(self.site.upload(2).status)

    def _look(self) -> None:
        while not self.over.wait(0.02):
            self.champions.append(len(self.site.rows(CHAMPIONS)))


def test_fifty_promotions_and_rollbacks_under_load_lose_no_request(sites, measured) -> None:
    site: Site = sites()
    site.shell(SECOND_MODEL)
    site.start_web()
    workers = ["w1", "w2"]
    for name in workers:
        site.start_worker(name, wait=False)
    site.wait_for_ready(*workers)
    site.start_sweeper()
    with Load(site) as load:
        wait_until(lambda: site.count("done") > 0, "the first answer", 120)
        site.shell(SWITCHES)
        switched = datetime.fromisoformat(site.one(LAST))
        after = len(load.statuses)
        wait_until(lambda: len(load.statuses) > after + 20, "uploads after the last switch", 120)
        site.manage("shell", "--no-imports", "-c", KILLED_INSIDE, expected=-9)
        assert [row[0] for row in site.rows(CHAMPIONS)] == ["second"]
    # One is installed, fifty switches, one more; the killed one has left no line.
    assert site.one(HISTORY) == 1 + 50 + 1
    assert set(load.statuses) == {202}
    assert set(load.champions) == {1}
    site.wait_until_all_is_answered(2 * len(load.statuses))
    tally = site.tally()
    assert (tally.lost, tally.doubled) == (0, 0)
    answers = [(worker, model, datetime.fromisoformat(at)) for worker, model, at in site.rows(ANSWERS)]
    assert {model for _worker, model, _at in answers} == {"tiny", "second"}
    figures = {}
    for name in workers:
        mine = [(model, (at - switched).total_seconds()) for worker, model, at in answers if name in worker]
        late = [seconds for model, seconds in mine if seconds > 0 and model == "tiny"]
        new = [seconds for model, seconds in mine if seconds > 0 and model == "second"]
        assert max(late, default=0.0) <= 5
        figures[name] = (
            f"last old answer {max(late, default=0.0):.2f} s, first new {min(new, default=0):.2f} s"
        )
    measured(
        f"51 switches, {len(load.statuses)} uploads of 2, {len(answers)} answers; seconds after "
        f"the last switch: {json.dumps(figures)}"
    )

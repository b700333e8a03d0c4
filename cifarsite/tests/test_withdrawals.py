"""Who withdraws, rejects or deletes while a dataset freezes is heard, on both databases; and what an
earlier version kept against its owner's word goes with the upgrade."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cifarsite.tests.hosts import Host, new_database
from conftest import require

pytestmark = pytest.mark.slow
RACE = """
import threading
from django.db import connection, transaction
from classifier.feedback import corrections, training_photos; from classifier.photos import history
from classifier.models import Consent, Example, Photo, User
from training.data import dataset_versions as datasets
from training.models import DatasetImage, DatasetVersion, ModelVersion
base = DatasetVersion.objects.create(
    name="CIFAR-10", sha256="c" * 64, manifest={"cifar10": "c" * 64, "added": []})
ModelVersion.objects.create(
    name="m", recipe="x", sha256="a" * 64, size=1, preprocessing="x", dataset=base, card={})
staff = User.objects.create(username="staff", is_staff=True)

def freeze(photo):
    try:
        training_photos.freeze(None, "spring")
    except datasets.NothingToFreeze:
        pass

ACTS = {
    "withdraw": lambda photo: corrections.set_consent(photo.owner, False),
    "reject": lambda photo: corrections.reject(photo, by=staff),
    "delete": lambda photo: history.remove_photos(Photo.objects.filter(pk=photo.pk)),
}

def together(first, second, number):
    '''Begin the second while the transaction of the first has done its work and is not over.'''
    user = User.objects.create(username=f"user{number}")
    Consent.objects.create(user=user, given=True)
    photo = Photo.objects.create(
        owner=user, filename="a.jpg", width=1, height=1, size=1, pixel_sha256="0" * 64)
    Example.objects.create(photo=photo, label="dog", image=f"{number}.png", sha256=f"{number:064}")
    ready, end, faults = threading.Event(), threading.Event(), []
    def one():
        try:
            with transaction.atomic():
                first(photo)
                ready.set()
                end.wait(20)
        except Exception as error:
            faults.append(repr(error))
        ready.set()
        connection.close()
    def other():
        try:
            second(Photo.objects.get(pk=photo.pk))
        except Exception as error:
            faults.append(repr(error))
        connection.close()
    threads = [threading.Thread(target=one), threading.Thread(target=other)]
    threads[0].start(); ready.wait(20)
    threads[1].start(); threads[1].join(2)
    end.set()
    for thread in threads:
        thread.join(30)
    open_marks = DatasetImage.objects.filter(source=photo.pk, withdrawn_at=None).count()
    Photo.objects.filter(owner=user).delete()
    return [open_marks, faults]

answer = {}
for number, (name, act) in enumerate(ACTS.items()):
    answer[f"{name} before the freeze"] = together(act, freeze, 2 * number)
    answer[f"{name} during the freeze"] = together(freeze, act, 2 * number + 1)
"""
BEFORE = """
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
STATE = [("classifier", "0002_relations"), ("training", "0001_tables")]
loader = MigrationExecutor(connection).loader
# As a site of then has it on record: the steps that today's first migrations replace.
steps = MigrationRecorder(connection)
for key in [*STATE, ("classifier", "0001_tables")]:
    steps.record_unapplied(*key)
    for replaced in loader.disk_migrations[key].replaces:
        steps.record_applied(*replaced)
old = loader.project_state(STATE).apps
of = lambda name: old.get_model("classifier", name).objects
to = lambda name: old.get_model("training", name).objects
version = to("DatasetVersion").create(name="spring", sha256="d" * 64, manifest={"added": []})
model = to("ModelVersion").create(name="m", recipe="x", sha256="a" * 64, size=1, preprocessing="x", card={})
def report(dataset, sha):
    to("EvaluationReport").create(model=model, dataset=dataset, dataset_sha256=sha * 64, n=1, accuracy=1,
                                  figures={"accuracy": 1, "panels": {"answers": "reports/a/b.npz"}})
report("CIFAR-10 test", "1"); report("holiday", "2"); report("Corrected photos of spring", "3")
to("EvaluationSet").create(name="holiday", sha256="2" * 64, n=1, manifest=[])
alice, bob, staff = (of("User").create(username=name) for name in ("alice", "bob", "staff"))
of("Consent").create(user=alice, given=True); of("Consent").create(user=bob, given=False)
def photo(name, owner, by):
    made = of("Photo").create(owner=owner, filename=name, width=1, height=1, size=1, pixel_sha256="0" * 64)
    for person in by:
        of("Correction").create(photo=made, by=person, label="dog", state="accepted")
    of("Example").create(photo=made, label="dog", image=f"{name}.png", sha256="f" * 64)
    to("DatasetImage").create(dataset=version, source=made.pk)
photo("own", alice, [alice]); photo("both", alice, [alice, staff]); photo("taken back", alice, [])
photo("staff", alice, [staff]); photo("no consent", bob, [bob])
of("Batch").create(owner=alice, filename="a.zip", sha256="", size=1, state="paused")
shown = of("Photo").get(filename="own")
of("Prediction").create(photo=shown, owner=alice, photo_created_at=shown.created_at, preprocessing="x",
                        input_sha256="0" * 64, status="done", label="cat", model=model,
                        verdict="none_of_the_ten")
of("DayCount").create(owner=alice, day="2026-01-02", labels={"none_of_the_ten": 2, "cat": 1})
of("DriftDay").create(day="2026-01-02", n=3, labels={"cat": 3}, verdicts={"none_of_the_ten": 2, "unsure": 1},
                      sums={}, opinions=0, agreed=0)
to("EvaluationReport").filter(dataset="holiday").update(
    figures={"panels": {"answers": "x"}, "verdicts": {"none_of_the_ten": 5, "recognised": 1}})
to("TrainingJob").create(recipe="fast_cnn")
"""
AFTER = """
from classifier.models import Batch, Correction, DayCount, DriftDay, Example, Photo, Prediction
from training.models import DatasetImage, DatasetVersion, EvaluationReport, ModelVersion, TrainingJob
from training.projects.access import class_names
names = dict(Photo.objects.values_list("pk", "filename"))
answer = {
    "examples": sorted(names[pk] for pk in Example.objects.values_list("photo_id", flat=True)),
    "open": sorted(names[pk] for pk in DatasetImage.objects.filter(withdrawn_at=None)
                   .values_list("source", flat=True)),
    "said": sorted([names[c.photo_id], c.by.username, c.state] for c in Correction.objects.all()),
    "answers": sorted(r.dataset for r in EvaluationReport.objects.all() if "answers" in r.figures["panels"]),
    "paused": Batch.objects.filter(paused_at__isnull=False).count(),
    "projects": sorted({slug for model in (Photo, Prediction, Batch, DayCount, DriftDay, DatasetVersion,
        ModelVersion, TrainingJob) for slug in model.objects.values_list("project", flat=True)}),
    "classes": class_names("cifar10") == ModelVersion.objects.get().classes and len(class_names("cifar10")),
    "verdict": Prediction.objects.get().verdict,
    "counts": [DayCount.objects.get().labels, DriftDay.objects.get().verdicts,
               EvaluationReport.objects.get(dataset="holiday").figures["verdicts"]],
}
"""


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    if request.param == "SQLite":
        yield Host(tmp_path / "site")
        return
    require("needs_postgres")
    with new_database(request.getfixturevalue("postgres_url")) as database:
        yield Host(tmp_path / "site", DATABASE_URL=database)


def test_no_withdrawal_is_lost_beside_a_freeze(host: Host) -> None:
    host.migrate()
    found = host.ask(RACE)
    assert len(found) == 6
    assert found == {name: [0, []] for name in found}


def test_an_upgrade_takes_all_into_the_first_project_and_drops_what_no_owner_wanted(host: Host) -> None:
    host.manage("migrate", "classifier", "0002", "--verbosity", "0")
    host.shell(BEFORE)
    host.manage("migrate", "--verbosity", "0")
    assert host.ask(AFTER) == {
        "examples": ["both", "own", "taken back"],
        "open": ["both", "own", "taken back"],
        "said": [
            ["both", "alice", "accepted"],
            ["no consent", "bob", "proposed"],
            ["own", "alice", "accepted"],
        ],
        "answers": ["CIFAR-10 test", "holiday"],
        "paused": 1,
        # All that was there belongs to the first project, whose verdict has another name now.
        "projects": ["cifar10"],
        "classes": 10,
        "verdict": "unknown",
        "counts": [{"unknown": 2, "cat": 1}, {"unknown": 2, "unsure": 1}, {"unknown": 5, "recognised": 1}],
    }

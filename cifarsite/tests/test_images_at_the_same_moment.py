"""Images of a project that are added, relabelled and removed at the same moment; and processes that are
killed while they remove files. On both databases."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from cifarsite.tests.hosts import Host, new_database
from cifarsite.tests.test_at_the_same_moment import TOGETHER
from conftest import ROOT, require

MAKE = """
from django.db import transaction
from django.core.files.storage import default_storage
from training.models import Project, ProjectClass, RemovedFile
from training.projects import classes, images, lifecycle, removals
from training.tests.projects.drawings import add_images
def make(slug, *counts):
    project, start = lifecycle.create(slug, class_names=[f'c{n}' for n in range(len(counts))]), 0
    with transaction.atomic():
        for row, count in zip(project.classes.all(), counts):
            add_images(project, row, range(start, start + count))
            start += count
    return project
"""
CHANGES = """
project = make('fruit', 40, 40, 40)
rows = list(project.classes.all())
ids = [list(row.images.order_by('pk').values_list('pk', flat=True)) for row in rows]

def change(number):
    act, turn = divmod(number, 3)
    if act == 0:  # there and back again, some of the same images as the others
        images.relabel(project, ids[turn][:30], rows[(turn + 1) % 3])
        images.relabel(project, ids[turn][10:25], rows[(turn + 2) % 3])
    elif act == 1:
        images.remove(project.images.filter(pk__in=ids[turn][15:35]))
    else:
        with transaction.atomic():
            add_images(project, rows[turn], range(1000 * number, 1000 * number + 8))
    return 'done'

said = together(9, change)
kept = images.counts(project)
answer = {
    'said': said,
    'kept': [kept[row.pk] for row in rows],
    'there': [row.images.count() for row in rows],
    'corrected': images.recount(),
}
"""
KILLED = """
import os, signal
from django.core.files.storage import FileSystemStorage
whole, count = FileSystemStorage.delete, 0
def delete(self, name):
    global count
    count += 1
    if count > 30:
        os.kill(os.getpid(), signal.SIGKILL)
    whole(self, name)
FileSystemStorage.delete = delete
"""
DELETE = "lifecycle.delete(Project.objects.get(pk='fruit'), confirmed='fruit')"
REMOVE = "images.remove(Project.objects.get(pk='fruit').images.all())"
LEFT = """
def files(slug):
    folder = default_storage.path(f'projects/{slug}')
    return sum(len(names) for _, _, names in os.walk(folder))
answer = [files('fruit'), files('fruit-2'), RemovedFile.objects.count(), Project.objects.count()]
"""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "postgres":
        require("needs_postgres")
        made: Any = new_database(request.getfixturevalue("postgres_url"))
    else:
        made = nullcontext("")
    with made as url:
        yield url


@pytest.fixture(scope="module")
def host(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    made = Host(tmp_path_factory.mktemp("site"), DATABASE_URL=database)
    made.migrate()
    yield made
    made.destroy()


@pytest.fixture(autouse=True)
def _no_projects(host: Host) -> None:
    host.shell(
        "from training.models import *\n"
        "for table in (ProjectImage, RemovedFile): table.objects.all().delete()\n"
        "Project.objects.exclude(pk='cifar10').delete()"
    )
    shutil.rmtree(host.folder / "media", ignore_errors=True)


def run(host: Host, code: str) -> int:
    """Run code that may be killed; its exit status."""
    return subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", code],
        cwd=ROOT,
        env=host.environment,
        capture_output=True,
        timeout=300,
        check=False,
    ).returncode


@pytest.mark.slow
def test_images_are_counted_whoever_changes_them(host: Host) -> None:
    found = host.ask(TOGETHER + MAKE + CHANGES)
    assert found["said"] == ["done"] * 9, found
    assert found["kept"] == found["there"], found
    assert found["corrected"] == {"image_counts_corrected": 0}


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize(("act", "projects"), [(DELETE, 2), (REMOVE, 3)], ids=["project", "images"])
def test_the_sweeper_goes_on_where_a_process_was_killed(host: Host, act: str, projects: int) -> None:
    host.shell(MAKE + "make('fruit', 60, 60); make('fruit-2', 20)")
    look = "import os" + MAKE + LEFT
    assert run(host, MAKE + KILLED + act) == -9
    assert host.ask(look)[0] == 90
    # The sweeper, too, is killed on its way; it may have begun with those that are gone already.
    assert run(host, MAKE + KILLED + "removals.remove_waiting()") == -9
    assert host.ask(look)[0] in (60, 90)
    host.manage("recover")
    assert host.ask(look) == [0, 20, 0, projects]


@pytest.mark.slow
def test_a_backup_leaves_out_what_is_to_be_removed(host: Host, tmp_path: Path) -> None:
    host.shell(MAKE + "make('fruit', 260); make('fruit-2', 20)")
    # What waits after a request for more images than it removes itself.
    assert host.ask(MAKE + REMOVE + "\nanswer = RemovedFile.objects.count()") == 60
    host.manage("backup", str(tmp_path), "--verify")
    manifest = json.loads(next(tmp_path.glob("*/manifest.json")).read_text())
    kept = Counter(name.split("/")[1] for name in manifest["files"] if name.startswith("projects/"))
    assert (kept, manifest["missing"]) == ({"fruit-2": 20}, [])
    assert "60 files or folders wait" in host.manage("orphans")

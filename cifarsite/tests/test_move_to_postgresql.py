"""From SQLite to PostgreSQL: every row, its number, its times; the same answers; the next number free."""

from pathlib import Path

import pytest

from cifarsite.tests.hosts import Host, new_database
from cifarsite.tests.test_backup import EVERYTHING, PHOTOS

MORE = """
from django.contrib.auth.models import Group, Permission
from django.utils import timezone
from classifier.uploads.batches import create_batch
from classifier.feedback.corrections import correct
from classifier.models import Photo, User
from classifier.tests.uploads.archives import photos, zipped
from training.jobs import lifecycle as jobs
alice = User.objects.get(username='alice')
group = Group.objects.get(name='reviewers')
group.permissions.set(Permission.objects.filter(codename__contains='correction'))
alice.groups.add(group)
create_batch(alice, zipped(photos(2)), filename='two.zip')
correct(Photo.objects.filter(owner=alice).first(), alice, 'dog')
jobs.request_training(recipe='fast_cnn', parameters={'epochs': 1}, by=alice)
Photo.objects.filter(filename='0.jpg').update(created_at='2020-02-29T23:59:59.123456Z')
"""
EVERY_ROW = """
from django.apps import apps
from django.core import serializers
from classifier.operations.database_copy import kept_models
answer = {m._meta.label: serializers.serialize('python', m._base_manager.order_by('pk'))
          for m in kept_models()}
"""
NEW_ROWS = """
from django.contrib.auth.models import Group
from classifier.models import User
from cifarsite.test import make_user
from training.jobs import lifecycle as jobs
bob = make_user('bob')
bob.groups.add(Group.objects.get(name='reviewers'))
jobs.request_training(recipe='fast_cnn', parameters={'epochs': 1}, by=bob)
Group.objects.create(name='others').permissions.set([1])
"""


@pytest.mark.slow
def test_a_site_moves_with_every_row_and_gives_the_same_answers(tmp_path: Path, postgres_url: str) -> None:
    small = Host(tmp_path / "site")
    small.prepare()
    small.shell(PHOTOS)
    small.shell(MORE)
    before, rows = small.ask(EVERYTHING), small.ask(EVERY_ROW)
    with new_database(postgres_url) as database:
        said = small.manage("copy_database", database)
        assert "classifier.Photo: 3" in said
        large = Host(tmp_path / "site", DATABASE_URL=database)
        assert large.ask(EVERY_ROW) == rows
        assert large.ask(EVERYTHING) == before
        large.shell(NEW_ROWS)  # no number is given twice
        large.shell(PHOTOS)
        assert "already contains accounts" in small.manage("copy_database", database, expected=1)
        assert "not a database URL" in small.manage("copy_database", "nonsense", expected=1)
        # Without an argument the address is read from standard input: no list of processes shows it.
        assert "not a database URL" in small.manage("copy_database", expected=1)
    # The old database is untouched: going back is setting DATABASE_URL back.
    assert small.ask(EVERY_ROW) == rows

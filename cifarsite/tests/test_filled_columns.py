"""A site with photos from before the history knew words and days: the migration fills them in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cifarsite.tests.hosts import Host, new_database
from conftest import require

# 300 photos of two people on three days, written by the models of then. Every third of Alice's has her
# answer; some have Bob's, or an answer to a prediction that is no longer the current one.
BEFORE = """
from datetime import datetime, timedelta, timezone
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
STATE = [("classifier", "0005_crops_and_quality"), ("training", "0004_evaluation_set")]
old = MigrationExecutor(connection).loader.project_state(STATE).apps
User, Photo, Prediction, Correction = (
    old.get_model("classifier", name) for name in ("User", "Photo", "Prediction", "Correction"))
alice, bob = User.objects.create(username="alice"), User.objects.create(username="bob")
first = datetime(2026, 2, 27, 23, 59, 59, 999999, tzinfo=timezone.utc)  # a microsecond before midnight
names = ["IMG_2024 Beach.jpg", "Trường học.jpeg", "....", "a b c d e f g h i j k l m n.png", ""]
photos = [Photo(owner=bob if n % 10 == 9 else alice, filename=names[n % 5], width=1, height=1, size=1,
                pixel_sha256=f"{n:064}") for n in range(300)]
Photo.objects.bulk_create(photos)
for n, photo in enumerate(photos):
    photo.created_at = first + (n % 3) * timedelta(days=1, microseconds=n % 2)
Photo.objects.bulk_update(photos, ["created_at"])
common = {"preprocessing": "squash32-v1", "input_sha256": "0" * 64, "status": "done"}
def asked(photo, label, is_current):
    return Prediction(photo=photo, owner=photo.owner, photo_created_at=photo.created_at, label=label,
                      is_current=is_current, **common)
Prediction.objects.bulk_create([asked(photo, "cat", True) for photo in photos])
Prediction.objects.bulk_create([asked(photo, "dog", False) for photo in photos[:30]])
says = ["cat", "dog", "not_sure"]
Correction.objects.bulk_create(
    [Correction(photo=p, by=alice, label=says[n // 3 % 3], predicted="cat")
     for n, p in enumerate(photos) if n % 3 == 0 and p.owner == alice]
    + [Correction(photo=p, by=bob, label="dog", predicted="cat") for p in photos[1:20:3] if p.owner == alice])
"""
# What must be there, counted in Python from the photos; then what today's code makes of it.
AFTER = """
from collections import Counter
from classifier import day_counts, history, names
from classifier.models import Correction, DayCount, NameWord, Photo, Prediction, User
photos = list(Photo.objects.select_related("owner"))
alice = User.objects.get(username="alice")
words = Counter((str(p.pk), p.owner_id, w) for p in photos for w in names.words_of(p.filename)[:12])
days = Counter((p.owner_id, p.created_at.date().isoformat()) for p in photos)
said = {c.photo_id: "not_sure" if c.label == "not_sure" else "agrees" if c.label == c.predicted else "differs"
        for c in Correction.objects.filter(by=alice)}
found = Counter((str(photo), owner, word)
                for photo, owner, word in NameWord.objects.values_list("photo_id", "owner_id", "word"))
current, earlier = Prediction.objects.filter(is_current=True), Prediction.objects.filter(is_current=False)
answer = {
    "words are right": found == words,
    "days are right": days == {(d.owner_id, d.day.isoformat()): d.changes for d in DayCount.objects.all()},
    "answers are right": all(p.owner_says == said.get(p.photo_id, "") for p in current),
    "answers": dict(Counter(current.values_list("owner_says", flat=True))),
    "earlier": list(set(earlier.values_list("owner_says", flat=True))),
    "beach": names.search(current.filter(owner=alice), alice, "beach 20").count(),
    "truong": names.search(current.filter(owner=alice), alice, "trường").count(),
    "photos": day_counts.photos(alice),
    "classes": day_counts.by_class(alice),
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


def test_words_days_and_answers_of_earlier_photos_are_filled_in(host: Host) -> None:
    host.manage("migrate", "training", "0004", "--verbosity", "0")
    host.manage("migrate", "classifier", "0005", "--verbosity", "0")
    host.shell(BEFORE)
    host.manage("migrate", "--verbosity", "0")
    found = host.ask(AFTER)
    assert found["words are right"] and found["days are right"] and found["answers are right"], found
    # The same by hand: 270 photos are Alice's, 30 Bob's; 90 of Alice's lie on a third day each.
    assert found["answers"] == {"": 210, "agrees": 30, "differs": 30, "not_sure": 30}
    assert found["earlier"] == [""]
    assert (found["beach"], found["truong"]) == (60, 60)
    assert (found["photos"], found["classes"]) == (270, {"cat": 270})

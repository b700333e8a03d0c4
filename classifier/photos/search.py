"""Find photos by their file names: by the beginnings of words, through an index.

'IMG_2024 beach.jpg' has the words img, 2024, beach and jpg. A search for few photos goes from
its words to the photos; one that many photos match walks the history, which finds a page soon.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from django.db import connection
from django.db.models import Exists, F, OrderBy, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce

from classifier.models import NameWord, Photo, Prediction, User

WORD_LENGTH = 40
WORDS_A_NAME = 12
WORDS_A_SEARCH = 5
# Up to so many photos are looked up by their words.
FEW = 2_000
LAST_CHARACTER = "\U0010ffff"


def words_of(text: str) -> list[str]:
    """The words of a name, small, each once; of 'img1234' also '1234'."""
    found: dict[str, None] = {}
    for word in re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text).casefold()):
        parts = re.findall(r"\d+|\D+", word)
        for part in (word, *parts[1:]):
            found[part[:WORD_LENGTH]] = None
    return list(found)


def note_words(photos: Iterable[Photo]) -> None:
    """Keep the words of new photos' names."""
    NameWord.objects.bulk_create(
        [
            NameWord(owner_id=photo.owner_id, photo=photo, word=word)
            for photo in photos
            for word in words_of(photo.filename)[:WORDS_A_NAME]
        ],
        batch_size=1_000,
    )


def search(rows: QuerySet[Prediction], owner: User, text: str) -> QuerySet[Prediction]:
    """Those of a person's photos whose names have words that begin like all the words of ``text``."""
    wanted = _wanted(text)
    if not wanted:
        return rows.none()
    beginnings = [_begins(word) for word in wanted]
    mine = NameWord.objects.filter(owner=owner)
    found = [mine.filter(begins).values_list("photo_id", flat=True)[: FEW + 1] for begins in beginnings]
    counts = [ids.count() for ids in found]
    fewest = min(range(len(counts)), key=counts.__getitem__)
    for number, begins in enumerate(beginnings):
        if number == fewest and counts[fewest] <= FEW:
            rows = sorted_anew(rows.filter(photo_id__in=found[fewest]))
        else:
            rows = rows.filter(Exists(NameWord.objects.filter(begins, photo=OuterRef("photo_id"))))
    return rows


def photos_named(text: str, limit: int = 1_000) -> list[Any]:
    """Ids of anybody's photos with such a name, some of them where there are many; for the admin."""
    words = sorted(_wanted(text), key=len, reverse=True)  # the longest is the rarest, as a rule
    if not words:
        return []
    found = NameWord.objects.filter(_begins(words[0]))
    for word in words[1:]:
        found = found.filter(Exists(NameWord.objects.filter(_begins(word), photo=OuterRef("photo_id"))))
    return list(found.values_list("photo_id", flat=True)[:limit])


def sorted_anew(rows: QuerySet[Prediction]) -> QuerySet[Prediction]:
    """The same order, but not through an index: for a few rows that a condition finds.

    A planner that hopes to meet a page of them soon along the order reads the whole history instead.
    """
    ways = [(name.lstrip("-"), name.startswith("-")) for name in rows.query.order_by if isinstance(name, str)]
    if not ways:
        return rows  # it is sorted so already
    return rows.order_by(*(OrderBy(Coalesce(F(name), F(name)), descending=down) for name, down in ways))


def _wanted(text: str) -> list[str]:
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text).casefold())
    return [word[:WORD_LENGTH] for word in words[:WORDS_A_SEARCH]]


def _begins(word: str) -> Q:
    if connection.vendor == "postgresql":
        return Q(word__startswith=word)
    # SQLite's LIKE knows no index here; its texts are in the order of their code points.
    return Q(word__gte=word, word__lt=word + LAST_CHARACTER)

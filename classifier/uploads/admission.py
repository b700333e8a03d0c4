"""Which uploads are decoded now: one person's flood never keeps the others out.

A decode costs by its pixels, not by the bytes of its file: 166 kB of PNG may be 40 megapixels.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings

# How long an upload waits for its turn. It holds a thread meanwhile.
WAIT_SECONDS = 20.0
# With what HTTP status an upload is refused where its files are not at fault; 400 otherwise.
STATUS_OF = {"quota": 413, "archive_too_large": 413, "busy": 503, "storage_full": 507}


class NoTurn(Exception):
    """As many uploads are under way and waiting as may; ``is_own`` where some are the person's own."""

    def __init__(self, *, is_own: bool) -> None:
        super().__init__(is_own)
        self.is_own = is_own


@dataclass(eq=False)
class _Upload:
    person: int
    pixels: int


class Admission:
    """Lets so many uploads of this process through at a time, with a short queue before them.

    Args:
        slots: how many are decoded at once. One person never has the last one.
        pixels: how many one person may have decoded at once; a larger picture goes alone.
        waiting: how many may wait in all, of which a sixth of the places is only for those who do not wait
            with another upload. Beyond that whoever waits with the most gives a place up.
    """

    def __init__(self, slots: int, pixels: int, waiting: int) -> None:
        self.slots, self.pixels, self.waiting = slots, pixels, waiting
        self._changed = threading.Condition()
        self._under_way: list[_Upload] = []
        self._queue: list[_Upload] = []

    @contextmanager
    def turn(self, person: int, pixels: int, seconds: float = WAIT_SECONDS) -> Iterator[None]:
        """Wait for one's turn, and have it for as long as what is inside takes.

        Raises:
            NoTurn: too many wait already, or the turn did not come within ``seconds``.
        """
        upload = _Upload(person, pixels)
        self._enter(upload, seconds)
        try:
            yield
        finally:
            with self._changed:
                self._under_way.remove(upload)
                self._changed.notify_all()

    def _enter(self, upload: _Upload, seconds: float) -> None:
        def is_decided() -> bool:
            return self._next() is upload or upload not in self._queue

        with self._changed:
            self._queue.append(upload)
            try:
                if self._next() is not upload:
                    self._give_a_place_up()
                self._changed.wait_for(is_decided, seconds)
                if self._next() is not upload:
                    raise NoTurn(is_own=self._has_others(upload))
                self._under_way.append(upload)
            finally:
                if upload in self._queue:
                    self._queue.remove(upload)
                self._changed.notify_all()  # the next one may fit beside it

    def _give_a_place_up(self) -> None:
        """Where too many wait: the newest upload of whoever waits with the most, which may be this one."""
        waits = Counter(upload.person for upload in self._queue)
        most = max(waits.values())
        kept_free = self.waiting // 6 if most > 1 else 0
        if len(self._queue) > self.waiting - kept_free:
            last = next(upload for upload in reversed(self._queue) if waits[upload.person] == most)
            self._queue.remove(last)
            self._changed.notify_all()

    def _has_others(self, upload: _Upload) -> bool:
        """Of the same person."""
        here = [*self._under_way, *self._queue]
        return any(other.person == upload.person and other is not upload for other in here)

    def _next(self) -> _Upload | None:
        """Of those who fit, whoever has the fewest pixels under way; then whoever came first."""
        fitting = [upload for upload in self._queue if self._fits(upload)]
        return min(fitting, key=lambda upload: self._pixels_of(upload.person), default=None)

    def _fits(self, upload: _Upload) -> bool:
        own = sum(other.person == upload.person for other in self._under_way)
        return len(self._under_way) < self.slots and (
            own == 0
            or (own < self.slots - 1 and self._pixels_of(upload.person) + upload.pixels <= self.pixels)
        )

    def _pixels_of(self, person: int) -> int:
        return sum(other.pixels for other in self._under_way if other.person == person)


# Of this process. With those who wait it holds two thirds of the 24 threads, so that pages go on; the
# web worker leaves what comes then unread until there is room.
uploads = Admission(
    slots=settings.UPLOADS_AT_ONCE,
    pixels=settings.UPLOAD_MAX_MEGAPIXELS * 1_000_000,
    waiting=max(1, 16 - settings.UPLOADS_AT_ONCE),
)

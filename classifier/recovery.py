"""The sweeper: needs the database alone, so it works while the broker is down."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable

from django.db import InterfaceError, OperationalError
from django.utils import timezone
from django.utils.translation import gettext as _

from classifier import (
    audit,
    corrections,
    day_counts,
    drift,
    explanations,
    history,
    idempotency,
    orphans,
    people,
    predictions,
    rates,
    reruns,
    resumable,
    retention,
    shadows,
    unpacking,
)
from training import jobs, leases, neighbours, schedule, webhooks

logger = logging.getLogger(__name__)

HOUR = 3_600.0
# A clock that went so many seconds further than time did has been put forward, or back.
JUMP_SECONDS = 60.0
Part = Callable[[], dict[str, int]]


def _purge() -> dict[str, int]:
    return {
        "photos_purged": history.purge_deleted(),
        "days_counted": day_counts.recount(),
        **drift.watch(),
        "uploads_purged": resumable.purge(),
        "rates_purged": rates.purge(),
        "sessions_purged": people.purge_sessions(),
        "signups_purged": people.purge_unconfirmed(),
        "addresses_forgotten": audit.forget_old_addresses(),
        "repeats_purged": idempotency.purge(),
    }


def _schedule() -> dict[str, int]:
    return schedule.run_schedule(corrections.accepted_since, corrections.freeze_for_schedule)


# What must go on at all times, and what removes things by their age.
RECOVERY: list[Part] = [
    predictions.recover,
    unpacking.recover,
    shadows.recover,
    reruns.feed,
    neighbours.recover,
    explanations.recover,
    jobs.recover_jobs,
    _schedule,
    webhooks.deliver_due,
]


class Sweeper:
    """Pass after pass; one part that fails does not keep the others from their work."""

    def __init__(self) -> None:
        self.name = f"sweeper@{socket.gethostname()}"
        self.started_at = timezone.now()
        self.failed: list[str] = []
        self._clock = time.time() - time.monotonic()
        self._removes_from = self._expires_from = 0.0
        self._looked_at = ""

    def sweep(self) -> dict[str, int]:
        """One pass; returns what it did, by name. ``failed`` names the parts that did not succeed.

        Raises:
            OperationalError, InterfaceError: the database is away.
        """
        self.failed = []
        did: dict[str, int] = {}
        for part in [*RECOVERY, *self._removals()]:
            try:
                did |= part()
            except (OperationalError, InterfaceError):
                raise
            except Exception:
                logger.exception("This part of the sweep failed; the next pass tries it again.")
                self.failed.append(f"{part.__module__}.{part.__name__}")
        leases.beat(self.name, [leases.SWEEP], self.started_at)
        return did

    def _removals(self) -> list[Part]:
        """Nothing is removed for an hour after the clock has jumped: ages may be wrong."""
        now = time.monotonic()
        clock = time.time() - now
        jump, self._clock = clock - self._clock, clock
        if abs(jump) > JUMP_SECONDS:
            logger.warning("The clock has jumped by %+.0f s: nothing is removed for an hour.", jump)
            self._removes_from = now + HOUR
        if now < self._removes_from:
            return []
        due: list[Part] = [_purge]
        if now >= self._expires_from:
            self._expires_from = now + HOUR
            due.append(retention.expire)
        if (part := orphans.part_of(time.time())) != self._looked_at:
            self._looked_at = part
            due.append(self._remove_strays)
        return due

    def _remove_strays(self) -> dict[str, int]:
        found = [orphans.look(self._looked_at), orphans.look_at_archives()]
        lost = sum(len(one.lost) for one in found)
        suspicious = any(one.is_suspicious for one in found)
        problem = ""
        if lost:
            problem = _("%(count)d files of photos are gone: see 'manage.py orphans'.") % {"count": lost}
        if suspicious:
            problem = _("Most files belong to no row: see 'manage.py orphans'.")
        leases.report(self.name, problem)
        return {"strays_removed": sum(map(orphans.remove_strays, found))}


def sweep() -> dict[str, int]:
    """One pass, from outside: for commands and tests."""
    return Sweeper().sweep()

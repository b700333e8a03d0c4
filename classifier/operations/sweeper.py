"""The sweeper: needs the database alone, so it works while the broker is down."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable

from django.db import InterfaceError, OperationalError
from django.utils import timezone
from django.utils.translation import gettext as _

from cifarsite.core.leases import Queue
from classifier.accounts import audit, idempotency, mails, organisations, rate_limits
from classifier.feedback import training_photos
from classifier.monitoring import counted_files, drift_alerts, reclassification, shadow_deployment
from classifier.operations import orphaned_files, retention
from classifier.photos import daily_counts, history
from classifier.predictions import explanations, queue
from classifier.privacy import account_data
from classifier.uploads import batch_worker, chunked, import_worker
from classifier.uploads import webhooks as batch_webhooks
from training import workers
from training.jobs import cifar10_fetch, ownership, schedule, webhooks
from training.projects import images, removals
from training.registry import neighbour_index

logger = logging.getLogger(__name__)

HOUR = 3_600.0
# A clock that went so many seconds further than time did has been put forward, or back.
JUMP_SECONDS = 60.0
Part = Callable[[], dict[str, int]]


def _purge() -> dict[str, int]:
    return {
        "photos_purged": history.purge_deleted(),
        "days_counted": daily_counts.recount(),
        **drift_alerts.watch(),
        "uploads_purged": chunked.purge(),
        "rates_purged": rate_limits.purge(),
        "sessions_purged": account_data.purge_sessions(),
        "signups_purged": account_data.purge_unconfirmed(),
        "addresses_forgotten": audit.forget_old_addresses(),
        "rights_withdrawn": organisations.withdraw_lapsed(),
        "repeats_purged": idempotency.purge(),
        "metric_files_added_up": counted_files.add_up_dead(),
    }


def _schedule() -> dict[str, int]:
    return schedule.run_schedule(training_photos.accepted_since, training_photos.freeze_for_schedule)


QUEUES: list[Queue] = [
    queue.QUEUE,
    batch_worker.QUEUE,
    import_worker.QUEUE,
    shadow_deployment.QUEUE,
    neighbour_index.QUEUE,
    explanations.QUEUE,
    ownership.QUEUE,
    cifar10_fetch.QUEUE,
]
# What must go on at all times; what removes things by their age is in ``_removals``.
RECOVERY: list[Part] = [
    shadow_deployment.feed,
    *(queue.recover for queue in QUEUES),
    batch_worker.finish_batches,
    reclassification.feed,
    explanations.check_neighbours,
    _schedule,
    webhooks.deliver_due,
    batch_webhooks.deliver_due,
    mails.send_due,
    removals.remove_waiting,
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
                self.failed.append(_name(part))
        workers.record_heartbeat(self.name, [workers.SWEEP], self.started_at)
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
            due += [retention.expire, images.recount]
        if (part := orphaned_files.part_of(time.time())) != self._looked_at:
            self._looked_at = part
            due.append(self._remove_strays)
        return due

    def _remove_strays(self) -> dict[str, int]:
        found = [
            orphaned_files.find_orphans(self._looked_at),
            orphaned_files.find_orphaned_archives(),
            orphaned_files.find_orphaned_imports(),
            orphaned_files.find_orphaned_images(self._looked_at),
            orphaned_files.find_orphaned_reports(),
        ]
        lost = sum(len(one.lost) for one in found)
        suspicious = any(one.is_suspicious for one in found)
        problem = ""
        if lost:
            problem = _("%(count)d files of photos are missing: run 'manage.py orphans'.") % {"count": lost}
        if suspicious:
            problem = _("Most files belong to no row of the database: run 'manage.py orphans'.")
        workers.report(self.name, problem)
        return {"strays_removed": sum(map(orphaned_files.remove_strays, found))}


def _name(part: Part) -> str:
    owner = getattr(part, "__self__", None)
    return f"queue {owner.name}" if isinstance(owner, Queue) else f"{part.__module__}.{part.__name__}"


def sweep() -> dict[str, int]:
    """One pass, from outside: for commands and tests."""
    return Sweeper().sweep()

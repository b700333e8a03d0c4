"""The sweeper: needs the database alone, so it works while the broker is down."""

from classifier import (
    audit,
    corrections,
    day_counts,
    explanations,
    history,
    idempotency,
    people,
    predictions,
    rates,
    resumable,
    unpacking,
)
from training import jobs, neighbours, schedule, webhooks


def sweep() -> dict[str, int]:
    """One pass; returns what it did, by name."""
    return {
        **predictions.recover(),
        **unpacking.recover(),
        **neighbours.recover(),
        **explanations.recover(),
        **jobs.recover_jobs(),
        **schedule.run_schedule(corrections.accepted_since, corrections.freeze_for_schedule),
        **webhooks.deliver_due(),
        "photos_purged": history.purge_deleted(),
        "days_counted": day_counts.recount(),
        "uploads_purged": resumable.purge(),
        "rates_purged": rates.purge(),
        "sessions_purged": people.purge_sessions(),
        "signups_purged": people.purge_unconfirmed(),
        "addresses_forgotten": audit.forget_old_addresses(),
        "repeats_purged": idempotency.purge(),
    }

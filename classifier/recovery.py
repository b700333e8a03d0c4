"""The sweeper: needs the database alone, so it works while the broker is down."""

from classifier import audit, history, idempotency, predictions, rates, unpacking
from training import jobs, schedule


def sweep() -> dict[str, int]:
    """One pass; returns what it did, by name."""
    return {
        **predictions.recover(),
        **unpacking.recover(),
        **jobs.recover_jobs(),
        **schedule.run_schedule(),
        "photos_purged": history.purge_deleted(),
        "rates_purged": rates.purge(),
        "addresses_forgotten": audit.forget_old_addresses(),
        "repeats_purged": idempotency.purge(),
    }

"""The sweeper: needs the database alone, so it works while the broker is down."""

from classifier import history, predictions


def sweep() -> dict[str, int]:
    """One pass; returns what it did, by name."""
    return {
        **predictions.recover(),
        "photos_purged": history.purge_deleted(),
    }

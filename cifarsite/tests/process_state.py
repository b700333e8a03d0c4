"""What a process of the tests remembers beside its database, and would carry from one test to the next."""

from django.utils import timezone, translation


def forget() -> None:
    """Begin as a new process does: the site's language and time zone, nothing known of brokers and models."""
    from cifarsite.core import metrics, wakeups
    from classifier.predictions import inference
    from training.data import image_sheets
    from training.evaluation import reports
    from training.registry import model_store, neighbour_index

    # A request leaves its language active in its thread, which here is the thread of the tests.
    translation.deactivate()
    timezone.deactivate()
    wakeups._silent_until = 0.0
    inference._interactive_at = -inference.LATELY_SECONDS
    inference._reported.clear()
    model_store._refused.clear()
    # Each route and status that was ever answered makes the metrics page longer.
    metrics.REQUEST_SECONDS.clear()
    # Files and rows by names and numbers that another test gave to others.
    image_sheets._read_array.cache_clear()
    reports._read_answers.cache_clear()
    neighbour_index._manifest_rows.cache_clear()
    neighbour_index._loaded.cache_clear()

import gc

# Python's own 700 has the collector look through everything that a start imports, again and again:
# a fifth of the time until a process serves.
gc.set_threshold(5_000)

# After the threshold, which is meant for this import and all that follow.
from cifarsite.celery import app as celery_app  # noqa: E402

__all__ = ["celery_app"]

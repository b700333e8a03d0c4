"""A job may be lost more often than three times without a new epoch."""

from cifarsite.settings import *  # noqa: F403

MAX_ATTEMPTS = 30

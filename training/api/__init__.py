"""The REST API's models and training jobs; who asks is settled by whoever mounts these routers.

What belongs to a project that a person may not see is not there for them.
"""

from training.api.jobs import training_jobs
from training.api.registry import models

__all__ = ["models", "training_jobs"]

"""Django admin of this app's tables; importing the package registers them."""

from training.admin import datasets, jobs, models, projects, promotions  # noqa: F401 - they register tables

from importlib import import_module

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class TrainingConfig(AppConfig):
    name = "training"
    verbose_name = _("models and training")

    def ready(self) -> None:
        from training import append_only, heartbeat  # noqa: F401  (connects Celery's signals)
        from training.engine.recipes import RECIPES

        for module in settings.EXTRA_RECIPES:
            recipe = import_module(module).RECIPE
            RECIPES[recipe.name] = recipe
        post_migrate.connect(append_only.forbid_changes, dispatch_uid="append_only")

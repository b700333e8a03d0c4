from collections.abc import Iterable
from importlib import import_module

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


def load_recipes(modules: Iterable[str]) -> None:
    """Offer the recipes of modules outside the project.

    Raises:
        ImproperlyConfigured: there is no such module, or it has no RECIPE.
    """
    from training.engine.recipes import RECIPES

    for module in modules:
        try:
            recipe = import_module(module).RECIPE
        except (ImportError, AttributeError) as error:
            raise ImproperlyConfigured(
                f"EXTRA_RECIPES names '{module}', expected Python modules with a RECIPE, separated by "
                f"commas ({error})."
            ) from error
        RECIPES[recipe.name] = recipe


class TrainingConfig(AppConfig):
    name = "training"
    verbose_name = _("models and training")

    def ready(self) -> None:
        from cifarsite.core import append_only
        from training import workers  # connects Celery's signals
        from training.jobs import ownership, run_folders
        from training.models.projects import make_default_project
        from training.projects.access import make_groups

        load_recipes(settings.EXTRA_RECIPES)
        workers.beside_heartbeat[ownership.CELERY_QUEUE] = run_folders.Hourly().expire_if_due
        post_migrate.connect(make_default_project, sender=self, dispatch_uid="default_project")
        post_migrate.connect(make_groups, sender=self, dispatch_uid="groups")
        post_migrate.connect(append_only.forbid_changes, dispatch_uid="append_only")

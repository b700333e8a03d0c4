from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TrainingConfig(AppConfig):
    name = "training"
    verbose_name = _("models and training")

    def ready(self) -> None:
        from training import heartbeat  # noqa: F401  (connects Celery's signals)

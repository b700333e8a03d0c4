from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ClassifierConfig(AppConfig):
    name = "classifier"
    verbose_name = _("photos and answers")

    def ready(self) -> None:
        from classifier import audit  # noqa: F401 (notes sign-ins that failed)

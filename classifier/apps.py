from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ClassifierConfig(AppConfig):
    name = "classifier"
    verbose_name = _("photos and predictions")

    def ready(self) -> None:
        from classifier.accounts import audit  # noqa: F401 (notes sign-ins that failed)
        from classifier.uploads import filenames

        filenames.install()

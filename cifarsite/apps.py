from django.contrib.admin.apps import AdminConfig

# Not in the package's __init__, as Celery advises: the supervisor would import Celery too, for a fifth of a
# second of each start.
from cifarsite.celery import app as celery_app

__all__ = ["GroupedAdminConfig", "celery_app"]


class GroupedAdminConfig(AdminConfig):
    """Django's admin with an index in groups; see ``cifarsite.admin``."""

    default_site = "cifarsite.admin.GroupedAdminSite"

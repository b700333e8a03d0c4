from django.contrib.admin.apps import AdminConfig


class GroupedAdminConfig(AdminConfig):
    """Django's admin with an index in groups; see ``cifarsite.admin``."""

    default_site = "cifarsite.admin.GroupedAdminSite"

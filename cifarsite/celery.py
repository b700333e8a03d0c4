"""The Celery app; names the Django apps, and nothing imports it but the workers."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cifarsite.settings")

app = Celery("cifarsite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

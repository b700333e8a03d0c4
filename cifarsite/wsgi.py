import gc
import os
from importlib import import_module

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application

from cifarsite.guard import PREPARED
from cifarsite.web.request_bodies import ReadToTheEnd, WithLength

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cifarsite.settings")

# Before gunicorn forks: its processes share what is loaded here, and no first visitor waits for it.
django.setup()
import_module(settings.ROOT_URLCONF)

# The supervisor starts this beside `manage.py prepare`, whose tables and static files the rest needs.
if pipe := os.environ.get(PREPARED):
    os.read(int(pipe), 1)

application = ReadToTheEnd(WithLength(get_wsgi_application()))
gc.collect()
gc.freeze()

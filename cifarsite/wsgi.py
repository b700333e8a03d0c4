import gc
import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from cifarsite.web.request_bodies import ReadToTheEnd, WithLength

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cifarsite.settings")

application = ReadToTheEnd(WithLength(get_wsgi_application()))

# Before gunicorn forks: its processes share what is loaded here, and no first visitor waits for it.
import_module(settings.ROOT_URLCONF)
gc.collect()
gc.freeze()

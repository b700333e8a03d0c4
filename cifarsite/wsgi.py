import ctypes
import gc
import os
import sys
from importlib import import_module

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application

from cifarsite.guard import PREPARED
from cifarsite.web.request_bodies import ReadToTheEnd, WithLength

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cifarsite.settings")

# glibc would give the threads up to 16 arenas, which fill by and by: 15 MB a process. Python's lock lets
# one thread run at a time, so that two are as fast. M_ARENA_MAX of malloc.h:
if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
    ctypes.CDLL(None).mallopt(-8, 2)

# Before gunicorn forks: its processes share what is loaded here, and no first visitor waits for it.
django.setup()
import_module(settings.ROOT_URLCONF)

# The supervisor starts this beside `manage.py prepare`, whose tables and static files the rest needs.
if pipe := os.environ.get(PREPARED):
    os.read(int(pipe), 1)

application = ReadToTheEnd(WithLength(get_wsgi_application()))
gc.collect()
gc.freeze()

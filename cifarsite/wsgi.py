import os

from django.core.wsgi import get_wsgi_application

from cifarsite.request_bodies import ReadToTheEnd

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cifarsite.settings")

application = ReadToTheEnd(get_wsgi_application())

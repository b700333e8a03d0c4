"""Where the API lies below ``/api/``."""

from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

from classifier.api.application import api
from classifier.api.reference import docs, no_such_address, reference

urlpatterns = [
    path("docs", docs, name="api-docs"),
    path("reference", reference, name="api-reference"),
    path("v1/", api.urls),
    re_path(r"^v1/", csrf_exempt(no_such_address)),
]

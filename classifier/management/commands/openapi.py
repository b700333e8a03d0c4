"""manage.py openapi: the API's schema as it is kept in docs/openapi.json."""

import json
from typing import Any

from django.core.management.base import BaseCommand

from classifier.api.application import api


class Command(BaseCommand):
    help = "Print the OpenAPI schema of the REST API: manage.py openapi > docs/openapi.json"

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(json.dumps(api.get_openapi_schema(), indent=1, ensure_ascii=False, default=str))

"""The OpenAPI schema: complete, kept in the repository, and shown without the network."""

import json
from typing import Any

from django.test import Client
from jsonschema_rs import Draft202012Validator

from cifarsite.test import SiteTestCase
from conftest import ROOT

SNAPSHOT = ROOT / "docs" / "openapi.json"
TOLD_HOW = "The API has changed: run 'manage.py openapi > docs/openapi.json' and look at the difference."


def schema() -> dict[str, Any]:
    found: dict[str, Any] = Client().get("/api/v1/openapi.json").json()
    return found


class SchemaTests(SiteTestCase):
    def test_it_is_the_one_in_the_repository(self) -> None:
        self.assertEqual(schema(), json.loads(SNAPSHOT.read_text()), TOLD_HOW)

    def test_it_describes_every_operation(self) -> None:
        ids = []
        for path, operations in schema()["paths"].items():
            for method, operation in operations.items():
                where = f"{method} {path}"
                ids.append(operation["operationId"])
                self.assertTrue(operation["summary"] and operation["description"], where)
                self.assertLessEqual({"401", "403", "429"}, set(operation["responses"]), where)
                for parameter in operation["parameters"]:
                    described = parameter["in"] == "path" or parameter.get("description")
                    self.assertTrue(described, f"{where} {parameter['name']}")
                    self.assertNotIsInstance(parameter.get("examples"), list, where)
                for status, response in operation["responses"].items():
                    if int(status) >= 400:
                        self.assertEqual(list(response["content"]), ["application/problem+json"], where)
                        self.assertTrue(response["content"]["application/problem+json"]["example"])
        self.assertEqual(len(ids), len(set(ids)))

    def test_it_gives_examples_that_fit(self) -> None:
        parts = schema()["components"]
        for name, shape in parts["schemas"].items():
            for member, details in shape.get("properties", {}).items():
                for example in details.get("examples", []):
                    validator = Draft202012Validator({**details, "components": parts})
                    self.assertTrue(validator.is_valid(example), f"{name}.{member}: {example}")

    def test_it_holds_the_addresses_of_the_contract(self) -> None:
        found = {f"{method.upper()} {path}" for path, o in schema()["paths"].items() for method in o}
        self.assertLessEqual(
            {
                "POST /api/v1/photos",
                "GET /api/v1/photos",
                "GET /api/v1/photos/{photo_id}",
                "DELETE /api/v1/photos/{photo_id}",
                "POST /api/v1/photos/{photo_id}/correction",
                "POST /api/v1/batches",
                "GET /api/v1/batches/{batch_id}",
                "GET /api/v1/batches/{batch_id}/results.csv",
                "GET /api/v1/batches/{batch_id}/results.jsonl",
                "POST /api/v1/batches/{batch_id}/cancel",
                "GET /api/v1/models",
                "GET /api/v1/models/champion",
                "GET /api/v1/models/{model_id}/report",
                "POST /api/v1/training-jobs",
                "GET /api/v1/training-jobs/{job_id}",
                "POST /api/v1/training-jobs/{job_id}/cancel",
                "POST /api/v1/training-jobs/{job_id}/stop",
                "POST /api/v1/training-jobs/{job_id}/resume",
                "POST /api/v1/models/{model_id}/promote",
                "POST /api/v1/models/rollback",
            },
            found,
        )


class ReferenceTests(SiteTestCase):
    def test_it_shows_every_operation(self) -> None:
        page = self.client.get("/api/reference")
        for path, operations in schema()["paths"].items():
            for method, operation in operations.items():
                self.assertContains(page, f'id="{operation["operationId"]}"')
                self.assertContains(page, f"{method.upper()} {path}")

    def test_it_needs_nothing_from_other_places(self) -> None:
        for address in ("/api/docs", "/api/reference"):
            page = self.client.get(address)
            self.assertEqual(page.status_code, 200)
            self.assertNotRegex(page.content.decode(), r'(src|href)="(https?:)?//')
            self.assertNotIn("unsafe", page.headers["Content-Security-Policy"])

"""A walk over the whole URLconf: owner, another person, strangers and staff, with every method.

What is expected of each URL stands in ``access_table``.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from cryptography.hazmat.primitives.asymmetric import ec
from django.apps import apps
from django.contrib import admin
from django.core.cache import cache as site_cache
from django.db import transaction
from django.test import Client, override_settings
from django.urls import URLPattern, get_resolver
from django.utils import timezone
from fido2.cose import ES256
from fido2.webauthn import (
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorAttestationResponse,
    AuthenticatorData,
    CollectedClientData,
    RegistrationResponse,
)

from cifarsite.test import PASSWORD, ApiTestCase, answer, image_bytes, image_file, make_user
from cifarsite.tests.access_table import HOW_TO, TABLE, Access, Who, access
from classifier.accounts.tokens import make_token
from classifier.feedback.corrections import correct, set_consent
from classifier.models import Explanation, Photo, Reclassification, User
from classifier.tests.uploads.archives import photos, zipped
from classifier.uploads import chunked
from classifier.uploads.batches import create_batch
from classifier.uploads.photos import upload_photo
from classifier.uploads.project_imports import import_archive
from training.jobs import cifar10_fetch, lifecycle
from training.projects.lifecycle import create
from training.registry.pretrained import install_pretrained
from training.tests.projects.drawings import add_images

METHODS = ("get", "head", "options", "post", "put", "patch", "delete")
NO_SUCH_METHOD = 405
# Made of CIFAR-10's images, which a machine may not have; and reads Alice's key, which is made up.
NOT_ALIVE_HERE = ("sheet.png", "data.png", "points.json", "webauthn/add/", "webauthn/reauthenticate/")
TABLE_ROUTE = re.compile(r"admin/(classifier|training|auth|admin|mfa|usersessions|account)/([a-z]+)/")
Expected = Callable[[str, Any], bool]
# A table that any request may write to: what was refused, how often somebody asked, who is there.
WRITTEN_ANYWAY = {"AuditEntry", "RateCount", "Session", "UserSession", "Worker"}


def routes(patterns: Any = None, prefix: str = "") -> Iterator[str]:
    """Every route of the site, as the URLconf spells it."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield route
        else:
            yield from routes(pattern.url_patterns, route)


@cache
def all_routes() -> list[str]:
    return list(dict.fromkeys(routes()))


def fill(route: str, values: dict[str, Any]) -> str:
    """The path that a route stands for, with these values."""
    path = re.sub(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)", lambda found: str(values[found[1]]), route)
    path = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: str(values[found[1]]), path)
    return "/" + path.replace("^", "").replace("$", "")


def security_key() -> dict[str, Any]:
    """What a browser sends of a new security key."""
    point = ES256.from_cryptography_key(ec.generate_private_key(ec.SECP256R1()).public_key())
    secret = AttestedCredentialData.create(bytes(16), bytes(16), point)
    flags = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.AT
    facts = AuthenticatorData.create(sha256(b"testserver").digest(), flags, 0, secret)
    asked = CollectedClientData.create(CollectedClientData.TYPE.CREATE, bytes(32), "http://testserver")
    made = AuthenticatorAttestationResponse(
        client_data=asked, attestation_object=AttestationObject.create("none", facts, {})
    )
    found: dict[str, Any] = json.loads(
        json.dumps(dict(RegistrationResponse(raw_id=bytes(16), response=made)), default=dict)
    )
    return found


def make_objects(owner: User, reviewed_person: User, requester: User) -> dict[str, Any]:
    """Objects: the word in own("...") and staff("...") of the table, and whose id it stands for."""
    photo, gone, reviewed = (
        upload_photo(person, cast("BinaryIO", image_file())) for person in (owner, owner, reviewed_person)
    )
    for stored in (photo, gone, reviewed):
        answer(stored)
    Photo.objects.filter(pk=gone.pk).update(deleted_at=timezone.now())
    set_consent(reviewed.owner, True)
    correct(reviewed, reviewed.owner, "dog")
    key = {"name": "key", "credential": security_key()}
    TOTP.activate(owner, generate_totp_secret())
    RecoveryCodes.activate(owner)
    Explanation.objects.create(
        prediction=photo.prediction,
        status=Explanation.Status.DONE,
        maps={"cat": [[1.0, 0.0], [0.0, -1.0]]},
        pictures=image_bytes("PNG"),
        has_pictures=True,
    )
    project = create("Fruit", class_names=["apple"])
    row = import_archive(project, zipped({"a/1.png": image_bytes("PNG")}), filename="a.zip", by=requester)
    return {
        "project": project.pk,
        "import": row.pk,
        "class": (label := project.classes.get()).pk,
        "image": add_images(project, label, range(1))[0].image.pk,  # type: ignore[union-attr]
        "photo": photo.pk,
        "answer": photo.prediction.pk,
        "deleted_photo": gone.pk,
        "reviewed_photo": reviewed.pk,
        "batch": create_batch(owner, zipped(photos(1)), filename="a.zip").pk,
        "upload": chunked.begin(owner, filename="a.zip", size=9, fingerprint="1").pk,
        "token": make_token(owner, scopes=["read"])[0].pk,
        "key": Authenticator.objects.create(user=owner, type="webauthn", data=key).pk,
        "model": (model := install_pretrained()[0]).pk,
        "reclassification": Reclassification.objects.create(model=model).pk,
        "fetch": cifar10_fetch.request_fetch(requester).pk,
        "job": lifecycle.request_training(recipe="fast_cnn", parameters={}, by=requester).pk,
    }


@override_settings(API_RATE_BURST=1_000_000, API_RATE_SUSTAINED=1_000_000, ACCOUNT_RATE_LIMITS=False)
class WalkTestCase(ApiTestCase):
    """Alice owns everything that has an owner; Dora lets her photo be reviewed."""

    root: User
    objects: dict[str, Any]

    @classmethod
    def setUpClass(cls) -> None:
        folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.enterClassContext(override_settings(MODELS_DIR=folder / "models"))
        super().setUpClass()

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.root = make_user("root", is_staff=True, is_superuser=True)
        cls.objects = make_objects(cls.alice, make_user("dora"), cls.charlie)

    def setUp(self) -> None:
        site_cache.clear()
        self.clients: dict[str, Client] = {}

    def client_of(self, name: str) -> Client:
        """Signed in, with the password given a moment ago so that nothing asks for it again."""
        if name not in self.clients:
            client = self.clients[name] = Client()
            if name:
                client.force_login(getattr(self, name))
                client.post("/accounts/reauthenticate/", {"password": PASSWORD})
        return self.clients[name]

    def path(self, route: str, rule: Access, **given: str) -> str:
        pk = self.objects.get(rule.what, "0")
        if rule.who is Who.ADMIN and (table := TABLE_ROUTE.match(route)):
            row = apps.get_model(table[1], table[2])._default_manager.first()
            pk = row.pk if row else "0"
        ids = dict.fromkeys(("pk", "id", "photo_id", "batch_id", "model_id", "job_id", "object_id"), pk)
        more = {name: self.objects.get(value, value) for name, value in rule.more.items()}
        others = {"content_type_id": "1", "app_label": "classifier", "url": "nothing"}
        return fill(route, {**ids, **others, **more, **given})

    def ask(
        self,
        name: str,
        method: str,
        path: str,
        *,
        json: Any = None,
        form: dict[str, Any] | None = None,
        by_token: bool = False,
    ) -> Any:
        """Ask as somebody, and undo what came of it."""
        headers, client = {}, self.client_of(name)
        if by_token:
            client, headers = Client(), {"Authorization": f"Bearer {self.tokens[name]}"}
        sent: dict[str, Any] = {"data": form} if form else {}
        if json and method == "post":
            sent = {"data": json, "content_type": "application/json"}
        cookies = copy.deepcopy(client.cookies)
        with transaction.atomic():
            response = getattr(client, method)(path, headers=headers, **sent)
            if response.streaming:
                response.getvalue()
            transaction.set_rollback(True)
        client.cookies = cookies
        return response

    def walk(self, name: str, kinds: set[Who], expected: Expected, *, by_token: bool = False) -> None:
        """Ask for every URL of these kinds by every method; name each answer that is not as expected."""
        wrong = []
        for route in all_routes():
            rule = access(route)
            if rule is None or rule.who not in kinds or (by_token and not route.startswith("api/v1/")):
                continue
            path = self.path(route, rule)
            for method in METHODS if rule.who is not Who.ADMIN else ("get", "post"):
                response = self.ask(name, method, path, json=rule.json, by_token=by_token)
                if method == "options" and not response.content:
                    continue  # says which methods there are, and nothing else
                fault = response.status_code >= 500 and path != "/readyz"
                if fault or not (response.status_code == NO_SUCH_METHOD or expected(path, response)):
                    wrong.append(f"{method.upper()} {path}: {response.status_code}")
        self.assertFalse(wrong, f"as {name or 'a stranger'}")

    def state(self) -> dict[str, str]:
        """A digest of each table, to see that nothing changed."""
        for name in ("bob", "charlie"):
            self.client_of(name)  # signing in is a change of its own
        return {
            model._meta.label: hashlib.sha256(
                repr(list(model._default_manager.order_by("pk").values_list())).encode()
            ).hexdigest()
            for model in apps.get_models()
            if model.__name__ not in WRITTEN_ANYWAY
        }


class WalkTests(WalkTestCase):
    def test_every_url_is_classified(self) -> None:
        for route in all_routes():
            self.assertIsNotNone(access(route), HOW_TO.format(route=route))

    def test_the_table_names_no_url_that_is_gone(self) -> None:
        gone = sorted(set(TABLE) - set(all_routes()))
        self.assertFalse(gone, f"Take these lines out of access_table.py: {gone}")

    def test_strangers_are_sent_to_sign_in_and_change_nothing(self) -> None:
        def turned_away(path: str, response: Any) -> bool:
            if path.startswith("/api/v1/"):
                return bool(response.status_code == 401)
            to = response.headers.get("Location", "")
            # Signing out of nothing leads to where one would be asked to sign in.
            start = r"/(accounts|admin)/login/|/admin/$" if "logout" in path else r"/(accounts|admin)/login/"
            return response.status_code == 302 and bool(re.match(start, to))

        before = self.state()
        self.walk("", {Who.SIGNED_IN, Who.OWNER, Who.STAFF, Who.ADMIN}, turned_away)
        self.assertEqual(before, self.state())

    def test_what_is_for_anyone_signs_nobody_in(self) -> None:
        def outside(path: str, response: Any) -> bool:
            return response.status_code != 401 and "_auth_user_id" not in self.client_of("").session

        self.walk("", {Who.ANYONE, Who.SIGNING_IN}, outside)

    def test_what_is_anothers_does_not_exist(self) -> None:
        before = self.state()
        for name in ("bob", "charlie"):
            self.walk(name, {Who.OWNER}, lambda path, response: response.status_code == 404)
        self.assertEqual(before, self.state())

    def test_what_is_anothers_does_not_exist_for_a_token_either(self) -> None:
        for name in ("bob", "charlie"):
            self.walk(name, {Who.OWNER}, lambda path, answer: answer.status_code == 404, by_token=True)

    def test_what_is_staffs_is_forbidden_to_others_and_no_row_appears(self) -> None:
        before = self.state()
        self.walk("bob", {Who.STAFF}, lambda path, response: response.status_code == 403)
        self.walk("bob", {Who.ADMIN}, lambda path, response: response.status_code in (302, 403, 404))
        self.walk("bob", {Who.STAFF}, lambda path, answer: answer.status_code == 403, by_token=True)
        self.assertEqual(before, self.state())

    def test_staff_without_permissions_gets_no_table_of_the_administration(self) -> None:
        for_all_staff = re.compile(r"/admin/(|login/|logout/|password_change/.*|jsi18n/|classifier/)$")

        def closed(path: str, response: Any) -> bool:
            return response.status_code in (302, 403, 404) or bool(for_all_staff.match(path))

        before = self.state()
        self.walk("charlie", {Who.ADMIN}, closed)
        self.assertEqual(before, self.state())

    @pytest.mark.slow
    def test_no_url_is_an_error_for_an_administrator(self) -> None:
        self.walk("root", {Who.ADMIN, Who.STAFF}, lambda path, response: response.status_code < 500)
        for model in admin.site._registry:
            url = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            self.assertEqual(self.ask("root", "get", url).status_code, 200, url)

    def test_the_owner_gets_in(self) -> None:
        self.assert_alive("alice", {Who.OWNER, Who.SIGNED_IN})

    def test_staff_get_into_what_is_theirs(self) -> None:
        self.assert_alive("charlie", {Who.STAFF})

    def assert_alive(self, name: str, kinds: set[Who]) -> None:
        """One method at least does something: a mistake in the table would prove nothing."""
        for route in all_routes():
            rule = access(route)
            if rule is None or rule.who not in kinds or route.endswith(NOT_ALIVE_HERE):
                continue
            path = self.path(route, rule)
            found = [
                self.ask(name, method, path, json=rule.json).status_code
                for method in ("get", "post", "delete")
            ]
            alive = [status for status in found if status not in (401, 403, 404, NO_SUCH_METHOD)]
            self.assertTrue(alive, f"{path} answers {name} with {found}: is the right object in its line?")
            self.assertLess(max(found), 500, path)

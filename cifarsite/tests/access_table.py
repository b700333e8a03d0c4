"""Who may use which URL: one line a URL, and ``test_who_gets_in`` holds the site to it.

A new URL needs a line here, or the test fails. The routes are written as in the URLconf.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Who(StrEnum):
    ANYONE = "anyone"
    # Part of signing in itself: it opens nothing, and leads elsewhere without a sign-in under way.
    SIGNING_IN = "signing in"
    SIGNED_IN = "everybody who is signed in, about themselves"
    OWNER = "the owner of the object alone; for others it does not exist"
    STAFF = "staff"
    ADMIN = "the administration: staff, and what their permissions say"


@dataclass(frozen=True)
class Access:
    """Who, and what a proper request looks like.

    Attributes:
        what: whose id is in the URL, a word of ``Objects`` in ``test_who_gets_in``.
        more: what else the route wants.
        json: the body of a proper request to the API.
    """

    who: Who
    what: str = ""
    more: dict[str, str] = field(default_factory=dict)
    json: dict[str, Any] = field(default_factory=dict)


def anyone(what: str = "", json: dict[str, Any] | None = None, **more: str) -> Access:
    """No sign-in needed."""
    return Access(Who.ANYONE, what, more, json or {})


def signed_in(what: str = "", json: dict[str, Any] | None = None, **more: str) -> Access:
    """A sign-in is needed, and each sees and changes only what is their own."""
    return Access(Who.SIGNED_IN, what, more, json or {})


def own(what: str, json: dict[str, Any] | None = None, **more: str) -> Access:
    """``what`` (photo, batch, token, key) belongs to a person: 404 for everybody else, staff too."""
    return Access(Who.OWNER, what, more, json or {})


def staff(what: str = "", json: dict[str, Any] | None = None, **more: str) -> Access:
    """403 for people who are not staff, and nothing happens."""
    return Access(Who.STAFF, what, more, json or {})


SIGNING_IN = Access(Who.SIGNING_IN)

PAGES: dict[str, Access] = {
    "": anyone(),
    "photos/<uuid:pk>/": own("photo"),
    "photos/<uuid:pk>/status/": own("photo"),
    "photos/<uuid:pk>/image/": own("photo"),
    "photos/<uuid:pk>/thumbnail/": own("photo"),
    "photos/<uuid:pk>/input/": own("photo"),
    "photos/<uuid:pk>/ask/": own("photo"),
    "photos/<uuid:pk>/inputs/<int:number>/": own("photo", number="answer"),
    "photos/<uuid:pk>/why/": own("photo"),
    "photos/<uuid:pk>/why/<int:number>/heat/": own("photo", number="3"),
    "photos/<uuid:pk>/why/nearest/": own("photo"),
    "photos/<uuid:pk>/delete/": own("photo"),
    "photos/<uuid:pk>/restore/": own("deleted_photo"),
    "photos/<uuid:pk>/correct/": own("photo"),
    "history/": signed_in(),
    "history/delete/": signed_in(),
    "history/restore/": signed_in(),
    "history/export.csv": signed_in(),
    "history/export.jsonl": signed_in(),
    "history/export.json": signed_in(),
    "history/export.zip": signed_in(),
    "history/calendar/": signed_in(),
    "batches/": signed_in(),
    "batches/uploads/": signed_in(),
    "batches/uploads/<uuid:pk>/": own("upload"),
    "batches/uploads/<uuid:pk>/finish/": own("upload"),
    "batches/<uuid:pk>/": own("batch"),
    "batches/<uuid:pk>/status/": own("batch"),
    "batches/<uuid:pk>/results.csv": own("batch"),
    "batches/<uuid:pk>/results.jsonl": own("batch"),
    "batches/<uuid:pk>/pause/": own("batch"),
    "batches/<uuid:pk>/resume/": own("batch"),
    "batches/<uuid:pk>/cancel/": own("batch"),
    "batches/<uuid:pk>/retry/": own("batch"),
    "review/": staff(),
    "review/skipped/": staff(),
    "review/<uuid:pk>/": staff("reviewed_photo"),
    "datasets/": staff(),
    "drift/": staff(),
    "reclassifications/": staff(),
    "reclassifications/<int:pk>/": staff("reclassification"),
    "reclassifications/<int:pk>/cancel/": staff("reclassification"),
    "account/": signed_in(),
    "account/numbers/": signed_in(),
    "account/export/": signed_in(),
    "account/time-zone/": signed_in(),
    "account/delete/": signed_in(),
    "account/consent/": signed_in(),
    "account/webhook/": signed_in(),
    "account/tokens/": signed_in(),
    "account/tokens/<int:pk>/revoke/": own("token"),
    "privacy/": anyone(),
    "language/": anyone(),
    "i18n/setlang/": anyone(),
    "health/": staff(),
    "health/live/": staff(),
    "healthz": anyone(),
    "readyz": anyone(),
    # Absent without METRICS_TOKEN, and asks for that token; see classifier/tests/monitoring/test_metrics.py.
    "metrics": anyone(),
    "manifest.webmanifest": anyone(),
}

MODELS_AND_TRAINING: dict[str, Access] = {
    "verdicts/": anyone(),
    "models/": signed_in(),
    "models/rollback/": staff(),
    "models/<int:pk>/": signed_in("model"),
    "models/<int:pk>/curve.json": signed_in("model"),
    "models/<int:pk>/download/": staff("model"),
    "models/<int:pk>/notes/": staff("model"),
    "models/<int:pk>/promote/": staff("model"),
    "models/<int:pk>/shadow/": staff("model"),
    "models/<int:pk>/shadow/start/": staff("model"),
    "models/<int:pk>/shadow/end/": staff("model"),
    "models/<int:pk>/report/": signed_in("model"),
    "models/<int:pk>/report/<slug:part>/": signed_in("model", part="classes"),
    "models/<int:pk>/report/images/": signed_in("model"),
    "models/<int:pk>/report/images/<int:row>/": signed_in("model", row="0"),
    "models/<int:pk>/report/sheet.png": signed_in("model"),
    "models/<int:pk>/report/data.png": signed_in("model"),
    "models/<int:pk>/report/points.json": signed_in("model"),
    "models/<int:pk>/report/report.json": signed_in("model"),
    "models/<int:pk>/report/predictions.csv": signed_in("model"),
    "models/<int:pk>/report/card.md": signed_in("model"),
    "models/<int:pk>/report/figures/<slug:name>.svg": signed_in("model", name="reliability"),
    "models/<int:pk>/compare/": signed_in("model"),
    "models/<int:pk>/compare/<int:other>/": signed_in("model", other="1"),
    "projects/": signed_in(),
    "projects/<slug:slug>/": signed_in(slug="project"),
    "projects/<slug:slug>/change/": staff(slug="project"),
    "projects/<slug:slug>/delete/": staff(slug="project"),
    "projects/<slug:slug>/classes/": staff(slug="project"),
    "projects/<slug:slug>/classes/<int:pk>/": staff("class", slug="project"),
    "projects/<slug:slug>/images/": staff(slug="project"),
    "projects/<slug:slug>/images/<uuid:pk>/": staff("image", slug="project"),
    "projects/<slug:slug>/import/": staff(slug="project"),
    "projects/<slug:slug>/imports/<uuid:pk>/": staff("import", slug="project"),
    "projects/<slug:slug>/imports/<uuid:pk>/live/": staff("import", slug="project"),
    "projects/<slug:slug>/imports/<uuid:pk>/cancel/": staff("import", slug="project"),
    "training/": staff(),
    "training/schedule/": staff(),
    "training/cifar10/": staff(),
    "training/cifar10/live/": staff(),
    "training/cifar10/<int:pk>/cancel/": staff("fetch"),
    "training/<int:pk>/": staff("job"),
    "training/<int:pk>/live/": staff("job"),
    "training/<int:pk>/epochs.json": staff("job"),
    "training/<int:pk>/history.json": staff("job"),
    "^training/(?P<pk>[0-9]{1,18})/(?P<verb>cancel|stop|resume|retry)/$": staff("job", verb="cancel"),
}

API: dict[str, Access] = {
    "api/docs": anyone(),
    "api/reference": anyone(),
    "api/v1/openapi.json": anyone(),
    "api/v1/": anyone(),
    "api/^v1/": anyone(),
    "api/v1/photos": signed_in(),
    "api/v1/photos/delete": signed_in(json={"ids": ["6d7a2e0c-8f0b-4f3c-9d1c-0f1f6a9f0c11"]}),
    "api/v1/photos/<uuidstr:photo_id>": own("photo"),
    "api/v1/photos/<uuidstr:photo_id>/image": own("photo"),
    "api/v1/photos/<uuidstr:photo_id>/input": own("photo"),
    "api/v1/photos/<uuidstr:photo_id>/predictions": own("photo", json={"crop": None}),
    "api/v1/photos/<uuidstr:photo_id>/correction": own("photo", json={"label": "cat"}),
    "api/v1/batches": signed_in(),
    "api/v1/batches/<uuidstr:batch_id>": own("batch"),
    "api/v1/batches/<uuidstr:batch_id>/cancel": own("batch"),
    "api/v1/batches/<uuidstr:batch_id>/results.csv": own("batch"),
    "api/v1/batches/<uuidstr:batch_id>/results.jsonl": own("batch"),
    "api/v1/models": signed_in(),
    "api/v1/models/champion": signed_in(),
    "api/v1/models/<int:model_id>/report": signed_in("model"),
    "api/v1/models/<int:model_id>/promote": staff("model", json={"reason": "Better."}),
    "api/v1/models/<int:model_id>/file": staff("model"),
    "api/v1/recipes": signed_in(),
    "api/v1/datasets": staff(),
    "api/v1/models/rollback": staff(json={"reason": "Worse."}),
    "api/v1/projects": signed_in(),
    "api/v1/projects/<slug>": signed_in(slug="project"),
    "api/v1/projects/<slug>/images": staff(slug="project"),
    "api/v1/projects/<slug>/imports/<uuidstr:import_id>": staff(slug="project", import_id="import"),
    "api/v1/projects/<slug>/imports/<uuidstr:import_id>/cancel": staff(slug="project", import_id="import"),
    "api/v1/training-jobs": staff(json={"recipe": "fast_cnn"}),
    "api/v1/training-jobs/<int:job_id>": staff("job"),
    "api/v1/training-jobs/<int:job_id>/events": staff("job"),
    "api/v1/training-jobs/<int:job_id>/log": staff("job"),
    "api/v1/training-jobs/<int:job_id>/cancel": staff("job"),
    "api/v1/training-jobs/<int:job_id>/stop": staff("job"),
    "api/v1/training-jobs/<int:job_id>/resume": staff("job"),
}

ACCOUNTS: dict[str, Access] = {
    "accounts/login/": SIGNING_IN,
    "accounts/logout/": SIGNING_IN,
    "accounts/inactive/": anyone(),
    "accounts/signup/": SIGNING_IN,
    "accounts/reauthenticate/": signed_in(),
    "accounts/email/": signed_in(),
    "accounts/confirm-email/": SIGNING_IN,
    "accounts/password/change/": signed_in(),
    "accounts/password/set/": signed_in(),
    "accounts/password/reset/": SIGNING_IN,
    "accounts/login/code/confirm/": SIGNING_IN,
    "accounts/^confirm-email/(?P<key>[-:\\w]+)/$": Access(Who.SIGNING_IN, more={"key": "abc"}),
    "accounts/password/reset/key/done/": SIGNING_IN,
    "accounts/^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$": Access(
        Who.SIGNING_IN, more={"uidb36": "1", "key": "abc"}
    ),
    "accounts/password/reset/done/": SIGNING_IN,
    "accounts/2fa/": signed_in(),
    "accounts/2fa/authenticate/": SIGNING_IN,
    "accounts/2fa/reauthenticate/": signed_in(),
    "accounts/2fa/totp/activate/": signed_in(),
    "accounts/2fa/totp/deactivate/": signed_in(),
    "accounts/2fa/recovery-codes/": signed_in(),
    "accounts/2fa/recovery-codes/generate/": signed_in(),
    "accounts/2fa/recovery-codes/download/": signed_in(),
    "accounts/2fa/webauthn/": signed_in(),
    "accounts/2fa/webauthn/add/": signed_in(),
    "accounts/2fa/webauthn/reauthenticate/": signed_in(),
    "accounts/2fa/webauthn/keys/<int:pk>/remove/": own("key"),
    "accounts/2fa/webauthn/keys/<int:pk>/edit/": own("key"),
    "accounts/2fa/webauthn/login/": SIGNING_IN,
    "accounts/sessions/": signed_in(),
    "accounts/oidc/<slug:provider_id>/login/": Access(Who.SIGNING_IN, more={"provider_id": "acme"}),
    "accounts/oidc/<slug:provider_id>/login/callback/": Access(Who.SIGNING_IN, more={"provider_id": "acme"}),
    # django-allauth's own, which the two above come before.
    "accounts/oidc/^(?P<provider_id>[^/]+)/login/": Access(Who.SIGNING_IN, more={"provider_id": "acme"}),
    "accounts/oidc/^(?P<provider_id>[^/]+)/login/callback/": Access(
        Who.SIGNING_IN, more={"provider_id": "acme"}
    ),
    "accounts/3rdparty/": signed_in(),
    "accounts/3rdparty/signup/": SIGNING_IN,
    "accounts/3rdparty/login/cancelled/": anyone(),
    "accounts/3rdparty/login/error/": anyone(),
    "accounts/social/login/cancelled/": anyone(),
    "accounts/social/login/error/": anyone(),
    "accounts/social/signup/": anyone(),
    "accounts/social/connections/": anyone(),
}

TABLE = PAGES | MODELS_AND_TRAINING | API | ACCOUNTS
# All that begins so is the administration's, which checks each table's own permissions.
ADMIN = "admin/"


def access(route: str) -> Access | None:
    return Access(Who.ADMIN) if route.startswith(ADMIN) else TABLE.get(route)


HOW_TO = """
{route!r} stands in the URLconf, and cifarsite/tests/access_table.py does not say who may use it.
Add one line to its table, for instance one of these:
    {route!r}: own("photo"),    # belongs to a person: 404 for others, 302 or 401 for strangers
    {route!r}: staff(),         # 403 for people who are not staff
    {route!r}: signed_in(),     # about oneself: 302 or 401 for strangers
    {route!r}: anyone(),        # really for everybody
The word in own("...") or staff("...") is one of those in Objects of test_who_gets_in.py.
"""

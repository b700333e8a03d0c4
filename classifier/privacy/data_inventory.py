"""Which rows and files belong to a person: what an export holds, and what outlives an account.

A table that points to a person and is not named here fails ``test_personal_data``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db.models import QuerySet

from classifier.models import User


@dataclass(frozen=True)
class Link:
    """How the rows of one table belong to a person.

    Attributes:
        export: the name of their file in an export; empty: ``reason`` says why they are in none.
        columns: what of each row; never a secret, such as a token's hash.
        stays: why the row outlives the account, without the person; empty: it goes.
    """

    export: str
    columns: tuple[str, ...] = ()
    stays: str = ""
    reason: str = ""


PROMOTION_HISTORY = "What was decided about a model stays, without who decided it."
# app.Model: {the way from a row to its person: how it belongs to them}
LINKS: dict[str, dict[str, Link]] = {
    "classifier.Photo": {
        "owner": Link(
            "photos",
            (
                *(
                    "id",
                    "project",
                    "filename",
                    "width",
                    "height",
                    "size",
                    "pixel_sha256",
                    "brightness",
                    "contrast",
                ),
                *("sharpness", "damaged", "created_at", "deleted_at"),
            ),
        )
    },
    "classifier.Prediction": {
        "owner": Link(
            "predictions",
            (
                *(
                    "id",
                    "photo",
                    "project",
                    "crop",
                    "is_current",
                    "status",
                    "model__name",
                    "preprocessing",
                    "label",
                ),
                *("confidence", "verdict", "probabilities", "provenance", "created_at", "finished_at"),
                "user_feedback",
                *("input_sha256", "seconds", "error_code", "error_detail"),
            ),
        )
    },
    "classifier.Explanation": {
        "prediction__owner": Link(
            "explanations",
            (
                *("prediction", "status", "maps", "neighbours", "nearest", "typical", "seconds"),
                *("created_at", "finished_at", "error_detail"),
            ),
        )
    },
    "classifier.Correction": {
        "by": Link(
            "corrections", ("photo", "label", "predicted", "confidence", "state", "created_at", "changed_at")
        ),
        "reviewed_by": Link(
            "reviews", ("photo", "label", "state", "reviewed_at"), stays="It is another person's answer."
        ),
        "photo__owner": Link("", reason="What others said of the photo is theirs; it goes with the photo."),
    },
    "classifier.Example": {
        "photo__owner": Link("accepted_examples", ("photo", "label", "sha256", "accepted_at")),
        "accepted_by": Link(
            "accepted_by_me", ("photo", "label", "accepted_at"), stays="It is another person's photo."
        ),
    },
    "classifier.Consent": {"user": Link("consent", ("given", "changed_at"))},
    "classifier.Batch": {
        "owner": Link(
            "batches",
            (
                "id",
                "project",
                "filename",
                "sha256",
                "size",
                "state",
                "truth",
                "created_at",
                "paused_at",
                "finished_at",
                "webhook_url",
                "webhook_state",
                "webhook_tries",
                "webhook_said",
                "webhook_next_at",
            ),
        )
    },
    "classifier.BatchItem": {
        "batch__owner": Link(
            "batch_entries",
            ("batch", "number", "name", "truth", "status", "size", "photo", "error_code", "error_detail"),
        )
    },
    "classifier.ArchiveUpload": {
        "owner": Link("unfinished_uploads", ("id", "project", "filename", "size", "received", "changed_at"))
    },
    "classifier.ArchivePart": {
        "upload__owner": Link(
            "", reason="Bytes of an archive that is not all there: its uploads' rows say so."
        )
    },
    "classifier.DayCount": {"owner": Link("", reason="Counts of the photos, which are there themselves.")},
    "classifier.NameWord": {"owner": Link("", reason="Words of file names, which are there themselves.")},
    "classifier.ApiToken": {
        "owner": Link(
            "api_tokens",
            ("name", "prefix", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at"),
        )
    },
    "classifier.WebhookAddress": {"owner": Link("webhook", ("url", "changed_at"))},
    "classifier.IdempotentRequest": {"owner": Link("repeated_requests", ("key", "status", "created_at"))},
    "classifier.AuditEntry": {
        "by": Link(
            "audit_log",
            ("created_at", "kind", "address", "detail"),
            stays="What happened stays accountable; name and address are taken out.",
        )
    },
    "training.TrainingJob": {
        "requested_by": Link(
            "training_jobs", ("id", "recipe", "parameters", "state", "created_at"), stays=PROMOTION_HISTORY
        )
    },
    "training.JobEvent": {
        "by": Link("training_events", ("job", "what", "detail", "at"), stays=PROMOTION_HISTORY)
    },
    "training.Promotion": {
        "by": Link(
            "promotions", ("action", "promoted__name", "reason", "created_at"), stays=PROMOTION_HISTORY
        )
    },
    "training.Refusal": {
        "by": Link(
            "refused_promotions", ("model__name", "reason", "detail", "created_at"), stays=PROMOTION_HISTORY
        )
    },
    "classifier.Shadow": {
        "started_by": Link("shadows", ("model__name", "started_at", "ended_at"), stays=PROMOTION_HISTORY)
    },
    "classifier.ShadowAnswer": {
        "prediction__owner": Link(
            "challengers_answers",
            ("shadow", "prediction", "status", "live", "said", "confidence", "agrees", "finished_at"),
        )
    },
    "classifier.Reclassification": {
        "started_by": Link(
            "reclassifications", ("model__name", "state", "created_at"), stays=PROMOTION_HISTORY
        )
    },
    "classifier.ReclassificationItem": {
        "prediction__owner": Link(
            "renewed_answers", ("reclassification", "prediction", "before", "after", "changed")
        )
    },
    "training.DatasetVersion": {
        "created_by": Link("dataset_versions", ("name", "sha256", "created_at"), stays=PROMOTION_HISTORY)
    },
    "training.Project": {
        "created_by": Link(
            "projects_made", ("slug", "name", "created_at"), stays="A project stays, without who made it."
        )
    },
    "training.Project_members": {"user": Link("project_memberships", ("project",))},
    "training.Cifar10Fetch": {
        "requested_by": Link(
            "downloads_of_cifar10",
            ("id", "status", "created_at"),
            stays="What was downloaded stays, without who asked for it.",
        )
    },
    "training.ProjectImport": {
        "requested_by": Link(
            "imports_of_images",
            ("id", "project", "filename", "state", "created_at"),
            stays="Images of a project stay, without who imported them.",
        )
    },
    "admin.LogEntry": {
        "user": Link("administration", ("action_time", "object_repr", "action_flag", "change_message"))
    },
    "account.EmailAddress": {"user": Link("emails", ("email", "verified", "primary"))},
    "account.EmailConfirmation": {
        "email_address__user": Link("", reason="A key that confirms an address once: a secret.")
    },
    "mfa.Authenticator": {"user": Link("second_factors", ("type", "created_at", "last_used_at"))},
    "socialaccount.SocialAccount": {
        "user": Link("organisations", ("provider", "uid", "extra_data", "date_joined", "last_login"))
    },
    "socialaccount.SocialToken": {
        "account__user": Link("", reason="The site keeps no keys of other sites: the table is empty.")
    },
    "usersessions.UserSession": {
        "user": Link("sessions", ("created_at", "last_seen_at", "ip", "user_agent"))
    },
    "classifier.User_groups": {"user": Link("groups", ("group__name",))},
    "classifier.User_user_permissions": {"user": Link("permissions", ("permission__codename",))},
}


def links() -> Iterator[tuple[type[Any], str, Link]]:
    """(table, the way to the person, how it belongs to them)."""
    for label, ways in LINKS.items():
        for way, link in ways.items():
            yield apps.get_model(label), way, link


def rows_of(user: User, model: type[Any], way: str) -> QuerySet[Any]:
    rows: QuerySet[Any] = model._default_manager.filter(**{way: user}).order_by("pk")
    return rows


def exported(user: User) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    """(name of the file, its rows as plain values)."""
    for model, way, link in links():
        if link.export:
            rows = rows_of(user, model, way).values(*link.columns).iterator(chunk_size=500)
            yield link.export, map(_plain, rows)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    kept = (str, int, float, bool, list, dict, type(None))
    return {
        name.replace("__", "_"): value if isinstance(value, kept) else str(value)
        for name, value in row.items()
    }

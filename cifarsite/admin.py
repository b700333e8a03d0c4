"""The admin's index and sidebar: tables in groups by purpose instead of by app."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

# Group, and its tables in this order. Tables of class ``Internal`` are for superusers alone.
GROUPS = {
    _("Photos and predictions"): (
        "classifier.Photo",
        "classifier.Prediction",
        "classifier.Explanation",
    ),
    _("Batches"): (
        "classifier.Batch",
        "classifier.BatchItem",
    ),
    _("Corrections"): (
        "classifier.Correction",
        "classifier.Example",
        "classifier.Consent",
    ),
    _("Projects"): (
        "training.Project",
        "training.ProjectClass",
        "training.ProjectImport",
    ),
    _("Models"): (
        "training.ModelVersion",
        "training.Promotion",
        "training.Refusal",
        "training.EvaluationReport",
        "training.EvaluationSet",
    ),
    _("Training"): (
        "training.TrainingJob",
        "training.Schedule",
        "training.DatasetVersion",
        "training.DatasetImage",
        "training.Cifar10Fetch",
    ),
    _("Monitoring"): (
        "training.Worker",
        "classifier.DriftAlert",
        "classifier.Shadow",
        "classifier.Reclassification",
    ),
    _("People"): (
        "classifier.User",
        "account.EmailAddress",
        "mfa.Authenticator",
        "socialaccount.SocialAccount",
        "usersessions.UserSession",
        "classifier.ApiToken",
        "auth.Group",
        "classifier.AuditEntry",
        "admin.LogEntry",
    ),
    _("Internals"): (
        "training.ProjectImage",
        "training.RemovedFile",
        "training.Epoch",
        "training.JobEvent",
        "training.MeasuredPhoto",
        "training.EmbeddingIndex",
        "classifier.ArchiveUpload",
        "classifier.ArchivePart",
        "classifier.ShadowAnswer",
        "classifier.ReclassificationItem",
        "classifier.DriftDay",
        "classifier.DayCount",
        "classifier.NameWord",
        "classifier.WebhookAddress",
        "classifier.IdempotentRequest",
        "classifier.RateCount",
        "classifier.Mail",
    ),
}


class GroupedAdminSite(admin.AdminSite):
    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        if app_label:
            return super().get_app_list(request, app_label)
        # Not super(): each page would translate and sort all tables' names, for an order that is not used.
        apps = self._build_app_dict(request).values()
        visible = {table["model"]._meta.label: table for app in apps for table in app["models"]}
        groups = []
        for number, (name, labels) in enumerate(GROUPS.items()):
            if tables := [visible[label] for label in labels if label in visible]:
                key = f"group-{number}"
                first = f"{key}-{tables[0]['object_name'].lower()}"  # its id in Django's template
                url = f"{reverse('admin:index', current_app=self.name)}#{first}"
                groups.append({"name": name, "app_label": key, "app_url": url, "models": tables})
        return groups

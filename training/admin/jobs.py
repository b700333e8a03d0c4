"""The admin's tables of training jobs: ask for one, steer it, read what it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Count, OuterRef, Prefetch, QuerySet, Subquery
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from training.admin.base import (
    Internal,
    LargeTableAdmin,
    NoAddOrChange,
    ReadOnly,
    TabularInline,
    coloured,
    link,
    linked,
)
from training.admin.recipe_form import RecipeFilter, RecipeForm
from training.jobs import lifecycle
from training.models import Epoch, JobEvent, ModelVersion, Schedule, TrainingJob

Answer = TemplateResponse | None


class EventInline(ReadOnly, TabularInline):
    model = JobEvent
    fields = readonly_fields = ("at", "what", "detail", "by")

    def get_queryset(self, request: HttpRequest) -> QuerySet[JobEvent]:
        return super().get_queryset(request).select_related("by")


class EpochInline(ReadOnly, TabularInline):
    model = Epoch
    ordering = ["number"]
    fields = readonly_fields = (
        "number",
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "learning_rate",
        "seconds",
        "images_per_second",
    )


@admin.register(TrainingJob)
class TrainingJobAdmin(NoAddOrChange, LargeTableAdmin):
    form = RecipeForm
    autocomplete_fields = ("dataset",)
    actions = ("cancel_selected", "stop_selected", "resume_selected", "retry_selected")
    list_display = (
        "id",
        "project",
        "recipe",
        "coloured_state",
        "epochs_done",
        "requester",
        "created_at",
        "started_at",
        "finished_at",
        "made",
    )
    list_display_links = ("id", "recipe")
    list_filter = ("state", RecipeFilter, "project", "created_at")
    date_hierarchy = "created_at"
    list_select_related = ("requested_by", "project")
    search_fields = ("recipe__startswith", "requested_by__username__exact")
    search_help_text = gettext_lazy("A job's number, a recipe, or the user name of who asked for it.")
    view_on_site = True
    inlines = (EventInline, EpochInline)
    add_fieldsets = ((None, {"fields": ("project", "recipe", "parameters", "dataset", "webhook_url")}),)
    fieldsets = (
        (None, {"fields": ("project", "recipe", "parameters", "dataset", "coloured_state", "made")}),
        (gettext_lazy("Requested"), {"fields": ("requested_by", "created_at")}),
        (
            gettext_lazy("Run"),
            {
                "fields": (
                    "started_at",
                    "finished_at",
                    "progress",
                    "attempt",
                    "worker",
                    "lease_expires_at",
                    "cancel_requested",
                    "stop_requested",
                )
            },
        ),
        (gettext_lazy("Error"), {"fields": ("error_code", "error_detail", "trace")}),
        (
            gettext_lazy("Webhook"),
            {"fields": ("webhook_url", "webhook_state", "webhook_tries", "webhook_next_at", "webhook_said")},
        ),
    )
    readonly_fields = ("coloured_state", "made", "progress", "trace")

    def get_queryset(self, request: HttpRequest) -> QuerySet[TrainingJob]:
        models = Prefetch("models", ModelVersion.objects.only("name", "job"))
        epochs = Epoch.objects.filter(job=OuterRef("pk")).order_by().values("job")
        rows: QuerySet[TrainingJob] = super().get_queryset(request)
        rows = rows.defer("traceback", "live").prefetch_related(models)
        return rows.annotate(epoch_count=Subquery(epochs.annotate(n=Count("pk")).values("n")))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("training.add_trainingjob")

    def has_steer_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("training.change_trainingjob")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else self.add_fieldsets

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj else ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"recipe": "fast_cnn", **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: TrainingJob, form: Any, change: bool) -> None:
        """Ask for the run as the site's own form does; the row is made there."""
        assert isinstance(request.user, AbstractBaseUser)
        job = lifecycle.request_training(
            recipe=obj.recipe,
            parameters=obj.parameters,
            by=request.user,
            project=obj.project_id,
            dataset=obj.dataset,
            webhook=obj.webhook_url,
        )
        obj.pk = job.pk
        obj.refresh_from_db()

    @admin.action(description=gettext_lazy("Cancel, and keep nothing"), permissions=["steer"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[TrainingJob]) -> Answer:
        question = _("These jobs are cancelled, and nothing of them is kept.")
        return self._steer(request, queryset, "cancel_selected", lifecycle.cancel, question)

    @admin.action(description=gettext_lazy("Stop, and keep the best epoch"), permissions=["steer"])
    def stop_selected(self, request: HttpRequest, queryset: QuerySet[TrainingJob]) -> Answer:
        question = _("These jobs end early; the best epoch of each becomes a model.")
        return self._steer(request, queryset, "stop_selected", lifecycle.stop, question)

    @admin.action(description=gettext_lazy("Resume after the last whole epoch"), permissions=["steer"])
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[TrainingJob]) -> Answer:
        return self._steer(request, queryset, "resume_selected", lifecycle.resume)

    @admin.action(description=gettext_lazy("Try again from the start"), permissions=["steer"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[TrainingJob]) -> Answer:
        return self._steer(request, queryset, "retry_selected", lifecycle.retry)

    def _steer(
        self,
        request: HttpRequest,
        queryset: QuerySet[TrainingJob],
        action: str,
        do: Callable[..., object],
        question: str = "",
    ) -> Answer:
        """Do it to each job and say how it went; first ask, where there is a question."""
        chosen = list(queryset[: self.list_per_page])
        if question and "confirmed" not in request.POST:
            return self._ask(request, chosen, action, question)
        for job in chosen:
            try:
                do(job, by=request.user)
            except lifecycle.InvalidTransition as error:
                self.message_user(request, error.detail, messages.ERROR)
            else:
                self.log_change(request, job, action.removesuffix("_selected"))
                self.message_user(request, _("Job %(job)s was changed.") % {"job": job}, messages.SUCCESS)
        return None

    def _ask(
        self, request: HttpRequest, chosen: list[TrainingJob], action: str, question: str
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Are you sure?"),
            "question": question,
            "rows": [link(job) for job in chosen],
            "button": _("Yes, I’m sure"),
            "hidden": [
                ("action", action),
                ("confirmed", "yes"),
                *((ACTION_CHECKBOX_NAME, job.pk) for job in chosen),
            ],
        }
        return TemplateResponse(request, "admin/confirm.html", context)

    coloured_state = coloured("state", gettext_lazy("state"), ordering="state")

    @admin.display(description=gettext_lazy("epochs"))
    def epochs_done(self, job: Any) -> str:
        planned = job.parameters.get("epochs", "?")
        return f"{job.epoch_count or 0} / {planned}"

    requester = linked("requested_by", gettext_lazy("requested by"))

    @admin.display(description=gettext_lazy("model version"))
    def made(self, job: TrainingJob) -> SafeString | str:
        return format_html_join(", ", "{}", ((link(model),) for model in job.models.all())) or "–"

    @admin.display(description=gettext_lazy("step"))
    def progress(self, job: TrainingJob) -> str:
        return f"{job.step} / {job.steps}"

    @admin.display(description=gettext_lazy("traceback"))
    def trace(self, job: TrainingJob) -> SafeString:
        return format_html('<pre class="trace">{}</pre>', job.traceback or "–")


@admin.register(Epoch)
class EpochAdmin(Internal):
    list_display = ("id", "of_job", "number", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")
    list_select_related = ("job",)
    ordering = ("-id",)
    number_field = "job"
    search_fields = ("job__recipe__startswith",)
    search_help_text = gettext_lazy("A job's number or a recipe.")
    deferred = ("job__traceback", "job__live")

    of_job = linked("job", gettext_lazy("training job"))


@admin.register(JobEvent)
class JobEventAdmin(Internal):
    list_display = ("id", "at", "of_job", "what", "detail", "by")
    list_select_related = ("job", "by")
    ordering = ("-id",)
    number_field = "job"
    search_fields = ("what__startswith", "by__username__exact")
    search_help_text = gettext_lazy("A job's number, the beginning of what happened, or a user name.")
    deferred = ("job__traceback", "job__live")

    of_job = linked("job", gettext_lazy("training job"))


@admin.register(Schedule)
class ScheduleAdmin(LargeTableAdmin):
    """A row a project: when it trains by itself."""

    form = RecipeForm
    list_display = (
        "project",
        "recipe",
        "enabled",
        "every_days",
        "after_corrections",
        "auto_promote",
        "last_run_at",
    )
    list_select_related = ("last_job", "project")
    fields = (
        "project",
        "enabled",
        "every_days",
        "after_corrections",
        "recipe",
        "parameters",
        "auto_promote",
        "last_run_at",
        "latest",
    )
    readonly_fields = ("last_run_at", "latest")

    latest = linked("last_job", gettext_lazy("last training job"))

"""The admin's tables of models, reports and the promotion history; jobs: ``training.admin.jobs``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from training.admin.base import (
    LargeTableAdmin,
    ReadOnly,
    badge,
    linked,
    list_link,
    listed,
    percentage,
    shortened,
    worker_badge,
)
from training.admin.recipe_form import RecipeFilter
from training.models import (
    DEFAULT_PROJECT,
    EvaluationReport,
    EvaluationSet,
    ModelVersion,
    Project,
    Promotion,
    Worker,
)
from training.registry.promotion import PromotionRefused, promote, roll_back
from training.registry.promotion_gate import examine


class ReasonForm(forms.Form):
    """Why another model goes live."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        help_text=gettext_lazy("One sentence; the promotion history keeps it permanently."),
        max_length=2_000,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class RollBackForm(ReasonForm):
    """In which project, too."""

    project = forms.ModelChoiceField(
        label=gettext_lazy("Project"), queryset=Project.objects.all(), initial=DEFAULT_PROJECT, required=False
    )
    field_order = ("project", "reason")

    def clean_project(self) -> str:
        chosen = self.cleaned_data["project"]
        return str(chosen.pk) if chosen else DEFAULT_PROJECT


class OverrideForm(ReasonForm):
    """A superuser may overrule the gate; the promotion history records it."""

    override = forms.BooleanField(
        label=gettext_lazy("Promote although the gate refuses"),
        help_text=gettext_lazy("The promotion is marked as overridden."),
        required=False,
    )


@admin.register(ModelVersion)
class ModelVersionAdmin(LargeTableAdmin):
    list_display = (
        "name",
        "project",
        "champion",
        "recipe",
        "validation",
        "test",
        "file_size",
        "of_job",
        "created_at",
        "predictions_link",
        "reports_link",
    )
    list_filter = ("is_champion", RecipeFilter, "project", "created_at")
    list_select_related = ("job", "project")
    digest_field = "sha256"
    number_field = "job"
    search_fields = ("name__startswith",)
    search_help_text = gettext_lazy("A name's beginning, a job's number, or a whole sha256.")
    view_on_site = True
    actions = ("promote_selected",)
    change_form_template = "admin/training/modelversion/change_form.html"
    change_list_template = "admin/training/modelversion/change_list.html"
    fieldsets = (
        (None, {"fields": ("name", "project", "champion", "notes")}),
        (
            gettext_lazy("Lineage"),
            {"fields": ("recipe", "job", "dataset", "preprocessing", "sha256", "file_size", "created_at")},
        ),
        (gettext_lazy("How good it is"), {"fields": ("validation", "test", "reports_link")}),
        (gettext_lazy("Used for"), {"fields": ("predictions_link", "promotions_link")}),
    )
    readonly_fields = tuple(str(name) for _, part in fieldsets for name in part["fields"] if name != "notes")
    deferred = ("card", "job__traceback", "job__live")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_promote_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("roll-back/", view(self.roll_back_view), name="training_modelversion_rollback"),
            path("<path:object_id>/promote/", view(self.promote_view), name="training_modelversion_promote"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        extra = {**(extra_context or {}), "may_promote": self.has_promote_permission(request)}
        return super().changelist_view(request, extra)

    @admin.action(description=gettext_lazy("Promote the selected model version"), permissions=["promote"])
    def promote_selected(self, request: HttpRequest, queryset: QuerySet[ModelVersion]) -> HttpResponse | None:
        ids = list(queryset.values_list("pk", flat=True)[:2])
        if len(ids) != 1:
            self.message_user(request, _("Choose exactly one model version."), messages.ERROR)
            return None
        return HttpResponseRedirect(reverse("admin:training_modelversion_promote", args=ids))

    def promote_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what the gate finds, ask for the reason, promote."""
        if not self.has_promote_permission(request):
            raise PermissionDenied
        version = self.get_object(request, unquote(object_id))
        if version is None:
            raise Http404
        form = OverrideForm if request.user.is_superuser else ReasonForm
        context = {
            "title": _("Promote %(model)s") % {"model": version},
            "original": version,
            "gate": examine(version),
            "question": _("Every prediction of the project from now on is made by this model."),
            "button": _("Promote"),
        }
        return self._decide(request, partial(promote, version), form, context)

    def roll_back_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for the reason, go back to the model that was live before."""
        if not self.has_promote_permission(request):
            raise PermissionDenied
        context = {
            "title": _("Roll back"),
            "question": _("The previous champion becomes the champion again."),
            "button": _("Roll back"),
        }
        return self._decide(request, roll_back, RollBackForm, context)

    def _decide(
        self,
        request: HttpRequest,
        decide: Callable[..., Promotion],
        form_class: type[forms.Form],
        context: dict[str, Any],
    ) -> HttpResponse:
        form = form_class(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                promotion = decide(by=request.user, **form.cleaned_data)
            except PromotionRefused as error:
                form.add_error(None, error.detail)
            else:
                self.log_change(request, promotion.promoted, str(promotion))
                done = _("%(model)s is the champion now.") % {"model": promotion.promoted}
                self.message_user(request, done, messages.SUCCESS)
                return HttpResponseRedirect(reverse("admin:training_modelversion_changelist"))
        context = {**self.admin_site.each_context(request), "opts": self.opts, "form": form, **context}
        # Refused, but what was typed is still there.
        status = 409 if form.non_field_errors() else 200
        return TemplateResponse(request, "admin/training/modelversion/decide.html", context, status=status)

    @admin.display(description=gettext_lazy("champion"), ordering="is_champion")
    def champion(self, version: ModelVersion) -> SafeString | str:
        return badge("champion", _("champion")) if version.is_champion else ""

    validation = percentage("val_accuracy", gettext_lazy("validation accuracy"), ordering="val_accuracy")
    test = percentage("test_accuracy", gettext_lazy("test accuracy"), ordering="test_accuracy")

    @admin.display(description=gettext_lazy("file size"), ordering="size")
    def file_size(self, version: ModelVersion) -> str:
        return filesizeformat(version.size)

    of_job = linked("job", gettext_lazy("training job"))
    predictions_link = listed("classifier_prediction", gettext_lazy("predictions"), "model__id__exact")
    reports_link = listed("training_evaluationreport", gettext_lazy("reports"), "model__id__exact")
    promotions_link = listed("training_promotion", gettext_lazy("promotions"), "promoted__id__exact")


@admin.register(EvaluationReport)
class EvaluationReportAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("id", "of_model", "dataset", "n", "share_right", "created_at")
    list_filter = ("created_at",)
    list_select_related = ("model",)
    digest_field = "dataset_sha256"
    search_fields = ("model__name__startswith",)
    search_help_text = gettext_lazy("A number, the beginning of a model's name, or a test set's sha256.")
    fields = ("model", "dataset", "dataset_sha256", "n", "share_right", "key_figures", "created_at")
    readonly_fields = ("share_right", "key_figures")

    # The figures hold one digit for each image of the test set.
    deferred = ("figures", "model__card")

    of_model = linked("model", gettext_lazy("model version"))
    share_right = percentage("accuracy", gettext_lazy("accuracy"), ordering="accuracy")

    @admin.display(description=gettext_lazy("figures"))
    def key_figures(self, report: EvaluationReport) -> SafeString:
        numbers = ((name, value) for name, value in report.figures.items() if isinstance(value, int | float))
        rows = format_html_join("", "<tr><th>{}</th><td>{}</td></tr>", numbers)
        return format_html("<table>{}</table>", rows)

    def view_on_site(self, report: EvaluationReport) -> str:
        return reverse("training:report", args=[report.model_id])


@admin.register(EvaluationSet)
class EvaluationSetAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("name", "project", "n", "digest", "created_at", "reports_link")
    list_filter = ("project", "created_at")
    list_select_related = ("project",)
    digest_field = "sha256"
    search_fields = ("name__startswith",)
    search_help_text = gettext_lazy("The beginning of a name, or a whole sha256.")
    fields = ("name", "project", "n", "sha256", "created_at", "reports_link")
    readonly_fields = ("reports_link",)
    deferred = ("manifest",)

    digest = shortened("sha256", gettext_lazy("sha256"))

    @admin.display(description=gettext_lazy("reports"))
    def reports_link(self, images: EvaluationSet) -> SafeString:
        return list_link("training_evaluationreport", _("reports"), q=images.sha256)


@admin.register(Worker)
class WorkerAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("name", "takes_from", "life", "problem", "started_at", "seen_at")
    list_filter = ("seen_at",)
    ordering = ("-seen_at",)
    number_field = ""
    search_fields = ("name__startswith",)
    search_help_text = gettext_lazy("The beginning of a worker's name.")

    @admin.display(description=gettext_lazy("queues"))
    def takes_from(self, worker: Worker) -> str:
        return ", ".join(worker.queues)

    @admin.display(description=gettext_lazy("state"))
    def life(self, worker: Worker) -> SafeString:
        return worker_badge(worker)

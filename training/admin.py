"""The admin's tables of training: jobs, models, reports and the ledger of what was live."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, Prefetch, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat, truncatechars
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from training.admin_base import (
    LargeTableAdmin,
    NoAddOrChange,
    ReadOnly,
    TabularInline,
    badge,
    link,
    list_link,
    percent,
    short,
    worker_badge,
)
from training.engine.recipes import RECIPES
from training.gate import examine
from training.models import (
    DatasetVersion,
    Epoch,
    EvaluationReport,
    ModelVersion,
    Promotion,
    TrainingJob,
    Worker,
)
from training.promotion import PromotionRefused, promote, roll_back


class RecipeFilter(admin.SimpleListFilter):
    """The recipes of this site, known without reading the table."""

    title = gettext_lazy("recipe")
    parameter_name = "recipe"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in RECIPES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(recipe=self.value()) if self.value() else queryset


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
    list_display = (
        "id",
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
    list_filter = ("state", RecipeFilter, "created_at")
    date_hierarchy = "created_at"
    list_select_related = ("requested_by",)
    search_fields = ("recipe__startswith", "requested_by__username__exact")
    search_help_text = gettext_lazy("A job's number, a recipe, or the user name of who asked for it.")
    view_on_site = True
    inlines = (EpochInline,)
    fieldsets = (
        (None, {"fields": ("recipe", "parameters", "dataset", "coloured_state", "made")}),
        (gettext_lazy("Asked for"), {"fields": ("requested_by", "created_at")}),
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
    )
    readonly_fields = ("coloured_state", "made", "progress", "trace")

    def get_queryset(self, request: HttpRequest) -> QuerySet[TrainingJob]:
        models = Prefetch("models", ModelVersion.objects.only("name", "job"))
        epochs = Epoch.objects.filter(job=OuterRef("pk")).order_by().values("job")
        rows = super().get_queryset(request).defer("traceback").prefetch_related(models)
        return rows.annotate(epoch_count=Subquery(epochs.annotate(n=Count("pk")).values("n")))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def coloured_state(self, job: TrainingJob) -> SafeString:
        return badge(job.state, job.get_state_display())

    @admin.display(description=gettext_lazy("epochs"))
    def epochs_done(self, job: Any) -> str:
        planned = job.parameters.get("epochs", "?")
        return f"{job.epoch_count or 0} / {planned}"

    @admin.display(description=gettext_lazy("requested by"))
    def requester(self, job: TrainingJob) -> Any:
        return link(job.requested_by)

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
class EpochAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("id", "of_job", "number", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")
    list_select_related = ("job",)
    ordering = ("-id",)
    number_field = "job"
    search_fields = ("job__recipe__startswith",)
    search_help_text = gettext_lazy("A job's number or a recipe.")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Epoch]:
        return super().get_queryset(request).defer("job__traceback")

    @admin.display(description=gettext_lazy("training job"))
    def of_job(self, epoch: Epoch) -> Any:
        return link(epoch.job)


@admin.register(DatasetVersion)
class DatasetVersionAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("name", "digest", "created_at", "creator", "jobs_link", "models_link")
    list_filter = ("created_at",)
    list_select_related = ("created_by",)
    digest_field = "sha256"
    search_fields = ("name__startswith",)
    search_help_text = gettext_lazy("A name's beginning, or a whole sha256.")
    fields = ("name", "sha256", "contents", "created_at", "created_by", "jobs_link", "models_link")
    readonly_fields = ("contents", "jobs_link", "models_link")

    def get_queryset(self, request: HttpRequest) -> QuerySet[DatasetVersion]:
        return super().get_queryset(request).defer("manifest")

    @admin.display(description=gettext_lazy("sha256"))
    def digest(self, dataset: DatasetVersion) -> SafeString:
        return short(dataset.sha256)

    @admin.display(description=gettext_lazy("created by"))
    def creator(self, dataset: DatasetVersion) -> Any:
        return link(dataset.created_by)

    @admin.display(description=gettext_lazy("contents"))
    def contents(self, dataset: DatasetVersion) -> str:
        added = len(dataset.manifest.get("added", ()))
        return _("CIFAR-10 and %(count)s corrected photos") % {"count": added} if added else "CIFAR-10"

    @admin.display(description=gettext_lazy("training jobs"))
    def jobs_link(self, dataset: DatasetVersion) -> SafeString:
        return list_link("training_trainingjob", _("training jobs"), dataset__id__exact=dataset.pk)

    @admin.display(description=gettext_lazy("model versions"))
    def models_link(self, dataset: DatasetVersion) -> SafeString:
        return list_link("training_modelversion", _("model versions"), dataset__id__exact=dataset.pk)


class ReasonForm(forms.Form):
    """Why another model goes live."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        help_text=gettext_lazy("One sentence; it is kept for good beside the promotion."),
        max_length=2_000,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class OverrideForm(ReasonForm):
    """A superuser may overrule the gate; the ledger says so."""

    override = forms.BooleanField(
        label=gettext_lazy("Promote although the gate refuses"),
        help_text=gettext_lazy("The promotion is marked as overridden."),
        required=False,
    )


@admin.register(ModelVersion)
class ModelVersionAdmin(LargeTableAdmin):
    list_display = (
        "name",
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
    list_filter = ("is_champion", RecipeFilter, "created_at")
    list_select_related = ("job",)
    digest_field = "sha256"
    number_field = "job"
    search_fields = ("name__startswith",)
    search_help_text = gettext_lazy("A name's beginning, a job's number, or a whole sha256.")
    view_on_site = True
    actions = ("promote_selected",)
    change_form_template = "admin/training/modelversion/change_form.html"
    change_list_template = "admin/training/modelversion/change_list.html"
    fieldsets = (
        (None, {"fields": ("name", "champion", "notes")}),
        (
            gettext_lazy("Where it comes from"),
            {"fields": ("recipe", "job", "dataset", "preprocessing", "sha256", "file_size", "created_at")},
        ),
        (gettext_lazy("How good it is"), {"fields": ("validation", "test", "reports_link")}),
        (gettext_lazy("Used for"), {"fields": ("predictions_link", "promotions_link")}),
    )
    readonly_fields = (
        "name",
        "champion",
        "recipe",
        "job",
        "dataset",
        "preprocessing",
        "sha256",
        "file_size",
        "created_at",
        "validation",
        "test",
        "reports_link",
        "predictions_link",
        "promotions_link",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelVersion]:
        return super().get_queryset(request).defer("card", "job__traceback")

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
            "question": _("Every prediction from now on is made by this model."),
            "button": _("Promote"),
        }
        return self._decide(request, partial(promote, version), form, context)

    def roll_back_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for the reason, go back to the model that was live before."""
        if not self.has_promote_permission(request):
            raise PermissionDenied
        context = {
            "title": _("Roll back"),
            "question": _("The model that was live before the present one answers again."),
            "button": _("Roll back"),
        }
        return self._decide(request, roll_back, ReasonForm, context)

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

    @admin.display(description=gettext_lazy("validation accuracy"), ordering="val_accuracy")
    def validation(self, version: ModelVersion) -> str:
        return percent(version.val_accuracy)

    @admin.display(description=gettext_lazy("test accuracy"), ordering="test_accuracy")
    def test(self, version: ModelVersion) -> str:
        return percent(version.test_accuracy)

    @admin.display(description=gettext_lazy("file size"), ordering="size")
    def file_size(self, version: ModelVersion) -> str:
        return filesizeformat(version.size)

    @admin.display(description=gettext_lazy("training job"))
    def of_job(self, version: ModelVersion) -> Any:
        return link(version.job)

    @admin.display(description=gettext_lazy("predictions"))
    def predictions_link(self, version: ModelVersion) -> SafeString:
        return list_link("classifier_prediction", _("predictions"), model__id__exact=version.pk)

    @admin.display(description=gettext_lazy("reports"))
    def reports_link(self, version: ModelVersion) -> SafeString:
        return list_link("training_evaluationreport", _("reports"), model__id__exact=version.pk)

    @admin.display(description=gettext_lazy("promotions"))
    def promotions_link(self, version: ModelVersion) -> SafeString:
        return list_link("training_promotion", _("promotions"), promoted__id__exact=version.pk)


@admin.register(EvaluationReport)
class EvaluationReportAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("id", "of_model", "dataset", "n", "share_right", "created_at", "page")
    list_filter = ("created_at",)
    list_select_related = ("model",)
    digest_field = "dataset_sha256"
    search_fields = ("model__name__startswith",)
    search_help_text = gettext_lazy("A number, the beginning of a model's name, or a test set's sha256.")
    fields = ("model", "dataset", "dataset_sha256", "n", "share_right", "key_figures", "page", "created_at")
    readonly_fields = ("share_right", "key_figures", "page")

    def get_queryset(self, request: HttpRequest) -> QuerySet[EvaluationReport]:
        # The figures hold one digit for each image of the test set.
        return super().get_queryset(request).defer("figures", "model__card")

    @admin.display(description=gettext_lazy("model version"))
    def of_model(self, report: EvaluationReport) -> Any:
        return link(report.model)

    @admin.display(description=gettext_lazy("accuracy"), ordering="accuracy")
    def share_right(self, report: EvaluationReport) -> str:
        return percent(report.accuracy)

    @admin.display(description=gettext_lazy("figures"))
    def key_figures(self, report: EvaluationReport) -> SafeString:
        numbers = ((name, value) for name, value in report.figures.items() if isinstance(value, int | float))
        rows = format_html_join("", "<tr><th>{}</th><td>{}</td></tr>", numbers)
        return format_html("<table>{}</table>", rows)

    @admin.display(description=gettext_lazy("report"))
    def page(self, report: EvaluationReport) -> SafeString:
        url = reverse("training:report", args=[report.model_id])
        return format_html('<a href="{}">{}</a>', url, _("Read the report"))


@admin.register(Promotion)
class PromotionAdmin(ReadOnly, LargeTableAdmin):
    list_display = (
        "created_at",
        "coloured_action",
        "to_model",
        "from_model",
        "of_report",
        "person",
        "gate_overridden",
        "why",
    )
    list_filter = ("action", "overridden", "created_at")
    date_hierarchy = "created_at"
    list_select_related = ("previous", "promoted", "report__model", "by")
    search_fields = ("promoted__name__startswith", "by__username__exact")
    search_help_text = gettext_lazy("A number, the beginning of a model's name, or a user name.")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Promotion]:
        rows = super().get_queryset(request).select_related(*self.list_select_related)
        return rows.defer("previous__card", "promoted__card", "report__figures", "report__model__card")

    @admin.display(description=gettext_lazy("action"), ordering="action")
    def coloured_action(self, promotion: Promotion) -> SafeString:
        return badge(promotion.action, promotion.get_action_display())

    @admin.display(description=gettext_lazy("to"))
    def to_model(self, promotion: Promotion) -> Any:
        return link(promotion.promoted)

    @admin.display(description=gettext_lazy("from"))
    def from_model(self, promotion: Promotion) -> Any:
        return link(promotion.previous)

    @admin.display(description=gettext_lazy("report"))
    def of_report(self, promotion: Promotion) -> Any:
        return link(promotion.report)

    @admin.display(description=gettext_lazy("by"))
    def person(self, promotion: Promotion) -> Any:
        return link(promotion.by)

    @admin.display(description=gettext_lazy("gate"))
    def gate_overridden(self, promotion: Promotion) -> SafeString | str:
        return badge("overridden", _("overridden")) if promotion.overridden else ""

    @admin.display(description=gettext_lazy("reason"))
    def why(self, promotion: Promotion) -> str:
        return truncatechars(promotion.reason, 80)


@admin.register(Worker)
class WorkerAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("name", "takes_from", "life", "started_at", "seen_at")
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

"""The admin's tables of people: accounts, tokens, sessions, and the record of what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account.adapter import get_adapter

# Imported from their admin modules, so that those are registered before they are replaced here.
from allauth.mfa.admin import Authenticator
from allauth.socialaccount.admin import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.admin import UserSession
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from classifier.accounts.audit import record
from classifier.accounts.tokens import revoke_token
from classifier.admin.rights import RIGHTS, OfOrdinaryPeople, note
from classifier.models import (
    ApiToken,
    AuditEntry,
    IdempotentRequest,
    Mail,
    Photo,
    RateCount,
    User,
    WebhookAddress,
)
from training.admin.base import (
    Internal,
    LargeTableAdmin,
    NoAddOrChange,
    ReadOnly,
    badge,
    linked,
    list_link,
    listed,
)

if TYPE_CHECKING:
    BaseUserAdmin = UserAdmin[User]
else:
    BaseUserAdmin = UserAdmin


class LanguageFilter(admin.SimpleListFilter):
    title = gettext_lazy("language")
    parameter_name = "language"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [*settings.LANGUAGES, ("browser", gettext_lazy("as the browser asks"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        if chosen := self.value():
            return queryset.filter(language="" if chosen == "browser" else chosen)
        return queryset


@admin.register(User)
class PersonAdmin(OfOrdinaryPeople, BaseUserAdmin):
    list_display = ("username", "email", "photo_count", "language", "is_staff", "is_active", "date_joined")
    list_filter = ("is_staff", "is_superuser", "is_active", LanguageFilter, "date_joined")
    date_hierarchy = "date_joined"
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = list_max_show_all = 50
    ordering = ("-id",)
    search_fields = ("username__istartswith", "email__iexact")
    search_help_text = gettext_lazy("The beginning of a user name, or a whole e-mail address.")
    fieldsets = (
        *UserAdmin.fieldsets,  # type: ignore[misc]
        (
            gettext_lazy("On this site"),
            {"fields": ("language", "time_zone", "photo_count", "predictions_link")},
        ),
    )
    readonly_fields = ("photo_count", "predictions_link", "last_login", "date_joined")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        photos = Photo.objects.filter(owner=OuterRef("pk"), deleted_at=None).order_by().values("owner")
        count = Subquery(photos.annotate(n=Count("pk")).values("n"))
        people: QuerySet[User] = super().get_queryset(request)
        return people.annotate(photos_now=count)

    def person_of(self, obj: User) -> User:
        return obj

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        above = () if request.user.is_superuser else RIGHTS
        return (*super().get_readonly_fields(request, obj), *above)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        person = self.get_object(request, unquote(id))
        response: HttpResponse = super().user_change_password(request, id, form_url)
        if person and person.password != User.objects.values_list("password", flat=True).get(pk=person.pk):
            note(request, "password_changed", person.pk, "password set")
            get_adapter(request).send_notification_mail("account/email/password_changed", person)
        return response

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "email" in form.changed_data:
            note(request, "email_changed", obj.pk, "address changed")
        rights = ("is_active", "is_staff", "is_superuser")
        if change and set(form.changed_data) & {*rights, "groups", "user_permissions"}:
            now = ", ".join(right for right in rights if getattr(obj, right)) or "none"
            assert isinstance(request.user, User)
            record("rights_changed", by=request.user, detail=f"user {obj.pk}: {now}", request=request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """People delete their own accounts, files included; an admin locks one out by 'active'."""
        return False

    @admin.display(description=gettext_lazy("photos"))
    def photo_count(self, user: Any) -> SafeString | str:
        if user.pk is None:
            return "–"
        return list_link("classifier_photo", user.photos_now or 0, owner__id__exact=user.pk)

    predictions_link = listed("classifier_prediction", gettext_lazy("predictions"), "owner__id__exact")


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnly, LargeTableAdmin):
    """What was done in this admin, and by whom."""

    list_display = ("action_time", "user", "content_type", "object_repr", "get_change_message")
    list_filter = ("action_flag", "action_time")
    list_select_related = ("user", "content_type")
    date_hierarchy = "action_time"
    ordering = ("-id",)
    search_fields = ("user__username__exact", "object_repr__startswith")
    search_help_text = gettext_lazy("A whole user name, or the beginning of an object's name.")


# Their own pages would show secrets and session keys.
admin.site.unregister([Authenticator, UserSession, SocialAccount, SocialApp, SocialToken])


@admin.register(Authenticator)
class SecondFactorAdmin(OfOrdinaryPeople, NoAddOrChange, LargeTableAdmin):
    """Who has a second factor; the secret itself is shown to nobody. A lost one is deleted."""

    list_display = ("user", "type", "created_at", "last_used_at")
    list_filter = ("type", "created_at")
    list_select_related = ("user",)
    number_field = ""
    search_fields = ("user__username__exact",)
    search_help_text = gettext_lazy("A whole user name.")
    fields = ("user", "type", "created_at", "last_used_at")

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        super().delete_model(request, obj)
        note(request, "second_factor_changed", obj.user_id, f"{obj.type} removed")

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for factor in queryset:
            self.delete_model(request, factor)


@admin.register(SocialAccount)
class OrganisationAccountAdmin(ReadOnly, LargeTableAdmin):
    """Whose account is joined with which organisation's; the organisations themselves are settings."""

    list_display = fields = ("user", "provider", "date_joined", "last_login")
    list_filter = ("date_joined",)
    list_select_related = ("user",)
    ordering = ("-id",)
    search_fields = ("user__username__exact", "provider__exact")
    search_help_text = gettext_lazy("A whole user name, or the name of an organisation.")


@admin.register(UserSession)
class UserSessionAdmin(ReadOnly, LargeTableAdmin):
    """Who is signed in where; never the session's key, which is as good as a password."""

    list_display = ("user", "created_at", "last_seen_at", "ip", "user_agent")
    list_filter = ("created_at",)
    list_select_related = ("user",)
    ordering = ("-id",)
    search_fields = ("user__username__exact", "ip__startswith")
    search_help_text = gettext_lazy("A whole user name, or the beginning of an address.")
    fields = ("user", "created_at", "last_seen_at", "ip", "user_agent")


@admin.register(ApiToken)
class ApiTokenAdmin(NoAddOrChange, LargeTableAdmin):
    """Tokens are made by their owners, who see them once; here they can be revoked."""

    list_display = (
        "name",
        "prefix",
        "owner_link",
        "what",
        "state_now",
        "created_at",
        "expires_at",
        "last_used_at",
    )
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), "created_at", "expires_at")
    list_select_related = ("owner",)
    number_field = ""
    search_fields = ("prefix__startswith", "owner__username__exact")
    search_help_text = gettext_lazy("The beginning of a token, or a whole user name.")
    fields = (
        "name",
        "prefix",
        "owner",
        "what",
        "state_now",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
    )
    readonly_fields = fields
    actions = ("revoke_selected",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("classifier.change_apitoken")

    @admin.action(description=gettext_lazy("Revoke the selected tokens"), permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        assert isinstance(request.user, User)
        count = sum(revoke_token(token, by=request.user) for token in queryset)
        said = ngettext("%(count)s token is revoked.", "%(count)s tokens are revoked.", count) % {
            "count": count
        }
        self.message_user(request, said, messages.SUCCESS)

    owner_link = linked("owner", gettext_lazy("owner"))

    @admin.display(description=gettext_lazy("scopes"))
    def what(self, token: ApiToken) -> str:
        return ", ".join(token.scopes)

    @admin.display(description=gettext_lazy("state"))
    def state_now(self, token: ApiToken) -> SafeString:
        words = {"active": _("active"), "expired": _("expired"), "revoked": _("revoked")}
        return badge(token.state, words[token.state])


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("created_at", "kind", "person", "address", "detail")
    list_filter = ("created_at",)
    list_select_related = ("by",)
    date_hierarchy = "created_at"
    search_fields = ("kind__startswith", "by__username__exact", "address__startswith")
    search_help_text = gettext_lazy("A kind, a whole user name, or the beginning of an address.")

    person = linked("by", gettext_lazy("by"))


@admin.register(Mail)
class MailAdmin(Internal):
    """Mails that wait for the mail server; never their texts, whose links are as good as a password."""

    list_display = fields = ("to", "subject", "tries", "due_at")
    ordering = ("due_at",)
    search_fields = ("to__exact",)
    search_help_text = gettext_lazy("A whole e-mail address.")


@admin.register(WebhookAddress)
class WebhookAddressAdmin(Internal):
    """Never the secret, which signs what the site says."""

    list_display = fields = ("owner", "url", "changed_at")
    list_select_related = ("owner",)
    ordering = ("-id",)
    search_fields = ("owner__username__exact",)
    search_help_text = gettext_lazy("A whole user name.")


@admin.register(RateCount)
class RateCountAdmin(Internal):
    list_display = ("key", "count", "ends_at")
    ordering = ("-ends_at",)
    number_field = ""
    search_fields = ("key__startswith",)
    search_help_text = gettext_lazy("The beginning of a key.")


@admin.register(IdempotentRequest)
class IdempotentRequestAdmin(Internal):
    list_display = ("key", "owner_link", "status", "created_at")
    list_filter = ("created_at",)
    list_select_related = ("owner",)
    ordering = ("-id",)
    number_field = ""
    digest_field = "request_sha256"
    search_fields = ("key__exact", "owner__username__exact")
    search_help_text = gettext_lazy("A whole key, or a whole user name.")

    owner_link = linked("owner", gettext_lazy("owner"))

"""Who may change whose account in the admin: rights, and the accounts of staff, are for superusers alone.

Otherwise whoever may change people, addresses or second factors could make themselves an administrator.
"""

from __future__ import annotations

from typing import Any

# Imported from their admin modules, so that those are registered before they are replaced here.
from allauth.account.admin import EmailAddress, EmailAddressAdmin
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from classifier.accounts.audit import record
from classifier.models import User
from training.admin.base import FiltersThatFit

# Of an account; whoever may set one of these may do everything.
RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")


def may_manage(actor: Any, person: User) -> bool:
    """May ``actor``, with the table's own permission, change this person's account?"""
    return bool(actor.is_superuser or not (person.is_staff or person.is_superuser))


def manageable(actor: Any, people: QuerySet[User]) -> QuerySet[User]:
    return people if actor.is_superuser else people.filter(is_staff=False, is_superuser=False)


class OfOrdinaryPeople(FiltersThatFit):
    """Rows of an account, changed and deleted by whoever ``may_manage`` its person."""

    def person_of(self, obj: Any) -> User:
        person: User = obj.user
        return person

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or may_manage(request.user, self.person_of(obj)))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_delete_permission(request, obj)
        return allowed and (obj is None or may_manage(request.user, self.person_of(obj)))


def note(request: HttpRequest, kind: str, person_id: int, what: str) -> None:
    """A line in the audit log about something that was done in the admin to a person's account."""
    assert isinstance(request.user, User)
    record(kind, by=request.user, detail=f"user {person_id}: {what} in the admin", request=request)


admin.site.unregister([EmailAddress, Group])


@admin.register(Group)
class RightsAdmin(FiltersThatFit, GroupAdmin):
    """A group's permissions are those of its members, so superusers alone change it."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_add_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_add_permission(request)


@admin.register(EmailAddress)
class AddressAdmin(OfOrdinaryPeople, EmailAddressAdmin):
    """Addresses; to a confirmed one goes the link that resets a password."""

    list_select_related = ("user",)
    actions = ("make_verified",)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user":
            kwargs["queryset"] = manageable(request.user, User.objects.all())
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    @admin.action(description=gettext_lazy("Mark as confirmed"), permissions=["change"])
    def make_verified(self, request: HttpRequest, queryset: QuerySet[Model]) -> None:
        mine = queryset.filter(user__in=manageable(request.user, User.objects.all()))
        people = list(mine.filter(verified=False).values_list("user_id", flat=True))
        super().make_verified(request, mine)
        for person in people:
            note(request, "email_changed", person, "address confirmed")

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        note(request, "email_changed", obj.user_id, "address changed" if change else "address added")

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        super().delete_model(request, obj)
        note(request, "email_changed", obj.user_id, "address removed")

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for address in queryset:
            self.delete_model(request, address)

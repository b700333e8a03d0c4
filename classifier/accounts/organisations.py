"""Signing in with an organisation's account, by OpenID Connect: whose account it is, and who is staff.

An account here and one there are joined by an address that both have confirmed, and by no other: whoever
can write an unconfirmed address into an account could otherwise wait for its owner, or take their account.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from allauth.account.app_settings import REAUTHENTICATION_TIMEOUT
from allauth.account.internal.flows.login import get_authentication_records
from allauth.account.internal.flows.reauthentication import get_reauthentication_flows
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount import signals
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin
from allauth.socialaccount.providers.base.constants import AuthError, AuthProcess
from django.conf import settings
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from classifier.accounts.audit import record, record_refusal
from classifier.models import User


class OrganisationAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    def list_apps(self, request: HttpRequest, provider: Any = None, client_id: Any = None) -> list[SocialApp]:
        """Those of the settings alone: nobody adds a provider in the admin."""
        found = [
            SocialApp(provider="openid_connect", **each)
            for each in settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]
        ]
        return [
            app
            for app in found
            if provider in (None, app.provider, app.provider_id) and client_id in (None, app.client_id)
        ]

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]) -> Any:
        """Called with all that the provider said, before anybody is looked up by it; keeps little of it."""
        claims = _claims(sociallogin.account.extra_data)
        # A provider that writes "false" has not said true.
        stated = _states_confirmed(sociallogin, claims)
        for address in sociallogin.email_addresses:
            address.verified = stated
        app, account = sociallogin.provider.app, sociallogin.account
        before = SocialAccount.objects.filter(provider=account.provider, uid=account.uid).first()
        account.extra_data = {
            "userinfo": {"email": claims.get("email")},
            "has_claim": has_claim(claims, app.settings["staff_claim"], app.settings["staff_value"]),
            "made_staff": bool(before and before.extra_data.get("made_staff")),
        }
        # Real names are of no use here.
        wanted = {key: data.get(key) for key in ("username", "email")}
        return super().populate_user(request, sociallogin, wanted)

    def authenticate_by_email(self, sociallogin: SocialLogin) -> tuple[User, str] | None:
        """Whose confirmed address the provider confirms."""
        for said in sociallogin.email_addresses:
            if said.verified:
                ours = EmailAddress.objects.filter(email__iexact=said.email, verified=True)
                if (address := ours.select_related("user").first()) is not None:
                    return address.user, address.email
        return None

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        domains = sociallogin.provider.app.settings["domains"]
        addresses = [address.email for address in sociallogin.email_addresses]
        if domains and not any(email.rpartition("@")[2].lower() in domains for email in addresses):
            sentence = _("%(name)s gave no address that this site takes from it. Ask whoever runs the site.")
            self._refuse(request, sociallogin, sentence)
        if sociallogin.state.get("process") == AuthProcess.CONNECT:
            mine = self.authenticate_by_email(sociallogin)
            if not mine or mine[0] != request.user:
                sentence = _("%(name)s does not confirm an address that is confirmed in your account here.")
                self._refuse(request, sociallogin, sentence)
        elif sociallogin.is_existing:
            apply_claim(sociallogin.user, sociallogin.account, request)

    def _refuse(self, request: HttpRequest, sociallogin: SocialLogin, sentence: str) -> None:
        record_refusal("sign_in_failed", by=None, detail=sociallogin.provider.sub_id, request=request)
        said = sentence % {"name": sociallogin.provider.name}
        raise ImmediateHttpResponse(refused(request, said, status=403))

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> Any:
        user = super().save_user(request, sociallogin, form)
        apply_claim(user, sociallogin.account, request)
        return user

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Any = None,
        extra_context: Any = None,
    ) -> None:
        if error != AuthError.CANCELLED:
            record_refusal("sign_in_failed", by=None, detail=provider.sub_id, request=request)


def sign_in_again(request: HttpRequest) -> str:
    """Where to confirm who one is, for those who have nothing here to confirm it with; empty: no need."""
    person = request.user
    if not person.is_authenticated or get_reauthentication_flows(person):
        return ""
    account = SocialAccount.objects.filter(user=person).order_by("-last_login").first()
    records = get_authentication_records(request, person)
    recent = time.time() - REAUTHENTICATION_TIMEOUT
    if account is None or any(record["at"] > recent for record in records):
        return ""
    # What was posted is not kept: its page is asked for again.
    back = request.get_full_path() if request.method == "GET" else reverse("classifier:account")
    start = reverse("organisation-start", kwargs={"provider_id": account.provider})
    return f"{start}?{urlencode({'next': back})}"


def refused(request: HttpRequest, sentence: str, status: int) -> HttpResponse:
    """The page that says why an organisation's account let nobody in."""
    return render(request, "socialaccount/authentication_error.html", {"sentence": sentence}, status=status)


def _claims(said: dict[str, Any]) -> dict[str, Any]:
    """Of the ID token and of the userinfo endpoint; where both say something, the latter."""
    found: dict[str, Any] = {}
    for part in (said.get("id_token"), said.get("userinfo")):
        found |= part if isinstance(part, dict) else {}
    return found


def _states_confirmed(sociallogin: SocialLogin, claims: dict[str, Any]) -> bool:
    if claims.get("email_verified") is True:
        return True
    domains = sociallogin.provider.app.settings["verified_email"] or []
    return str(claims.get("email", "")).rpartition("@")[2].lower() in domains


def has_claim(claims: dict[str, Any], name: str, value: str) -> bool:
    """Whether ``claims`` say ``value`` under ``name``, alone or in a list.

    Args:
        name: a claim, or the way to one inside others, such as realm_access.roles; empty: no.
    """
    if not name:
        return False
    found: Any = claims.get(name)
    if found is None:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    return value in found if isinstance(found, list) else found == value


def apply_claim(user: User, account: SocialAccount, request: HttpRequest | None) -> None:
    """Make staff, or no longer staff, by what the provider said at this sign-in.

    Rights that were given in the admin are not the claim's to take, nor are an administrator's.
    """
    has, made = account.extra_data["has_claim"], account.extra_data["made_staff"]
    if has and not user.is_staff:
        _set_staff(user, True, account, request)
    elif made and not has:
        _set_staff(user, False, account, request)


def _set_staff(user: User, is_staff: bool, account: SocialAccount, request: HttpRequest | None) -> None:
    account.extra_data["made_staff"] = is_staff
    with transaction.atomic():
        if account.pk:
            account.save(update_fields=["extra_data"])
        if not user.is_superuser and user.is_staff != is_staff:
            user.is_staff = is_staff
            user.save(update_fields=["is_staff"])
            now = "is_staff" if is_staff else "none"
            detail = f"user {user.pk}: {now} by a claim of {account.provider}"
            record("rights_changed", by=user, detail=detail, request=request)


def withdraw_lapsed() -> int:
    """Take back rights whose claim nobody has confirmed for ``OIDC_STAFF_DAYS``. Returns of how many.

    Whoever left an organisation can no longer sign in there, so that no sign-in would ever take them.
    """
    apps = {app["provider_id"]: app for app in settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]}
    asked = [name for name, app in apps.items() if app["settings"]["staff_claim"]]
    recent = timezone.now() - timedelta(days=settings.OIDC_STAFF_DAYS)
    made = SocialAccount.objects.filter(extra_data__made_staff=True).select_related("user")
    lapsed = made.exclude(provider__in=asked, last_login__gt=recent)
    for account in lapsed:
        _set_staff(account.user, False, account, None)
    return len(lapsed)


@receiver(signals.social_account_added)
def record_joined(request: HttpRequest, sociallogin: SocialLogin, **kwargs: Any) -> None:
    detail = f"{sociallogin.account.provider} added"
    record("organisation_changed", by=sociallogin.user, detail=detail, request=request)


@receiver(signals.social_account_removed)
def record_removed(request: HttpRequest, socialaccount: SocialAccount, **kwargs: Any) -> None:
    """With the account there goes what its claim gave."""
    if socialaccount.extra_data.get("made_staff"):
        _set_staff(socialaccount.user, False, socialaccount, request)
    detail = f"{socialaccount.provider} removed"
    record("organisation_changed", by=socialaccount.user, detail=detail, request=request)

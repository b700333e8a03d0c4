"""Forms of django-allauth that do more here."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import ResetPasswordKeyForm, SignupForm
from django import forms
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from classifier.accounts.tokens import active_tokens, revoke_token
from classifier.models import ApiToken


class SignUpForm(SignupForm):  # type: ignore[misc]
    def try_save(self, request: HttpRequest) -> Any:
        """A known address costs the same work as a new one, so that the time it takes tells nothing."""
        if self.account_already_exists:  # type: ignore[has-type]
            self.account_already_exists = False
            with transaction.atomic():
                self.save(request)
                transaction.set_rollback(True)
            self.account_already_exists = True
        return super().try_save(request)


class NewPasswordForm(ResetPasswordKeyForm):  # type: ignore[misc]
    """A new password by the link of a mail; tokens that somebody else may have made go with the old one."""

    revoke = forms.ModelMultipleChoiceField(
        label=_("Revoke these API tokens"),
        queryset=ApiToken.objects.none(),
        widget=forms.CheckboxSelectMultiple,
        required=False,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.user and (tokens := active_tokens(self.user)):
            self.fields["revoke"].queryset = tokens
            self.fields["revoke"].initial = tokens
        else:
            del self.fields["revoke"]

    def save(self) -> None:
        super().save()
        for token in self.cleaned_data.get("revoke", ()):
            revoke_token(token, by=self.user)

"""Tables of people: accounts, tokens, consent, rates, the audit log."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from cifarsite.core.append_only import AppendOnly
from cifarsite.core.webhooks import LONGEST_ADDRESS


class User(AbstractUser):
    """Somebody with an account. E-mail addresses are kept by django-allauth."""

    language = models.CharField(_("language"), max_length=10, blank=True)
    # A name of the IANA database, as 'Asia/Ho_Chi_Minh'; empty: the site's own.
    time_zone = models.CharField(_("time zone"), max_length=64, blank=True, db_default="")


class ApiToken(models.Model):
    """Lets a program act for a person; only its hash is kept. See ``classifier.accounts.tokens``."""

    class Scope(models.TextChoices):
        PREDICT = "predict", _("upload photos and have them recognised")
        READ = "read", _("read photos, predictions and models")
        TRAIN = "train", _("train, promote and roll back models (staff)")

    owner = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="api_tokens", verbose_name=_("owner")
    )
    name = models.CharField(_("name"), max_length=100)
    # The beginning of the token, by which its owner tells it from others.
    prefix = models.CharField(_("begins with"), max_length=12, editable=False)
    sha256 = models.CharField(_("sha256"), max_length=64, unique=True, editable=False)
    scopes = models.JSONField(_("scopes"))
    created_at = models.DateTimeField(_("made at"), auto_now_add=True)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, editable=False)
    last_used_at = models.DateTimeField(_("last used at"), null=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def state(self) -> str:
        """'active', 'expired' or 'revoked'."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= timezone.now() else "active"


class WebhookAddress(models.Model):
    """Where a person is told of their batches, and what signs it. See ``classifier.uploads.webhooks``."""

    owner = models.OneToOneField(
        User, on_delete=models.CASCADE, related_name="webhook", verbose_name=_("owner")
    )
    url = models.CharField(_("address"), max_length=LONGEST_ADDRESS)
    secret = models.CharField(_("secret"), max_length=64, editable=False)
    changed_at = models.DateTimeField(_("changed at"), auto_now=True)

    class Meta:
        verbose_name = _("webhook address")
        verbose_name_plural = _("webhook addresses")

    def __str__(self) -> str:
        return self.url


class RateCount(models.Model):
    """How often somebody asked within one window of time; see ``classifier.accounts.rate_limits``."""

    key = models.CharField(_("key"), max_length=100, primary_key=True)
    count = models.PositiveBigIntegerField(_("count"), default=0)
    ends_at = models.DateTimeField(_("window ends at"), db_index=True)

    class Meta:
        verbose_name = _("rate count")
        verbose_name_plural = _("rate counts")

    def __str__(self) -> str:
        return f"{self.key}: {self.count}"


class IdempotentRequest(models.Model):
    """A request that is answered once, however often it is sent; see ``classifier.accounts.idempotency``."""

    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", verbose_name=_("owner"))
    key = models.CharField(_("key"), max_length=255)
    request_sha256 = models.CharField(_("sha256 of the request"), max_length=64)
    # Null while the first request is still at work.
    status = models.PositiveSmallIntegerField(_("status"), null=True)
    answer = models.JSONField(_("response"), null=True)
    created_at = models.DateTimeField(_("requested at"), auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "key"], name="one_answer_a_key")]
        verbose_name = _("idempotent request")
        verbose_name_plural = _("idempotent requests")

    def __str__(self) -> str:
        return self.key


class AuditEntry(AppendOnly):
    """What happened that may have to be accounted for. Append-only; see ``classifier.accounts.audit``."""

    # Refusals, which anybody can cause.
    kinds_that_age = (
        *("access_refused", "upload_refused"),
        *("sign_in_failed", "sign_in_locked", "second_factor_failed"),
    )

    created_at = models.DateTimeField(_("at"), auto_now_add=True, db_index=True)
    kind = models.CharField(_("kind"), max_length=50, db_index=True)
    by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("by")
    )
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    # Ids and codes, never a name: this line stays when the account is gone.
    detail = models.TextField(_("detail"), blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d %H:%M} {self.kind}"


class Consent(models.Model):
    """May the photos that a person corrects train models? Remembered, and revocable."""

    user = models.OneToOneField(
        User, on_delete=models.CASCADE, related_name="consent", verbose_name=_("user")
    )
    given = models.BooleanField(_("given"))
    changed_at = models.DateTimeField(_("changed at"), auto_now=True)

    class Meta:
        ordering = ["user"]
        verbose_name = _("consent to train on photos")
        verbose_name_plural = _("consents to train on photos")

    def __str__(self) -> str:
        return f"{self.user}: {self.given}"

"""Mails go through the backend that ``EMAIL_URL`` names; those that fail are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend

from cifarsite.core.metrics import MAILS_FAILED


class CountingBackend(BaseEmailBackend):
    """``EMAIL_BACKEND``, around ``MAIL_BACKEND``."""

    def __init__(self, fail_silently: bool = False, **options: Any) -> None:
        super().__init__(fail_silently)
        self._backend = get_connection(settings.MAIL_BACKEND, fail_silently=fail_silently, **options)

    def open(self) -> bool | None:
        return self._backend.open()

    def close(self) -> None:
        self._backend.close()

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        try:
            return self._backend.send_messages(email_messages)
        except Exception:  # a mail server may fail in any way
            MAILS_FAILED.inc(len(email_messages))
            raise

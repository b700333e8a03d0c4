"""Mails that a page causes: written down at once, sent by a worker, and gone once they are sent.

So an answer takes the same time whether or not there is somebody to write to, and a mail server that is
away delays a mail instead of showing somebody an error page.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial

from django.core.mail import EmailMessage
from django.db import transaction
from django.utils import timezone

from cifarsite.core.wakeups import publish
from classifier.models import Mail

logger = logging.getLogger(__name__)

# Seconds until the next try after the first, second ... failure; after the last one it is given up.
WAITS = (30, 120, 600, 3_600, 21_600)
# A try that was begun and never ended, since its process was killed, is made again after this.
CLAIM = timedelta(seconds=60)
AT_A_TIME = 20


def send_later(message: EmailMessage) -> None:
    """Have a worker send this soon."""
    Mail.objects.create(to=", ".join(message.to), subject=str(message.subject), body=str(message.body))
    transaction.on_commit(partial(publish, "classifier.tasks.send_mails"))


def send_due() -> dict[str, int]:
    """Send what waits. Returns how many were sent and how many failed."""
    counts = {"mails_sent": 0, "mails_failed": 0}
    for mail in Mail.objects.filter(due_at__lte=timezone.now()).order_by("due_at", "pk")[:AT_A_TIME]:
        # Of two processes only one gets the row.
        mine = Mail.objects.filter(pk=mail.pk, due_at=mail.due_at)
        if not mine.update(due_at=timezone.now() + CLAIM):
            continue
        try:
            EmailMessage(mail.subject, mail.body, None, [mail.to]).send()
        except Exception as error:  # each way to send mail has errors of its own
            counts["mails_failed"] += 1
            _try_again(mail, error)
            break  # the next one would most likely wait for the same server
        mail.delete()
        counts["mails_sent"] += 1
    return counts


def _try_again(mail: Mail, error: Exception) -> None:
    if mail.tries >= len(WAITS):
        logger.error("A mail was given up after %s tries: %s", mail.tries + 1, error)
        mail.delete()
        return
    logger.warning("A mail could not be sent (try %s): %s", mail.tries + 1, error)
    due = timezone.now() + timedelta(seconds=WAITS[mail.tries])
    Mail.objects.filter(pk=mail.pk).update(tries=mail.tries + 1, due_at=due)

"""One mail to staff when a week has changed."""

from __future__ import annotations

import logging
from datetime import UTC, date
from urllib.parse import urlencode

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import override

from classifier.feedback.training_photos import trainable
from classifier.models import DriftAlert, User
from classifier.monitoring.drift import advice, compare
from classifier.monitoring.drift_days import sum_up_days
from training.models import DEFAULT_PROJECT, Project

logger = logging.getLogger(__name__)


def watch() -> dict[str, int]:
    """The sweeper's part: sum up days that are over; after a new one, look whether to raise an alert."""
    written = raised = 0
    for project in Project.objects.all():
        new = sum_up_days(project.pk)
        written += new
        raised += int(_raise_alert(project)) if new and settings.DRIFT_ALERT_POINTS else 0
    return {"drift_days": written, "drift_alerts": raised}


def _raise_alert(project: Project) -> bool:
    """One mail a change: not again before the week was once like the reference."""
    until = timezone.now().astimezone(UTC).date()
    found = compare(until, project.pk)
    open_ones = DriftAlert.objects.filter(project=project, closed_at=None)
    is_open = open_ones.exists()
    if not found.changed:
        if is_open and found.findings:
            open_ones.update(closed_at=timezone.now())
        return False
    if is_open:
        return False
    with transaction.atomic():
        names = [finding.name for finding in found.changed]
        _alert, created = DriftAlert.objects.get_or_create(
            project=project, until=until, closed_at=None, defaults={"findings": names}
        )
        if created:
            transaction.on_commit(lambda: _tell_staff(until, project))
    return created


def _tell_staff(until: date, project: Project) -> None:
    """Mail everybody on the staff in their language; a failure is logged, the page has it all."""
    examples = trainable(project.pk).count()
    for person in User.objects.filter(is_staff=True, is_active=True).exclude(email=""):
        with override(person.language or settings.LANGUAGE_CODE):
            found = compare(until, project.pk)
            lines = [_("The photos of the last seven days, or their predictions, differ from the reference:")]
            lines += [f"- {row.text}: {row.before} → {row.now} ({row.difference})" for row in found.changed]
            which = {"until": until.isoformat()}
            if project.pk != DEFAULT_PROJECT:
                lines.insert(0, _("Project: %(project)s") % {"project": project.name})
                which["project"] = project.pk
            page = f"{settings.BASE_URL}{reverse('classifier:drift')}?{urlencode(which)}"
            lines += ["", advice(found, examples), "", _("Details: %(page)s") % {"page": page}]
            subject = _("Drift: the photos or their predictions have changed")
        try:
            send_mail(subject, "\n".join(lines), None, [person.email])
        except Exception as error:  # a mail server may fail in any way
            logger.warning("The mail about drift was not sent: %s", error)

"""The mail to whoever asked for a training job, when it is over."""

from __future__ import annotations

import logging

from django.conf import settings
from django.core.mail import send_mail
from django.utils.translation import gettext as _
from django.utils.translation import override

from cifarsite.core.numbers import percent
from training.models import DEFAULT_PROJECT, TrainingJob

logger = logging.getLogger(__name__)


def tell_requester(job: TrainingJob) -> None:
    """Mail whoever asked for the run that it is over; a failure is logged."""
    job = TrainingJob.objects.select_related("requested_by").get(pk=job.pk)
    address = getattr(job.requested_by, "email", "")
    if not address or not job.is_over:
        return
    with override(getattr(job.requested_by, "language", "") or settings.LANGUAGE_CODE):
        subject = _("Training job #%(id)s: %(state)s") % {"id": job.pk, "state": job.get_state_display()}
        text = _mail(job)
    try:
        send_mail(subject, text, None, [address])
    except Exception as error:  # a mail server may fail in any way
        logger.warning("The mail about job #%s was not sent: %s", job.pk, error)


def _mail(job: TrainingJob) -> str:
    model = job.made().first()
    lines = [_("Training job #%(id)s (%(recipe)s) has finished: %(state)s.")]
    if job.project_id != DEFAULT_PROJECT:
        lines.append(_("Project: %(project)s"))
    if job.error_detail:
        lines.append("%(error)s")
    if model:
        lines.append(_("Model %(model)s has a test accuracy of %(accuracy)s.") + "\n%(model_page)s")
    lines.append(_("Details: %(page)s"))
    return "\n\n".join(lines) % {
        "id": job.pk,
        "recipe": job.recipe,
        "project": job.project_id,
        "state": job.get_state_display(),
        "error": job.error_detail,
        "model": model,
        "accuracy": percent(model.test_accuracy if model else None),
        "model_page": settings.BASE_URL + model.get_absolute_url() if model else "",
        "page": settings.BASE_URL + job.get_absolute_url(),
    }

"""A person's own numbers, everything the site has of them as one ZIP, and its deletion."""

from __future__ import annotations

import json
import logging
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db.models import Count, Exists, F, OuterRef, Q
from django.db.models.fields.files import FieldFile
from django.db.models.functions import TruncMonth
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from cifarsite.core.storage import StorageUnavailable
from classifier.accounts import audit
from classifier.feedback.corrections import consent
from classifier.models import NOT_SURE, ArchiveUpload, Example, Mail, Prediction, User
from classifier.photos import daily_counts
from classifier.photos import export as exports
from classifier.photos.files import open_for_download
from classifier.photos.history import history, remove_photos
from classifier.photos.labels import Count as ClassCount
from classifier.photos.labels import counted
from classifier.photos.projects import classes_by_project
from classifier.privacy import data_inventory
from classifier.uploads import chunked
from classifier.uploads.batches import remove_archive
from training.models import DEFAULT_PROJECT, Project

logger = logging.getLogger(__name__)

REMOVED_AT_ONCE = 500
# How long a sign-up waits for its address to be confirmed.
UNCONFIRMED = timedelta(days=30)


class LastAdministrator(Exception):
    """The site would be left without anybody who may administer it; the message says what to do."""


# --- Numbers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Numbers:
    """What a person has done here.

    Attributes:
        projects: (project, answered photos, counts of its classes), those with photos; the default one
            where there are none.
        months: (first day, answers given, answers that agree with the model), oldest first.
    """

    photos: int
    projects: list[tuple[Project, int, list[ClassCount]]]
    corrections: int
    agreeing: int
    accepted: int
    months: list[tuple[Any, int, int]]


def numbers(user: User) -> Numbers:
    """A few grouped queries of one's corrections; photos are not counted, their days are added up."""
    by_class = daily_counts.by_class(user)
    by_class = by_class or {DEFAULT_PROJECT: Counter()}
    shown = list(Project.objects.filter(pk__in=by_class).order_by("name", "slug"))
    names = classes_by_project(project.pk for project in shown)
    said = user.corrections.exclude(label=NOT_SURE).exclude(predicted="").order_by()
    agrees = Count("pk", filter=Q(label=F("predicted")))
    accepted = Count("pk", filter=Q(state="accepted"))
    by_month = said.annotate(month=TruncMonth("created_at")).values_list("month").order_by("month")
    rows = list(by_month.annotate(n=Count("pk"), agreeing=agrees, accepted=accepted))
    return Numbers(
        photos=sum(counts.total() for counts in by_class.values()),
        projects=[
            (
                project,
                by_class[project.pk].total(),
                counted(names[project.pk], by_class[project.pk], project.pk),
            )
            for project in shown
        ],
        corrections=sum(n for _month, n, _agreeing, _accepted in rows),
        agreeing=sum(agreeing for _month, _n, agreeing, _accepted in rows),
        accepted=sum(accepted for _month, _n, _agreeing, accepted in rows),
        months=[(month, n, agreeing) for month, n, agreeing, _accepted in rows],
    )


# --- Everything as one ZIP --------------------------------------------------------------------


def export(user: User) -> Iterator[bytes]:
    """A ZIP in pieces, never whole in memory: the account, each table's rows, answers, and files."""
    pipe = exports.Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("account.json", json.dumps(account(user), indent=2, ensure_ascii=False))
        yield pipe.taken()
        tables = [(f"tables/{name}.jsonl", rows) for name, rows in data_inventory.exported(user)]
        for name, rows in [("photos.jsonl", exports.history_results(history(user))), *tables]:
            with archive.open(name, "w", force_zip64=True) as lines:
                for line in exports.json_lines(rows):
                    lines.write(line.encode())
                    yield pipe.taken()
            yield pipe.taken()
        for name, field in own_files(user):
            try:
                with open_for_download(field)[0] as file:
                    archive.writestr(name, file.read())
            except StorageUnavailable:
                raise  # a broken download can be repeated, an incomplete one looks whole
            except (OSError, ValueError, SyntaxError):
                logger.warning("%s is missing from an export.", field.name)
            yield pipe.taken()
    yield pipe.taken()


def own_files(user: User) -> Iterator[tuple[str, FieldFile]]:
    """(name in the export, file): photos, what models saw of them, and accepted examples."""
    kept = user.photos.filter(deleted_at=None).order_by("pk")
    for photo in kept.iterator(chunk_size=500):
        yield f"photos/{photo.pk}.jpg", photo.display
    for answer in Prediction.objects.filter(photo__in=kept).order_by("pk").iterator(chunk_size=500):
        yield f"inputs/{answer.photo_id}-{answer.pk}.png", answer.input
    for example in Example.objects.filter(photo__in=kept).order_by("pk").iterator(chunk_size=500):
        yield f"examples/{example.photo_id}.png", example.image


def account(user: User) -> dict[str, Any]:
    """The account itself; what belongs to it stands in the tables."""
    return {
        "username": user.get_username(),
        "first_name": user.first_name,
        "last_name": user.last_name,
        "emails": list(EmailAddress.objects.filter(user=user).values_list("email", flat=True))
        or [user.email],
        "joined": user.date_joined.isoformat(),
        "last_login": user.last_login and user.last_login.isoformat(),
        "staff": user.is_staff,
        "language": user.language,
        "time_zone": user.time_zone,
        "consent_to_training": consent(user),
    }


# --- Deletion ---------------------------------------------------------------------------------


def delete_account(user: User) -> None:
    """Remove a person: photos, files, tokens, sessions, queued work. It can be asked for again.

    The audit lines stay, without a name or an address; models stay, and the dataset versions that
    hold photos of this person are marked.

    Raises:
        LastAdministrator: nobody else could administer the site.
    """
    others = User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk)
    if user.is_superuser and not others.exists():
        raise LastAdministrator(
            _("You are the only administrator: make somebody else an administrator first.")
        )
    audit.forget_addresses(user)
    forget_in_the_administrations_log(user)
    for session in UserSession.objects.filter(user=user):
        session.end()
    addresses = EmailAddress.objects.filter(user=user).values("email")
    Mail.objects.filter(Q(to__in=addresses) | Q(to=user.email)).delete()
    for upload in ArchiveUpload.objects.filter(owner=user):
        chunked.remove(upload)
    for batch in user.batches.all():
        remove_archive(batch)
    # First, so that no worker stores another photo.
    user.batches.all().delete()
    while user.photos.exists():
        remove_photos(user.photos.order_by("pk"), REMOVED_AT_ONCE)
    audit.record("account_deleted", detail=f"user {user.pk}")
    user.delete()


def forget_in_the_administrations_log(user: User) -> None:
    """Its lines name what was changed: take out names of the person, their addresses and photos."""
    person: tuple[Any, str, data_inventory.Link] = (User, "pk", data_inventory.Link(""))
    for model, way, link in [person, *data_inventory.links()]:
        if link.stays:
            continue
        lines = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(model))
        named = set(lines.values_list("object_id", flat=True))
        rows = model._default_manager.filter(**{way: user.pk}, pk__in=named) if named else []
        for row in rows:
            text = f"{model._meta.model_name} {row.pk}"
            lines.filter(object_id=str(row.pk)).update(object_repr=text, change_message="")


# --- Retention --------------------------------------------------------------------------------


def purge_sessions(limit: int = 1_000) -> int:
    """Forget sessions that are over, and where they were opened from. Returns how many."""
    over = Session.objects.filter(expire_date__lt=timezone.now())
    keys = list(over.values_list("session_key", flat=True)[:limit])
    UserSession.objects.filter(session_key__in=keys).delete()
    return Session.objects.filter(session_key__in=keys).delete()[0] if keys else 0


def purge_unconfirmed(limit: int = 100) -> int:
    """Forget sign-ups whose address was never confirmed within thirty days. Returns how many."""
    confirmed = EmailAddress.objects.filter(user=OuterRef("pk"), verified=True)
    over = User.objects.filter(
        ~Exists(confirmed),
        emailaddress__isnull=False,
        date_joined__lt=timezone.now() - UNCONFIRMED,
        last_login=None,
        is_staff=False,
        photos=None,
        api_tokens=None,
    )
    gone = list(over.distinct()[:limit])
    for user in gone:
        delete_account(user)
    return len(gone)

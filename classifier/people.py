"""A person's own numbers, everything the site has of them as one ZIP, and its deletion."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.db.models import Count, F, Q
from django.db.models.functions import TruncMonth
from django.utils.translation import gettext_lazy as _

from classifier import audit, exports
from classifier.batches import remove_archive
from classifier.corrections import NOT_SURE, consent
from classifier.history import history, remove_photos
from classifier.models import CLASS_CHOICES, Prediction, User

logger = logging.getLogger(__name__)

REMOVED_AT_ONCE = 500


class LastAdministrator(Exception):
    """The site would be left without anybody who may administer it; the message says what to do."""


# --- Numbers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Numbers:
    """What a person has done here.

    Attributes:
        counts: (class, its translation, photos, share of the largest count).
        months: (first day, answers given, answers that agree with the model), oldest first.
    """

    photos: int
    counts: list[tuple[str, Any, int, float]]
    corrections: int
    agreeing: int
    accepted: int
    months: list[tuple[Any, int, int]]


def numbers(user: User) -> Numbers:
    """Counted anew; a few grouped queries, however many photos there are."""
    done = history(user).filter(status=Prediction.Status.DONE).order_by()
    by_class: dict[str, int] = dict(done.values_list("label").annotate(n=Count("pk")))
    most = max(by_class.values(), default=0) or 1
    said = user.corrections.exclude(label=NOT_SURE).exclude(predicted="").order_by()
    agrees = Count("pk", filter=Q(label=F("predicted")))
    months = said.annotate(month=TruncMonth("created_at")).values_list("month")
    totals = said.aggregate(n=Count("pk"), agreeing=agrees, accepted=Count("pk", filter=Q(state="accepted")))
    return Numbers(
        photos=sum(by_class.values()),
        counts=[(c, text, by_class.get(c, 0), by_class.get(c, 0) / most) for c, text in CLASS_CHOICES],
        corrections=totals["n"],
        agreeing=totals["agreeing"],
        accepted=totals["accepted"],
        months=list(months.annotate(n=Count("pk"), agreeing=agrees).order_by("month")),
    )


# --- Everything as one ZIP --------------------------------------------------------------------


class _Pipe(io.RawIOBase):
    """Where zipfile writes; what was written is taken out again and sent."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._pieces.append(bytes(content))
        return len(content)

    def taken(self) -> bytes:
        content, self._pieces = b"".join(self._pieces), []
        return content


def export(user: User) -> Iterator[bytes]:
    """A ZIP in pieces, never whole in memory: account, answers, corrections, photos."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("account.json", json.dumps(account(user), indent=2, ensure_ascii=False))
        yield pipe.taken()
        with archive.open("photos.jsonl", "w", force_zip64=True) as lines:
            for line in exports.json_lines(exports.history_results(history(user))):
                lines.write(line.encode())
                yield pipe.taken()
        for photo in user.photos.filter(deleted_at=None).order_by("pk").iterator(chunk_size=500):
            try:
                with photo.display.open("rb") as file:
                    archive.writestr(f"photos/{photo.pk}.jpg", file.read())
            except OSError:
                logger.warning("%s is missing from an export.", photo.display.name)
            yield pipe.taken()
    yield pipe.taken()


def account(user: User) -> dict[str, Any]:
    """What the site knows of a person besides their photos."""
    batches = user.batches.values("id", "filename", "sha256", "size", "state", "created_at")
    tokens = user.api_tokens.values("name", "scopes", "created_at", "expires_at", "last_used_at")
    return {
        "username": user.get_username(),
        "emails": list(EmailAddress.objects.filter(user=user).values_list("email", flat=True))
        or [user.email],
        "joined": user.date_joined.isoformat(),
        "language": user.language,
        "consent_to_training": consent(user),
        "corrections": _plain(user.corrections.values("photo", "label", "predicted", "state", "created_at")),
        "batches": _plain(batches),
        "api_tokens": _plain(tokens),
    }


def _plain(rows: Any) -> list[dict[str, Any]]:
    kept = (str, int, float, bool, list, type(None))
    return [{k: v if isinstance(v, kept) else str(v) for k, v in row.items()} for row in rows]


# --- Deletion ---------------------------------------------------------------------------------


def delete_account(user: User, *, request: Any = None) -> None:
    """Remove a person: photos, files, tokens, sessions, queued work. It can be asked for again.

    The audit lines stay, without a name or an address; models stay, and the dataset versions that
    hold photos of this person are marked.

    Raises:
        LastAdministrator: nobody else could administer the site.
    """
    others = User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk)
    if user.is_superuser and not others.exists():
        raise LastAdministrator(_("You are the only administrator: make somebody else one first."))
    audit.forget_addresses(user)
    for session in UserSession.objects.filter(user=user):
        session.end()
    for batch in user.batches.all():
        remove_archive(batch)
    # First, so that no worker stores another photo.
    user.batches.all().delete()
    while remove_photos(user.photos.order_by("pk")[:REMOVED_AT_ONCE]):
        continue
    audit.record("account_deleted", detail=f"user {user.pk}")
    user.delete()

"""Why an archive, an entry of it or a table of labels is refused: a code and a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

SENTENCES: dict[str, StrOrPromise] = {
    # Of the whole archive.
    "archive_empty": _("This archive holds no files. Put photos into it and upload it again."),
    "archive_too_large": _("This archive is larger than {limit} MB. Split it into several ones."),
    "not_an_archive": _("This file is not a ZIP archive. Pack the photos as ZIP and upload that."),
    "archive_damaged": _("This ZIP archive is damaged or incomplete. Make it again, then upload it."),
    "too_many_entries": _("This archive holds more than {limit} files. Split it into several ones."),
    "entries_overlap": _("Entries of this ZIP archive share the same bytes. Make it again, then upload it."),
    # Of one entry.
    "unsafe_path": _(
        "The name of this entry points outside the archive. Pack the file again by its plain name."
    ),
    "too_deep": _("This file lies more than {limit} folders deep. Move it up and pack it again."),
    "name_too_long": _("The name of this entry is longer than {limit} characters. Shorten it."),
    "not_a_file": _("This entry is a link or a device, not a file. Pack the photo itself."),
    "nested_archive": _("This is an archive inside the archive. Unpack it, then upload its photos."),
    "encrypted": _("This entry is encrypted. Pack the photos without a password."),
    "unsupported_compression": _(
        "This entry is packed by a method other than 'deflate'. Pack it as a usual ZIP."
    ),
    "entry_damaged": _("This entry is damaged or incomplete. Make the archive again."),
    "too_large": _(
        "This file is larger than {limit} MB. Use a smaller copy of the photo, a JPEG for instance."
    ),
    "ratio": _("This entry unpacks to more than {limit} times its size, as no photo does. Save it as JPEG."),
    "unpacked_too_large": _(
        "The files before this one already unpack to {limit} MB. Upload the rest by itself."
    ),
}


class Rejected(Exception):
    """Base of the refusals: ``code`` for programs, ``detail`` for people (lazy)."""

    def __init__(self, code: str, detail: StrOrPromise | None = None, **figures: int | float | str) -> None:
        super().__init__(code)
        self.code = code
        self.detail: StrOrPromise = format_lazy(SENTENCES[code], **figures) if detail is None else detail


class ArchiveRefused(Rejected):
    """Nothing of this archive can be used."""


class EntryRefused(Rejected):
    """This entry is not read; the others may be."""


class UploadRefused(Rejected):
    """This piece or this upload cannot be taken; ``code`` and ``detail`` say why."""


class StorageFull(Rejected):
    """The site has no space for the archive."""

    def __init__(self) -> None:
        sentence = _("The site has no space left for this archive. Nothing was stored; try again later.")
        super().__init__("storage_full", sentence)


class ArchivesFull(Rejected):
    """This person's archives take as much space as they may."""

    def __init__(self) -> None:
        sentence = _(
            "Your archives that are paused or not unpacked yet would take more than %(limit)d "
            "MB. Wait until a batch has finished, or cancel one."
        )
        super().__init__("quota", sentence % {"limit": settings.QUOTA_ARCHIVES_MB})


class TruthRefused(Rejected):
    """The table of true labels cannot be used; ``detail`` names the line."""

    def __init__(self, detail: StrOrPromise) -> None:
        super().__init__("truth_invalid", detail)

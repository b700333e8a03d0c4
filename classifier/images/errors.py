"""Why a file is refused: a code for programs and a sentence that tells a person what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from classifier.images.formats import FORMAT_NAMES

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

# reason: (code of the API, sentence). Several reasons may share a code.
REASONS: dict[str, tuple[str, StrOrPromise]] = {
    "empty": ("empty", _("This file is empty. Choose the photo again, or take another copy of it.")),
    "too_large": (
        "too_large",
        _("This file is larger than {limit} MB. Upload a smaller copy of the photo, a JPEG for instance."),
    ),
    "too_many_pixels": (
        "too_many_pixels",
        _("This image has {megapixels} megapixels; at most {limit} are accepted. Upload a smaller copy."),
    ),
    "too_many_pixels_of_kind": (
        "too_many_pixels",
        _(
            "This {format} image has {megapixels} megapixels; {format} images of this kind take much memory, "
            "and at most {limit} are accepted. Save it as an ordinary JPEG, or upload a smaller copy."
        ),
    ),
    "too_long": (
        "too_many_pixels",
        _("This image is {side} pixels long; at most {limit} are accepted. Crop it or scale it down."),
    ),
    "not_an_image": (
        "not_an_image",
        _("This file is not an image. Upload a file of one of these kinds: {formats}."),
    ),
    "unsupported_format": (
        "unsupported_format",
        _("{format} files are not accepted. Save the image as JPEG or PNG and upload that."),
    ),
    "video": (
        "unsupported_format",
        _("This is a video. Only photos are accepted: save one frame as JPEG and upload that."),
    ),
    "truncated": (
        "truncated",
        _(
            "This {format} file is incomplete, perhaps after a broken transfer. Copy it again, "
            "then upload it."
        ),
    ),
    "damaged": (
        "not_an_image",
        _("This {format} file is damaged. Open it in a photo program, save it as JPEG and upload that."),
    ),
    "too_costly": (
        "not_an_image",
        _("This file takes too much time or memory to open. Save the image as JPEG or PNG and upload that."),
    ),
}


class ImageRefused(Exception):
    """The file is not accepted.

    Attributes:
        code: ``too_large``, ``too_many_pixels``, ``not_an_image``, ``unsupported_format``,
            ``truncated`` or ``empty``.
        detail: a sentence in the reader's language (lazy), with the limit's figure in it.
        reason, figures: what ``because`` was given, to carry the refusal between processes.
    """

    def __init__(
        self,
        code: str,
        detail: StrOrPromise,
        *,
        reason: str | None = None,
        figures: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.reason = reason
        self.figures = figures or {}

    @classmethod
    def because(cls, reason: str, **figures: str | int | float) -> ImageRefused:
        """Make the refusal for one of ``REASONS``; ``figures`` fill its sentence."""
        code, sentence = REASONS[reason]
        detail = format_lazy(sentence, formats=FORMAT_NAMES, **figures)
        return cls(code, detail, reason=reason, figures=figures)

    def __str__(self) -> str:
        # For logs, and without the translation that `detail` needs Django's settings for.
        return f"{self.code} ({self.reason}, {self.figures})" if self.reason else self.code

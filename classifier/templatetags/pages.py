"""Small parts that many pages show: icons, links of the navigation, bars."""

from typing import Any

from django import template
from django.conf import settings
from django.contrib.messages.storage.base import Message
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from cifarsite.core.numbers import decimal
from cifarsite.core.pages import colour_of
from classifier.accounts.middleware import time_zones
from classifier.models import Ranked, class_title
from classifier.photos.labels import FEW_CLASSES, ROWS_SHOWN, Label, class_labels
from training.models import DEFAULT_PROJECT

register = template.Library()


@register.simple_tag
def icon(name: str, classes: str = "") -> SafeString:
    """A symbol of the vendored sprite; decoration, so hidden from screen readers."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        classes,
        static("vendor/icons.svg"),
        name,
    )


register.simple_tag(time_zones)


@register.simple_tag
def site_time_zone() -> str:
    return settings.TIME_ZONE


@register.inclusion_tag("_nav_link.html", takes_context=True)
def nav_link(context: dict[str, Any], view: str, icon_name: str, text: str) -> dict[str, Any]:
    """A link of the main navigation, marked where its page or one below it is shown."""
    try:
        url = reverse(view)
    except NoReverseMatch:
        return {}
    path = getattr(context.get("request"), "path", "")
    return {
        "url": url,
        "name": icon_name,
        "text": text,
        "current": path == url or (url != "/" and path.startswith(url)),
    }


@register.inclusion_tag("_bar.html")
def bar(colour: str, probability: float) -> dict[str, Any]:
    """A bar in a colour of ``colour_of``; ``probability`` from 0 to 1."""
    # Written with a point whatever the language: it is an attribute of the drawing.
    return {"colour": colour, "width": f"{100 * probability:.2f}"}


@register.filter
def percent(value: float | None) -> float:
    """0.5 becomes 50.0, to be shown by ``floatformat`` in the reader's way."""
    return 100 * (value or 0)


@register.simple_tag
def example_classes() -> list[Label]:
    """The classes of the landing page's example: CIFAR-10's, in their order."""
    return class_labels(list(EXAMPLE), DEFAULT_PROJECT)


@register.simple_tag
def ten_classes() -> list[tuple[str, str]]:
    """(class name, its translation) in CIFAR-10's order."""
    return [(label.name, label.text) for label in example_classes()]


@register.filter
def first_rows(rows: list[Any]) -> list[Any]:
    """Those of a table of classes that are shown at once: all, or the first ten of many."""
    return rows if len(rows) <= FEW_CLASSES else rows[: FEW_CLASSES // 2]


@register.filter
def other_rows(rows: list[Any]) -> list[Any]:
    """Those that are shown on request, up to a page of them."""
    return [] if len(rows) <= FEW_CLASSES else rows[FEW_CLASSES // 2 : ROWS_SHOWN]


@register.simple_tag
def undo_ids(message: Message) -> list[str]:
    """Ids of the photos that a message's 'Undo' brings back."""
    tags = message.extra_tags or ""
    return tags.removeprefix("undo:").split(",") if tags.startswith("undo:") else []


@register.simple_tag
def undo_at(message: Message) -> str:
    """The moment at which many photos were deleted, which a message's 'Undo' brings back."""
    tags = message.extra_tags or ""
    return tags.removeprefix("undo-at:") if tags.startswith("undo-at:") else ""


@register.simple_tag
def milliseconds(seconds: float) -> str:
    """0.0123 becomes '12 ms', and from a second on '1.2 s', in the reader's way."""
    if seconds >= 1:
        return _("%(seconds)s s") % {"seconds": decimal(seconds, 1)}
    return _("%(milliseconds)s ms") % {"milliseconds": decimal(1000 * seconds, 0 if seconds > 0.01 else 1)}


@register.simple_tag
def mails_go_to_console() -> bool:
    """The default set-up prints mails instead of sending them."""
    return settings.MAIL_BACKEND == "django.core.mail.backends.console.EmailBackend"


# What the shipped model answered to the photo of the landing page (static/brand/example.jpg).
EXAMPLE = {
    "airplane": 0.0001,
    "automobile": 0.0013,
    "bird": 0.0005,
    "cat": 0.9973,
    "deer": 0.0001,
    "dog": 0.0001,
    "frog": 0.0002,
    "horse": 0.0001,
    "ship": 0.0002,
    "truck": 0.0001,
}


@register.simple_tag
def example_answer() -> list[Ranked]:
    """CIFAR-10's classes with the probabilities of the example, most probable first."""
    rows = [Ranked(c, class_title(c), p, colour_of(place)) for place, (c, p) in enumerate(EXAMPLE.items())]
    return sorted(rows, key=lambda row: -row.probability)

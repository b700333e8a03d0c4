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

from classifier.models import CLASS_CHOICES
from training.charts import decimal

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
def bar(class_name: str, probability: float) -> dict[str, Any]:
    """A bar in the colour of the class; ``probability`` from 0 to 1."""
    # Written with a point whatever the language: it is an attribute of the drawing.
    return {"class_name": class_name, "width": f"{100 * probability:.2f}"}


@register.filter
def percent(value: float | None) -> float:
    """0.5 becomes 50.0, to be shown by ``floatformat`` in the reader's way."""
    return 100 * (value or 0)


@register.simple_tag
def ten_classes() -> list[tuple[str, Any]]:
    """(class name, its translation) in CIFAR-10's order."""
    return list(CLASS_CHOICES)


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
    return settings.EMAIL_BACKEND == "django.core.mail.backends.console.EmailBackend"


# What the shipped model answered to the drawing of the landing page (static/brand/example.svg).
EXAMPLE = {
    "airplane": 0.0033,
    "automobile": 0.0021,
    "bird": 0.0018,
    "cat": 0.0011,
    "deer": 0.0009,
    "dog": 0.0023,
    "frog": 0.0011,
    "horse": 0.0009,
    "ship": 0.9847,
    "truck": 0.0019,
}


@register.simple_tag
def example_answer() -> list[tuple[str, Any, float]]:
    """(class name, its translation, probability), most probable first."""
    names = dict(CLASS_CHOICES)
    return [(c, names[c], p) for c, p in sorted(EXAMPLE.items(), key=lambda item: -item[1])]

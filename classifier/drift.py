"""Do people's photos, and the answers to them, change? A week against the first weeks.

Each finished day becomes one row of sums, so that a page reads some hundred rows however many
photos there are, and the sums stay when photos are deleted. Days are those of UTC.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Count, F, Q, Sum
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import override

from classifier.corrections import NOT_SURE, trainable
from classifier.models import Correction, DriftAlert, DriftDay, Prediction, User
from training import model_store
from training.charts import decimal, percent
from training.engine.data import CLASS_NAMES
from training.words import count, points

logger = logging.getLogger(__name__)

WEEK, REFERENCE_DAYS = 7, 28
# Days that one pass of the sweeper sums up at most.
CATCH_UP = 14
# Fewer photos or opinions than this say nothing.
LEAST, LEAST_OPINIONS = 50, 20
# A difference counts from here on, and only where chance would hardly bring it about.
SURE, QUALITY_DEVIATIONS = 3.0, 0.5
# So many accepted corrections make a training run worth its time.
ENOUGH_TO_LEARN = 100
QUALITIES = ("brightness", "contrast", "sharpness")


@dataclass
class Window:
    """Some days taken together.

    Attributes:
        labels, verdicts: how many photos of each.
        means: name to (n, sum, sum of squares): 'confidence' and ``QUALITIES``.
        opinions, agreed: what people said about answers, and how many of them agreed.
    """

    n: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    means: dict[str, tuple[int, float, float]] = field(default_factory=dict)
    opinions: int = 0
    agreed: int = 0

    @classmethod
    def of(cls, days: Iterable[DriftDay]) -> Window:
        made = cls()
        for day in days:
            made.n += day.n
            made.labels.update(day.labels)
            made.verdicts.update(day.verdicts)
            made.opinions += day.opinions
            made.agreed += day.agreed
            for name, sums in day.sums.items():
                before = made.means.get(name, (0, 0.0, 0.0))
                made.means[name] = (before[0] + sums[0], before[1] + sums[1], before[2] + sums[2])
        return made

    def mean(self, name: str) -> float | None:
        n, total, _squares = self.means.get(name, (0, 0.0, 0.0))
        return total / n if n else None

    def variance(self, name: str) -> float:
        n, total, squares = self.means.get(name, (0, 0.0, 0.0))
        return max(squares / n - (total / n) ** 2, 0.0) if n else 0.0


@dataclass(frozen=True)
class Finding:
    """One thing that may have changed; texts are in the reader's language.

    ``is_changed``: by more than the limit, and by more than chance explains.
    """

    name: str
    text: str
    before: str
    now: str
    difference: str
    is_changed: bool


# --- Days -------------------------------------------------------------------------------------


def sum_up_days() -> int:
    """Write the rows of days that are over and have none yet; returns how many this call wrote."""
    today = timezone.now().astimezone(UTC).date()
    last = DriftDay.objects.order_by("-day").values_list("day", flat=True).first()
    if last is None:
        done = Prediction.objects.filter(status=Prediction.Status.DONE, finished_at__isnull=False)
        first = done.order_by("finished_at").values_list("finished_at", flat=True).first()
        if first is None:
            return 0
        last = first.astimezone(UTC).date() - timedelta(days=1)
    written = 0
    for number in range(1, CATCH_UP + 1):
        day = last + timedelta(days=number)
        if day >= today:
            break
        _row, created = DriftDay.objects.get_or_create(day=day, defaults=figures_of(day))
        written += created
    return written


def figures_of(day: date) -> dict[str, Any]:
    """A day's sums: of answers about whole photos, and of what people said that day."""
    start = datetime.combine(day, time(), UTC)
    within = {"gte": start, "lt": start + timedelta(days=1)}
    rows = Prediction.objects.filter(
        status=Prediction.Status.DONE,
        crop__isnull=True,
        # All there are: the index begins with it.
        priority__in=Prediction.Priority.values,
        **{f"finished_at__{name}": value for name, value in within.items()},
    )
    labels: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    for label, verdict, n in rows.values_list("label", "verdict").annotate(n=Count("id")).order_by():
        labels[label] += n
        verdicts[verdict] += n
    columns = {"confidence": "confidence", **{name: f"photo__{name}" for name in QUALITIES}}
    wanted: dict[str, Any] = {}
    for name, column in columns.items():
        wanted |= {f"{name}_n": Count(column), f"{name}_sum": Sum(column)}
        wanted[f"{name}_squares"] = Sum(F(column) * F(column))
    found = rows.aggregate(**wanted)
    opinions = Correction.objects.exclude(label=NOT_SURE).exclude(predicted="")
    opinions = opinions.filter(**{f"created_at__{name}": value for name, value in within.items()})
    said = opinions.aggregate(n=Count("id"), agreed=Count("id", filter=Q(label=F("predicted"))))
    return {
        "n": sum(labels.values()),
        "labels": labels,
        "verdicts": verdicts,
        "sums": {
            name: [found[f"{name}_n"], found[f"{name}_sum"] or 0.0, found[f"{name}_squares"] or 0.0]
            for name in columns
        },
        "opinions": said["n"],
        "agreed": said["agreed"],
    }


# --- A week against the reference -------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """A week against the reference; ``source``: 'first_weeks', 'validation' or '' for none."""

    week: Window
    reference: Window
    source: str
    findings: list[Finding]

    @property
    def changed(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.is_changed]


def compare(until: date) -> Comparison:
    """The seven days before ``until`` against the site's first weeks before those.

    Where too few photos came in the first weeks, verdicts alone are held against those on the
    champion's validation images.
    """
    start = until - timedelta(days=WEEK)
    week = Window.of(DriftDay.objects.filter(day__gte=start, day__lt=until))
    reference = Window.of(DriftDay.objects.filter(day__lt=start).order_by("day")[:REFERENCE_DAYS])
    source = "first_weeks"
    if reference.n < LEAST:
        reference = _of_validation()
        source = "validation" if reference.n else ""
    enough = week.n >= LEAST and bool(source)
    return Comparison(week, reference, source, list(_findings(reference, week)) if enough else [])


def _of_validation() -> Window:
    champion = model_store.champion()
    found = champion.card.get("verdicts", {}).get("validation") if champion else None
    return Window(n=found["n"], verdicts=Counter(found["counts"])) if found else Window()


def _findings(reference: Window, week: Window) -> Iterable[Finding]:
    limit = (settings.DRIFT_ALERT_POINTS or 10) / 100
    if reference.labels:
        yield _class_mix(reference, week, 2 * limit)
    for name, text in (
        ("none_of_the_ten", _("Answered 'none of the ten'")),
        ("unsure", _("Answered 'unsure'")),
    ):
        yield _share(
            name, text, (reference.verdicts[name], reference.n), (week.verdicts[name], week.n), limit
        )
    yield from _mean(reference, week, "confidence", _("Mean confidence"), limit, percent)
    if min(reference.opinions, week.opinions) >= LEAST_OPINIONS:
        before, now = (reference.agreed, reference.opinions), (week.agreed, week.opinions)
        yield _share("agreement", _("People agree with the answer"), before, now, limit)
    for name, text in (
        ("brightness", _("Brightness of the photos, 0 to 1")),
        ("contrast", _("Contrast of the photos, 0 to 0.5")),
        ("sharpness", _("Sharpness of the photos, about 0.75 where sharp")),
    ):
        far = QUALITY_DEVIATIONS * math.sqrt(reference.variance(name))
        yield from _mean(reference, week, name, text, far, lambda value: decimal(value, 3))


def _class_mix(reference: Window, week: Window, limit: float) -> Finding:
    """The share of the week's photos that would need another label for the mix to be as before."""
    before = {name: reference.labels[name] / reference.n for name in CLASS_NAMES}
    now = {name: week.labels[name] / week.n for name in CLASS_NAMES}
    moved = sum(abs(now[name] - before[name]) for name in CLASS_NAMES) / 2
    # What the same people with the same habits would bring about by chance.
    spread = 1 / reference.n + 1 / week.n
    chance = sum(math.sqrt(2 / math.pi * p * (1 - p) * spread) for p in before.values()) / 2
    first, last = (_commonest(shares) for shares in (before, now))
    return Finding(
        "class_mix",
        _("Mix of classes (the commonest)"),
        first,
        last,
        _("%(share)s of the photos are others") % {"share": percent(moved)},
        moved > limit and moved > 2 * chance,
    )


def _commonest(shares: dict[str, float]) -> str:
    name, share = max(shares.items(), key=lambda pair: pair[1])
    return f"{_(name)} {percent(share)}"


def _share(name: str, text: str, before: tuple[int, int], now: tuple[int, int], limit: float) -> Finding:
    old, new = before[0] / before[1], now[0] / now[1]
    pooled = (before[0] + now[0]) / (before[1] + now[1])
    error = math.sqrt(pooled * (1 - pooled) * (1 / before[1] + 1 / now[1]))
    is_changed = abs(new - old) > max(limit, SURE * error)
    difference = _("%(points)s points") % {"points": points(new - old)}
    return Finding(name, text, percent(old), percent(new), difference, is_changed)


def _mean(
    reference: Window, week: Window, name: str, text: str, limit: float, shown: Any
) -> Iterable[Finding]:
    old, new = reference.mean(name), week.mean(name)
    n_old, n_new = (window.means.get(name, (0,))[0] for window in (reference, week))
    if old is None or new is None or min(n_old, n_new) < LEAST:
        return
    error = math.sqrt(reference.variance(name) / n_old + week.variance(name) / n_new)
    is_changed = abs(new - old) > max(limit, SURE * error)
    if name == "confidence":
        difference = _("%(points)s points") % {"points": points(new - old)}
    else:
        far = decimal(abs(new - old), 3)
        sign = "±" if far == decimal(0, 3) else "+" if new > old else "−"
        difference = f"{sign}{far}"
    yield Finding(name, text, shown(old), shown(new), difference, is_changed)


def advice(found: Comparison, examples: int) -> str:
    """Is retraining worthwhile? One plain sentence, or two.

    Args:
        examples: accepted corrections that may train a model.
    """
    if found.week.n < LEAST:
        return _(
            "Only %(n)s photos were answered in this week: too few to say anything; from %(least)s on there "
            "is a comparison."
        ) % {"n": count(found.week.n), "least": LEAST}
    if not found.source:
        return _("There is nothing to compare with yet: the first weeks are still going on.")
    names = {finding.name for finding in found.changed}
    if not names:
        return _("Nothing has changed by more than chance and the limits allow: no reason to retrain.")
    if not names & {"agreement", "none_of_the_ten", "unsure", "confidence"}:
        return _(
            "The photos have changed, but the answers to them are as sure as before: retraining is not "
            "worthwhile yet. Watch whether people still agree."
        )
    if examples < ENOUGH_TO_LEARN:
        return _(
            "The answers have changed, but only %(n)s accepted corrections could teach a model anything new: "
            "review corrections first, retrain from about %(enough)s on."
        ) % {"n": count(examples), "enough": ENOUGH_TO_LEARN}
    return _(
        "Retraining is worthwhile: the answers have changed, and %(n)s accepted corrections are "
        "there to learn "
        "from."
    ) % {"n": count(examples)}


# --- Alerts -----------------------------------------------------------------------------------


def watch() -> dict[str, int]:
    """The sweeper's part: sum up days that are over; after a new one, look whether to raise an alert."""
    written = sum_up_days()
    raised = int(_raise_alert()) if written and settings.DRIFT_ALERT_POINTS else 0
    return {"drift_days": written, "drift_alerts": raised}


def _raise_alert() -> bool:
    """One mail a change: not again before the week was once like the reference."""
    until = timezone.now().astimezone(UTC).date()
    found = compare(until)
    is_open = DriftAlert.objects.filter(closed_at=None).exists()
    if not found.changed:
        if is_open and found.findings:
            DriftAlert.objects.filter(closed_at=None).update(closed_at=timezone.now())
        return False
    if is_open:
        return False
    with transaction.atomic():
        names = [finding.name for finding in found.changed]
        _alert, created = DriftAlert.objects.get_or_create(
            until=until, closed_at=None, defaults={"findings": names}
        )
        if created:
            transaction.on_commit(lambda: _tell_staff(until))
    return created


def _tell_staff(until: date) -> None:
    """Mail everybody on the staff in their language; a failure is logged, the page has it all."""
    examples = trainable().count()
    for person in User.objects.filter(is_staff=True, is_active=True).exclude(email=""):
        with override(person.language or settings.LANGUAGE_CODE):
            found = compare(until)
            lines = [_("The photos of the last seven days, or the answers to them, are not what they were:")]
            lines += [f"- {row.text}: {row.before} → {row.now} ({row.difference})" for row in found.changed]
            page = f"{settings.BASE_URL}{reverse('classifier:drift')}?until={until.isoformat()}"
            lines += ["", advice(found, examples), "", _("All about it: %(page)s") % {"page": page}]
            subject = _("Drift: the photos or their answers have changed")
        try:
            send_mail(subject, "\n".join(lines), None, [person.email])
        except Exception as error:  # a mail server may fail in any way
            logger.warning("The mail about drift was not sent: %s", error)

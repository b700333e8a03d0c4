"""Do people's photos, and the answers to them, change? A week against the first weeks.

Answers of different models are never compared.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.utils.translation import gettext as _

from cifarsite.core.numbers import count, decimal, percent, points
from classifier.models import UNKNOWN, DriftDay, class_title
from classifier.monitoring.drift_days import Window
from training.models import DEFAULT_PROJECT, ModelVersion, Promotion
from training.registry import model_store

WEEK, REFERENCE_DAYS = 7, 28
# Fewer photos or opinions than this say nothing.
LEAST, LEAST_OPINIONS = 50, 20
# A difference counts from here on, and only where chance would hardly bring it about.
SURE, QUALITY_DEVIATIONS = 3.0, 0.5
# So many accepted corrections make a training run worth its time.
ENOUGH_TO_LEARN = 100


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


@dataclass(frozen=True)
class Comparison:
    """A week against the reference.

    Attributes:
        week: all photos of the seven days.
        answers: those of the days on which the model that answered last was the only one.
        reference: the first days of the same model, or what it said on its validation images.
        source: which of both, 'first_weeks' or 'validation'; '' for none.
    """

    week: Window
    answers: Window
    reference: Window
    source: str
    findings: list[Finding]

    @property
    def changed(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.is_changed]


def compare(until: date, project: str = DEFAULT_PROJECT) -> Comparison:
    """A project's seven days before ``until`` against the first weeks before those.

    Photos are held against the site's first weeks; answers against the first weeks of the model that
    gave them. Where too few photos came in those, verdicts alone are held against those on the
    model's validation images.
    """
    start = until - timedelta(days=WEEK)
    rows = DriftDay.objects.filter(project=project)
    days = list(rows.filter(day__gte=start, day__lt=until))
    before = rows.filter(day__lt=start).order_by("day")
    model, its_days = _days_of_the_last_model(until, project)
    week = Window.of(days)
    answers = Window.of(day for day in days if any(low <= day.day < high for low, high in its_days))
    within = Q(pk=None)
    for low, high in its_days:
        within |= Q(day__gte=low, day__lt=high)
    own_days = list(before.filter(within)[:REFERENCE_DAYS])
    reference, source = Window.of(own_days), "first_weeks"
    if reference.n < LEAST:
        reference = _of_validation(model, project)
        source = "validation" if reference.n else ""
    found: list[Finding] = []
    if source and answers.n >= LEAST:
        found += _findings_on_answers(reference, answers, project)
    was_alone = its_days == [(date.min, until)]
    first_weeks = Window.of(own_days if was_alone else before[:REFERENCE_DAYS])
    if week.n >= LEAST and first_weeks.n >= LEAST:
        found += _findings_on_photos(first_weeks, week)
    return Comparison(week, answers, reference, source, found)


def _days_of_the_last_model(until: date, project: str) -> tuple[int | None, list[tuple[date, date]]]:
    """The model that was live before ``until``, and from which day to before which it alone answered.

    None: the promotion history has no switch, so it was the same model all the time.
    """
    midnight = datetime.combine(until, time(), UTC)
    lines = Promotion.objects.filter(created_at__lt=midnight, promoted__project=project).order_by("id")
    history = list(lines.values_list("created_at", "promoted_id", "previous_id"))
    first = history[0][1] if history else None
    switches = [(at.astimezone(UTC).date(), promoted) for at, promoted, previous in history if previous]
    # The day of a switch belongs to neither model.
    begins = [(date.min, first), *((day + timedelta(days=1), promoted) for day, promoted in switches)]
    ends = [*(day for day, _promoted in switches), until]
    model = begins[-1][1]
    spans = [(low, high) for (low, number), high in zip(begins, ends, strict=True) if number == model]
    return model, [(low, high) for low, high in spans if low < high]


def _of_validation(model: int | None, project: str) -> Window:
    version = ModelVersion.objects.filter(pk=model).first() if model else model_store.champion(project)
    found = version.card.get("verdicts", {}).get("validation") if version else None
    return Window(n=found["n"], verdicts=Counter(found["counts"])) if found else Window()


def _findings_on_answers(reference: Window, week: Window, project: str) -> Iterable[Finding]:
    limit = (settings.DRIFT_ALERT_POINTS or 10) / 100
    if reference.labels and week.labels:
        yield _class_mix(reference, week, 2 * limit)
    for name, text in (
        (UNKNOWN, _("Classified as '%(verdict)s'") % {"verdict": class_title(UNKNOWN, project)}),
        ("unsure", _("Classified as 'unsure'")),
    ):
        yield _share(
            name, text, (reference.verdicts[name], reference.n), (week.verdicts[name], week.n), limit
        )
    yield from _mean(reference, week, "confidence", _("Mean confidence"), limit, percent)
    if min(reference.opinions, week.opinions) >= LEAST_OPINIONS:
        before, now = (reference.agreed, reference.opinions), (week.agreed, week.opinions)
        yield _share("agreement", _("Users agree with the prediction"), before, now, limit)


def _findings_on_photos(reference: Window, week: Window) -> Iterable[Finding]:
    for name, text in (
        ("brightness", _("Brightness of the photos, 0 to 1")),
        ("contrast", _("Contrast of the photos, 0 to 0.5")),
        ("sharpness", _("Sharpness of the photos, about 0.75 where sharp")),
    ):
        far = QUALITY_DEVIATIONS * math.sqrt(reference.variance(name))
        yield from _mean(reference, week, name, text, far, lambda value: decimal(value, 3))


def _class_mix(reference: Window, week: Window, limit: float) -> Finding:
    """The share of the week's photos that would need another label for the mix to be as before.

    Photos that are called none of these have no label.
    """
    n_before, n_now = reference.labels.total(), week.labels.total()
    names = dict.fromkeys([*reference.labels, *week.labels])
    before = {name: reference.labels[name] / n_before for name in names}
    now = {name: week.labels[name] / n_now for name in names}
    moved = sum(abs(now[name] - before[name]) for name in names) / 2
    # What the same people with the same habits would bring about by chance.
    spread = 1 / n_before + 1 / n_now
    chance = sum(math.sqrt(2 / math.pi * p * (1 - p) * spread) for p in before.values()) / 2
    first, last = (_most_frequent(shares) for shares in (before, now))
    return Finding(
        "class_mix",
        _("Class distribution (most frequent class)"),
        first,
        last,
        _("total variation distance %(share)s") % {"share": percent(moved)},
        moved > limit and moved > 2 * chance,
    )


def _most_frequent(shares: dict[str, float]) -> str:
    name, share = max(shares.items(), key=lambda pair: pair[1])
    return f"{class_title(name)} {percent(share)}"


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
        return _("Only %(n)s photos were classified this week. A comparison needs at least %(least)s.") % {
            "n": count(found.week.n),
            "least": LEAST,
        }
    if found.answers.n < LEAST:
        return _(
            "The champion changed this week. Predictions of different models are not compared, "
            "and only %(n)s photos came in on days when the new champion alone classified photos."
        ) % {"n": count(found.answers.n)}
    if not found.source:
        return _("There is no reference yet: the first weeks are not over.")
    names = {finding.name for finding in found.changed}
    if not names:
        return _("No change exceeds chance and the limits: there is no reason to retrain.")
    if not names & {"agreement", "unknown", "unsure", "confidence"}:
        return _(
            "The photos have changed, but the model is as confident as before: retraining is not "
            "worthwhile yet. Watch whether users still agree."
        )
    if examples < ENOUGH_TO_LEARN:
        return _(
            "The predictions have changed, but there are only %(n)s accepted corrections to "
            "train on. Review corrections first, and retrain when there are about %(enough)s."
        ) % {"n": count(examples), "enough": ENOUGH_TO_LEARN}
    return _(
        "Retraining is worthwhile: the predictions have changed, and there are %(n)s "
        "accepted corrections to train on."
    ) % {"n": count(examples)}

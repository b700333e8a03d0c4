"""Each finished day of a project as one row of sums, and days taken together.

So a page reads some hundred rows however many photos there are, and the sums stay when photos are deleted.
Days are those of UTC. A photo counts once, with its first answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Q, Sum
from django.utils import timezone

from classifier.models import NOT_SURE, Correction, DriftDay, Prediction
from training.models import DEFAULT_PROJECT

# Days that one pass of the sweeper sums up at most.
CATCH_UP = 14
QUALITIES = ("brightness", "contrast", "sharpness")


@dataclass
class Window:
    """Some days taken together.

    Attributes:
        n: photos; verdicts: how many of each; labels: of those that are not called none of these.
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


def sum_up_days(project: str = DEFAULT_PROJECT) -> int:
    """Write a project's rows of days that are over and have none yet; returns how many this call wrote."""
    today = timezone.now().astimezone(UTC).date()
    rows = DriftDay.objects.filter(project=project)
    last = rows.order_by("-day").values_list("day", flat=True).first()
    if last is None:
        done = Prediction.objects.filter(
            project=project, status=Prediction.Status.DONE, finished_at__isnull=False
        )
        first = done.order_by("finished_at").values_list("finished_at", flat=True).first()
        if first is None:
            return 0
        last = first.astimezone(UTC).date() - timedelta(days=1)
    written = 0
    for number in range(1, CATCH_UP + 1):
        day = last + timedelta(days=number)
        if day >= today:
            break
        _row, created = DriftDay.objects.get_or_create(
            project_id=project, day=day, defaults=figures_of(day, project)
        )
        written += created
    return written


def figures_of(day: date, project: str = DEFAULT_PROJECT) -> dict[str, Any]:
    """A project's sums of a day: of first answers about whole photos, and of what people said that day."""
    start = datetime.combine(day, time(), UTC)
    within = {"gte": start, "lt": start + timedelta(days=1)}
    rows = Prediction.objects.filter(
        project=project,
        status=Prediction.Status.DONE,
        crop__isnull=True,
        # All there are: the index begins with it.
        priority__in=Prediction.Priority.values,
        **{f"finished_at__{name}": value for name, value in within.items()},
    )
    # A photo that is asked about again, by its owner or by staff, is no new photo.
    earlier = Prediction.objects.filter(
        photo=OuterRef("photo"), status=Prediction.Status.DONE, crop__isnull=True, pk__lt=OuterRef("pk")
    )
    rows = rows.filter(~Exists(earlier))
    labels: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    for label, verdict, n in rows.values_list("label", "verdict").annotate(n=Count("id")).order_by():
        verdicts[verdict] += n
        if verdict != Prediction.Verdict.UNKNOWN:
            labels[label] += n
    columns = {"confidence": "confidence", **{name: f"photo__{name}" for name in QUALITIES}}
    wanted: dict[str, Any] = {}
    for name, column in columns.items():
        wanted |= {f"{name}_n": Count(column), f"{name}_sum": Sum(column)}
        wanted[f"{name}_squares"] = Sum(F(column) * F(column))
    found = rows.aggregate(**wanted)
    opinions = Correction.objects.filter(photo__project=project)
    opinions = opinions.exclude(label=NOT_SURE).exclude(predicted="")
    opinions = opinions.filter(**{f"created_at__{name}": value for name, value in within.items()})
    said = opinions.aggregate(n=Count("id"), agreed=Count("id", filter=Q(label=F("predicted"))))
    return {
        "n": sum(verdicts.values()),
        "labels": labels,
        "verdicts": verdicts,
        "sums": {
            name: [found[f"{name}_n"], found[f"{name}_sum"] or 0.0, found[f"{name}_squares"] or 0.0]
            for name in columns
        },
        "opinions": said["n"],
        "agreed": said["agreed"],
    }

"""A minute at twice what the site can carry; `python -m benchmarks.load` does it for ten."""

import json
from collections.abc import Callable

import pytest

from benchmarks.load import measure


@pytest.mark.endurance
@pytest.mark.thorough
@pytest.mark.slow
def test_twice_what_it_can_carry_is_refused_in_part_and_loses_nothing(
    measured: Callable[[str], None],
) -> None:
    figures = measure(60, capacity_seconds=10, MAX_WAITING_PHOTOS=50)
    measured(json.dumps(figures))
    for told in (figures["statuses"], figures["statuses_before"]):
        assert set(told) <= {"200", "202", "429", "503"}, figures
    assert figures["statuses"]["202"] > 0
    # Whoever is refused is told when to come again.
    assert figures["refusals_without_retry_after"] == 0
    assert (figures["lost"], figures["answered"]) == (0, figures["accepted"]), figures
    assert figures["memory_mib"]["growth"] < 0.1, figures

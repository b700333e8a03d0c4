"""What fuzzing found stays found; and hypothesis tries each target a little more."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from classifier.tests.images.fuzz_targets import TARGETS, seeds

CORPUS = Path(__file__).parent / "corpus"
FOUND = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name[:12]}")
def test_what_was_found_before_is_answered_in_words(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


def test_each_folder_of_the_corpus_belongs_to_a_target() -> None:
    assert {path.parent.name for path in FOUND} <= set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 9),
    changes=st.lists(st.tuples(st.integers(0, 2_000), st.binary(min_size=1, max_size=4)), max_size=6),
    cut=st.integers(0, 4_000),
)
def test_changed_good_inputs_are_answered_in_words(
    name: str, seed: int, changes: list[tuple[int, bytes]], cut: int
) -> None:
    good = seeds(name)
    data = bytearray(good[seed % len(good)])
    for at, new in changes:
        at %= len(data) or 1
        data[at : at + len(new)] = new
    TARGETS[name](bytes(data[: len(data) - cut % (len(data) or 1)]))


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=200))
def test_any_bytes_are_answered_in_words(name: str, data: bytes) -> None:
    TARGETS[name](data)

"""Damaged files of every format: accepted or refused, never another exception."""

import warnings
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from classifier.images.errors import ImageRefused
from classifier.images.validation import CheckedImage
from classifier.tests.images.test_validation import FORMATS, check, encode, picture

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Headers are where a flipped byte does most, so most mutations fall there.
places = st.one_of(st.integers(0, 120), st.integers(0, 10_000))
mutations = st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8)


@cache
def original(format: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    frames = [picture(40, 30), picture(40, 30).rotate(180)]
    if format in ("GIF", "WEBP", "PNG"):
        return encode(frames[0], format, save_all=True, append_images=frames[1:], exif=exif)
    return encode(frames[0], format, exif=exif.tobytes())


def answer(data: bytes) -> CheckedImage | ImageRefused:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return check(data)
        except ImageRefused as refused:
            return refused


@pytest.mark.parametrize("format", FORMATS)
@FUZZ
@given(mutations=mutations)
def test_flipped_bytes_never_raise_anything_else(format: str, mutations: list[tuple[int, int]]) -> None:
    data = bytearray(original(format))
    for at, value in mutations:
        data[at % len(data)] = value
    answer(bytes(data))


@pytest.mark.parametrize("format", FORMATS)
@FUZZ
@given(cut=st.integers(1, 10_000), tail=st.binary(max_size=20))
def test_cut_files_never_raise_anything_else(format: str, cut: int, tail: bytes) -> None:
    data = original(format)
    answer(data[: cut % len(data)] + tail)


@pytest.mark.parametrize("format", FORMATS)
@FUZZ
@given(at=st.integers(0, 10_000), size=st.integers(1, 200), times=st.integers(0, 3))
def test_dropped_and_repeated_parts_never_raise_anything_else(
    format: str, at: int, size: int, times: int
) -> None:
    data = original(format)
    at %= len(data)
    answer(data[:at] + data[at : at + size] * times + data[at + size :])


@FUZZ
@given(data=st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert isinstance(answer(data), ImageRefused)


@FUZZ
@given(start=st.sampled_from(sorted(FORMATS)), length=st.integers(4, 16), data=st.binary(max_size=300))
def test_random_bytes_after_a_true_beginning_never_raise_anything_else(
    start: str, length: int, data: bytes
) -> None:
    answer(original(start)[:length] + data)

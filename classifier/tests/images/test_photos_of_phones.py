"""Photos as phones, cameras and broken transfers leave them."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from django.utils import translation
from PIL import Image, PngImagePlugin

from classifier.images.decoding import ROTATION_BOX, Limits
from classifier.images.errors import ImageRefused
from classifier.images.formats import FORMATS, limits_by_format, limits_in_words, most_megapixels
from classifier.images.sandbox import Pool
from classifier.images.validation import CheckedImage, check_image, limits_from_settings
from classifier.tests.images.test_validation import check, encode, noisy_file, picture, pixels, refusal

ROOT = Path(__file__).resolve().parents[3]
PLAIN = picture(64, 48)
BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def fault(shared_dir: Path, name: str, limits: Limits | None = None) -> CheckedImage:
    data = (shared_dir / "faults" / name).read_bytes()
    return check_image(data, preprocessing="squash128-v1", limits=limits or limits_from_settings())


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[0x0112] = orientation
    return made.tobytes()


def stored_turned(orientation: int) -> Image.Image:
    return PLAIN.transpose(BACK[orientation]) if orientation in BACK else PLAIN


def heic_without_rotation(image: Image.Image, orientation: int) -> bytes:
    """With EXIF's turn in it and no property that says the same."""
    file = pillow_heif.from_pillow(image)
    buffer = io.BytesIO()
    # As an Exif object the encoder takes it as it is.
    file.save(buffer, exif=exif(1))
    data = buffer.getvalue()
    assert not ROTATION_BOX.search(data)
    entry = data.index(b"\x01\x12\x00\x03\x00\x00\x00\x01")
    return data[: entry + 8] + struct.pack(">H", orientation) + data[entry + 10 :]


# --- Turns ---


def test_a_heic_with_exif_alone_is_turned(shared_dir: Path) -> None:
    checked = fault(shared_dir, "heic_exif6_no_irot.heic")
    assert (checked.width, checked.height) == (300, 500)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_turn_of_exif_in_a_heic_without_a_rotation(orientation: int) -> None:
    checked = check(heic_without_rotation(stored_turned(orientation), orientation))
    assert (checked.width, checked.height) == (64, 48)
    assert np.abs(pixels(checked.input) - pixels(check(encode(PLAIN, "PNG")).input)).mean() < 12


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_rotation_of_a_heic_is_not_applied_twice(orientation: int) -> None:
    data = encode(stored_turned(orientation), "HEIF", exif=exif(orientation))
    assert ROTATION_BOX.search(data)
    checked = check(data)
    assert (checked.width, checked.height) == (64, 48)
    assert np.abs(pixels(checked.input) - pixels(check(encode(PLAIN, "PNG")).input)).mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_turn_of_an_avif(orientation: int) -> None:
    checked = check(encode(stored_turned(orientation), "AVIF", exif=exif(orientation)))
    assert (checked.format, checked.width, checked.height) == ("AVIF", 64, 48)
    assert np.abs(pixels(checked.input) - pixels(check(encode(PLAIN, "PNG")).input)).mean() < 12


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_xmp_alone_does_not_turn(format: str) -> None:
    options: dict[str, Any] = {"xmp": XMP}
    if format == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options = {"pnginfo": texts}
    data = encode(PLAIN, format, **options)
    assert b"tiff:Orientation" in data
    checked = check(data)
    assert (checked.width, checked.height) == (64, 48)


def test_the_first_frame_of_an_animated_avif() -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime")]
    checked = check(encode(frames[0], "AVIF", save_all=True, append_images=frames[1:]))
    assert pixels(checked.input)[16, 16].tolist() == pytest.approx([255, 0, 0], abs=6)


def test_a_transparent_avif_is_shown_on_white() -> None:
    image = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 20, 40))
    made = pixels(check(encode(image, "AVIF")).input)
    assert made[16, 4].tolist() == pytest.approx([0, 0, 255], abs=8)
    assert made[16, 28].tolist() == pytest.approx([255, 255, 255], abs=4)


# --- Damage ---


def jpeg_with_restarts(**options: Any) -> bytes:
    return encode(picture(320, 240), "JPEG", restart_marker_rows=1, **options)


def scan_of(data: bytes | bytearray) -> int:
    start = data.index(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")


def share_of_grey(checked: CheckedImage) -> float:
    shown = pixels(checked.display)
    return float((np.abs(shown - 128).max(axis=2) <= 2).mean())


def test_the_rest_behind_a_damaged_byte_is_shown(shared_dir: Path) -> None:
    checked = fault(shared_dir, "jpeg_spurious_marker.jpg")
    assert checked.damaged
    assert share_of_grey(checked) < 0.05


@pytest.mark.parametrize("marker", [0x01, 0x02, 0x42, 0xBF, 0xC0, 0xC4, 0xDA, 0xDB, 0xDD, 0xE1, 0xF0, 0xFE])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_marker_that_does_not_belong_costs_a_part_and_is_told(marker: int, progressive: bool) -> None:
    data = bytearray(jpeg_with_restarts(progressive=progressive))
    restart = re.compile(rb"\xff[\xd2-\xd4]").search(data, scan_of(data))
    assert restart
    data[restart.end() + 6 : restart.end() + 10] = bytes((0x55, 0xFF, marker, 0x33))
    checked = check(bytes(data))
    assert checked.damaged
    assert (checked.width, checked.height) == (320, 240)


def test_what_is_whole_is_not_called_damaged() -> None:
    for options in ({}, {"progressive": True}, {"optimize": True}, {"comment": b"x\xff\xd9\xff\x01"}):
        assert not check(encode(picture(320, 240), "JPEG", **options)).damaged
        assert not check(jpeg_with_restarts(**options)).damaged
    assert not check(encode(Image.new("RGB", (64, 64), (128, 128, 128)), "JPEG")).damaged


def test_a_jpeg_that_lacks_its_end_alone_is_taken(shared_dir: Path) -> None:
    assert not fault(shared_dir, "jpeg_missing_eoi.jpg").damaged


@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("size", [(200, 150), (3300, 300)])
@pytest.mark.parametrize("progressive", [False, True])
def test_each_jpeg_without_its_end_is_taken_as_if_it_had_one(
    cut: int, size: tuple[int, int], progressive: bool
) -> None:
    with Image.open(io.BytesIO(noisy_file("JPEG", *size))) as image:
        data = encode(image, "JPEG", progressive=progressive)
    whole, cut_short = check(data), check(data[:-cut])
    assert (cut_short.pixel_sha256, cut_short.damaged) == (whole.pixel_sha256, False)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8, 0.95])
def test_a_jpeg_that_lacks_pixels_is_refused_also_with_an_end(part: float) -> None:
    data = noisy_file("JPEG", 200, 150)
    cut = data[: int(len(data) * part)]
    assert refusal(cut).code == "truncated"
    ended = check(cut + b"\xff\xd9")
    assert ended.damaged  # it says that it is whole, and browsers show it


# --- Large ones ---


def test_phone_photos_of_48_megapixels_fit(shared_dir: Path) -> None:
    limits = limits_from_settings()
    assert limits.max_pixels >= 8192 * 6144  # the largest of the 50-megapixel sensors
    checked = fault(shared_dir, "heic_48mp.heic")
    assert (checked.width, checked.height, checked.format) == (8064, 6048, "HEIC")
    with Image.open(io.BytesIO(checked.display)) as image:
        assert image.size == (1600, 1200)
        corners = [image.getpixel(at) for at in ((20, 20), (1580, 20), (20, 1180), (1580, 1180))]
    for seen, expected in zip(
        corners, ((220, 30, 30), (30, 180, 30), (30, 30, 220), (230, 220, 30)), strict=True
    ):
        assert seen == pytest.approx(expected, abs=25)
    assert fault(shared_dir, "webp_16mp.webp").width == 4624


def test_a_jpeg_of_50_megapixels_fits() -> None:
    data = encode(Image.new("RGB", (8192, 6144), "teal"), "JPEG")
    checked = check(data, limits_from_settings())
    assert (checked.width, checked.height) == (8192, 6144)


def test_the_decoders_process_holds_a_heic_of_48_megapixels(shared_dir: Path) -> None:
    """With its limit on memory; the time is the machine's."""
    pool = Pool(children=1, seconds=120)
    try:
        data = (shared_dir / "faults" / "heic_48mp.heic").read_bytes()
        assert pool.check(data, "squash128-v1", limits_from_settings()).width == 8064
        status = Path(f"/proc/{pool.pids()[0]}/status")
        if status.exists():
            peak = re.search(r"VmHWM:\s*(\d+)", status.read_text())
            assert peak and int(peak[1]) / 1024 < 300
    finally:
        pool.close()


def test_a_heic_of_another_kind_has_its_own_limit() -> None:
    image = Image.new("RGB", (5200, 5000), "teal")
    refused = refusal(encode(image, "HEIF", chroma=444), limits_from_settings())
    assert refused.code == "too_many_pixels"
    with translation.override("en"):
        assert "at most 25 are accepted" in str(refused.detail)


# --- One table of limits ---


def test_each_format_that_is_promised_is_taken_up_to_its_limit() -> None:
    for name, kind in FORMATS.items():
        limit = most_megapixels(name, 51)
        assert kind.bytes_a_pixel * limit * 1_000_000 <= 240_000_000
        assert (limit < 51) == (name in ("AVIF", "WebP"))
    assert most_megapixels("WebP", 5) == 5
    assert limits_by_format(10) == [(", ".join(FORMATS), 10)]


def test_the_documents_say_what_the_table_says() -> None:
    guide = " ".join((ROOT / "docs" / "user-guide.md").read_text().split())
    for names, limit in limits_by_format(51):
        assert f"| {names} | {limit:g} megapixels |" in guide


@pytest.mark.django_db
def test_the_form_and_the_schema_say_it_too(client: Any, settings: Any, admin_user: Any) -> None:
    client.force_login(admin_user)
    page = client.get("/").content.decode()
    for names, limit in limits_by_format(settings.UPLOAD_MAX_MEGAPIXELS):
        assert f"{names} up to {limit:g} megapixels" in " ".join(page.split())
    assert "image/*,.heic,.heif,.avif" in page
    schema = client.get("/api/v1/openapi.json").json()
    assert limits_in_words(settings.UPLOAD_MAX_MEGAPIXELS) in str(schema["paths"]["/api/v1/photos"]["post"])


# --- Refused ---


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
        b"\0\0\0\x18ftypmp42" + bytes(50),
        b"\0\0\0\x14ftyp3gp6" + bytes(50),
        b"\0\0\x10\0moov" + bytes(50),
        b"\0\0\0\x08wide\0\0\0\0mdat",
        b"RIFF\0\0\0\0AVI LIST",
        b"\x1aE\xdf\xa3" + bytes(50),
        b"\0\0\1\xba" + bytes(50),
        b"FLV\1" + bytes(50),
        (b"G" + bytes(187)) * 3,
    ],
)
def test_a_video_has_a_sentence_of_its_own(data: bytes) -> None:
    refused = refusal(data)
    assert refused.code == "unsupported_format"
    with translation.override("en"):
        assert "This is a video" in str(refused.detail)


def test_tiff_is_refused_by_its_name() -> None:
    refused = refusal(encode(picture(), "TIFF"))
    assert refused.code == "unsupported_format"
    with translation.override("en"):
        assert str(refused.detail).startswith("TIFF files are not accepted.")
        assert "AVIF" in str(ImageRefused.because("not_an_image").detail)

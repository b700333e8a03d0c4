"""What comes in as a photo: formats, colours, turns, metadata, limits."""

import functools
import io
import subprocess
import sys
from typing import Any

import numpy as np
import pillow_heif
import pytest
from django.utils import translation
from PIL import Image, ImageCms

from classifier.images import formats as image_formats
from classifier.images.decoding import Limits
from classifier.images.errors import ImageRefused
from classifier.images.inputs import encode_input
from classifier.images.validation import CheckedImage, check_image, limits_from_settings
from training.engine.data.preprocessing import UnknownPreprocessing

pillow_heif.register_heif_opener()  # to write files; the site reads them without Pillow's plugin
LIMITS = Limits(max_bytes=20 * 1024 * 1024, max_pixels=51_000_000)
FORMATS = {kind.opener: name for name, kind in image_formats.FORMATS.items()}


def check(data: bytes, limits: Limits = LIMITS) -> CheckedImage:
    return check_image(data, preprocessing="squash32-v1", limits=limits)


def refusal(data: bytes, limits: Limits = LIMITS) -> ImageRefused:
    with pytest.raises(ImageRefused) as caught:
        check(data, limits)
    return caught.value


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def picture(width: int = 64, height: int = 48) -> Image.Image:
    """Red on the left, blue at the bottom, smooth between."""
    x = np.broadcast_to(np.linspace(255, 0, width), (height, width))
    y = np.broadcast_to(np.linspace(0, 255, height)[:, None], (height, width))
    return Image.fromarray(np.stack([x, np.full_like(x, 80), y], axis=2).astype(np.uint8))


def pixels(stored: bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(stored)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("format", FORMATS)
def test_it_accepts_each_format_by_its_content(format: str) -> None:
    checked = check(encode(picture(), format))
    assert checked.format == FORMATS[format]
    assert (checked.width, checked.height) == (64, 48)
    expected = np.asarray(picture().resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(pixels(checked.input) - expected).mean() < 12


def test_it_reads_a_file_that_is_open_and_says_its_size() -> None:
    data = encode(picture(), "PNG")
    assert check_image(io.BytesIO(data), preprocessing="squash32-v1", limits=LIMITS) == check(data)
    assert check(data).size == len(data)


def test_it_takes_the_first_picture_of_an_mpo() -> None:
    second = Image.new("RGB", (64, 48), "green")
    checked = check(encode(picture(), "MPO", save_all=True, append_images=[second]))
    assert checked.format == "JPEG"
    assert pixels(checked.input)[4, 2, 0] > 180


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_it_takes_the_first_frame_of_an_animation(format: str) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime", "blue")]
    checked = check(encode(frames[0], format, save_all=True, append_images=frames[1:]))
    assert pixels(checked.input)[16, 16].tolist() == pytest.approx([255, 0, 0], abs=6)


def test_a_32_pixel_image_reaches_the_model_bit_for_bit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert (pixels(check(encode(Image.fromarray(noise), "PNG")).input) == noise).all()


def test_it_makes_a_display_copy_and_a_thumbnail_that_fit() -> None:
    checked = check(encode(picture(3001, 2000), "JPEG"))
    assert (checked.width, checked.height) == (3001, 2000)
    for stored, size in ((checked.display, (1600, 1066)), (checked.thumbnail, (320, 213))):
        with Image.open(io.BytesIO(stored)) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", size)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2), (1600, 1601), (4801, 3)])
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_it_never_enlarges_and_never_makes_an_empty_side(size: tuple[int, int], format: str) -> None:
    checked = check(encode(picture(*size), format))
    for stored, side in ((checked.display, 1600), (checked.thumbnail, 320)):
        with Image.open(io.BytesIO(stored)) as image:
            assert max(image.size) == min(side, max(size))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_each_exif_turn_is_applied(orientation: int, format: str) -> None:
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = picture().transpose(back[orientation]) if orientation in back else picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    # As bytes: from these the HEIC encoder makes a rotation property, as phones do.
    checked = check(encode(stored, format, exif=exif.tobytes()))
    assert (checked.width, checked.height) == (64, 48)
    plain = check(encode(picture(), "PNG"))
    assert np.abs(pixels(checked.input) - pixels(plain.input)).mean() < 12


def test_a_large_turned_photo_swaps_its_sides() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    checked = check(encode(picture(4000, 3000), "JPEG", exif=exif))
    assert (checked.width, checked.height) == (3000, 4000)
    with Image.open(io.BytesIO(checked.display)) as image:
        assert image.size == (1200, 1600)


@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
def test_a_broken_exif_block_is_no_reason_to_refuse(exif: bytes) -> None:
    assert check(encode(picture(), "JPEG", exif=exif)).format == "JPEG"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_nothing_of_the_metadata_is_stored(format: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET description"
    exif.get_ifd(0x8825)[29] = "2026:SECRET"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b"<x:xmpmeta>SECRET</x:xmpmeta>"
    options: dict[str, Any] = {"exif": exif, "icc_profile": profile, "xmp": xmp}
    if format == "JPEG":
        options["comment"] = b"SECRET"
    data = encode(picture(400, 300), format, **options)
    assert b"SECRET" in data
    checked = check(data)
    for stored in (checked.display, checked.thumbnail, checked.input):
        for trace in (b"SECRET", b"Exif", b"eXIf", b"ICC_PROFILE", b"iCCP", b"xmp", b"acsp"):
            assert trace not in stored


def test_the_pixel_hash_ignores_metadata_and_sees_pixels() -> None:
    exif = Image.Exif()
    exif[0x010E] = "another"
    plain, described = encode(picture(), "JPEG"), encode(picture(), "JPEG", exif=exif, comment=b"x")
    assert plain != described
    assert check(plain).pixel_sha256 == check(described).pixel_sha256
    assert check(plain).input_sha256 == check(described).input_sha256
    changed = picture()
    changed.putpixel((5, 5), (0, 0, 0))
    hashes = {check(encode(image, "PNG")).pixel_sha256 for image in (picture(), changed, picture(48, 64))}
    assert len(hashes) == 3


def test_the_same_pixels_in_another_shape_have_another_hash() -> None:
    wide, tall = (Image.new("RGB", size) for size in ((20, 10), (10, 20)))
    assert check(encode(wide, "PNG")).pixel_sha256 != check(encode(tall, "PNG")).pixel_sha256


@pytest.mark.parametrize("size", [(40, 40), (4000, 3000)])
@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF"])
def test_what_is_transparent_becomes_white(format: str, size: tuple[int, int]) -> None:
    image = Image.new("RGBA", size, (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, size[0] // 2, size[1]))
    made = pixels(check(encode(image, format)).input)
    assert made[16, 4].tolist() == pytest.approx([0, 0, 255], abs=4)
    assert made[16, 28].tolist() == pytest.approx([255, 255, 255], abs=4)


def test_half_transparent_is_mixed_with_white() -> None:
    made = pixels(check(encode(Image.new("RGBA", (32, 32), (0, 0, 0, 128)), "PNG")).input)
    assert made[0, 0].tolist() == pytest.approx([127, 127, 127], abs=1)


@pytest.mark.parametrize(
    ("image", "transparent"),
    [
        (Image.new("L", (32, 32), 40), 40),
        (Image.new("RGB", (32, 32), (9, 8, 7)), (9, 8, 7)),
        (Image.new("I;16", (32, 32), 4000), 4000),
        (Image.new("1", (32, 32), 1), 1),
    ],
)
def test_a_transparent_colour_of_a_png_becomes_white(image: Image.Image, transparent: Any) -> None:
    assert pixels(check(encode(image, "PNG", transparency=transparent)).input).min() == 255
    assert pixels(check(encode(image, "PNG")).input).max() < 255 or image.mode == "1"


@pytest.mark.parametrize("size", [(32, 32), (3200, 3200)])
def test_16_bits_are_scaled_not_clipped(size: tuple[int, int]) -> None:
    ramp = np.broadcast_to(np.linspace(0, 65_535, size[0]), size).astype(np.uint16)
    made = pixels(check(encode(Image.fromarray(ramp), "PNG")).input)
    expected = np.linspace(0, 255, 32)
    assert np.abs(made[16] - expected[:, None]).max() < 6


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_each_colour_mode_of_png_becomes_rgb(mode: str) -> None:
    grey = Image.new("RGB", (50, 50), (255, 255, 255)).convert(mode)
    made = check(encode(grey, "PNG"))
    with Image.open(io.BytesIO(made.input)) as image:
        assert image.mode == "RGB"
    assert pixels(made.input).min() == 255


def test_a_cmyk_jpeg_becomes_rgb() -> None:
    red = Image.new("CMYK", (50, 50), (0, 255, 255, 0))
    assert pixels(check(encode(red, "JPEG")).input)[16, 16].tolist() == pytest.approx([255, 0, 0], abs=8)


def test_an_embedded_profile_is_converted_to_srgb() -> None:
    half = encode(Image.new("RGB", (32, 32), (55, 55, 55)), "PNG", icc_profile=linear_profile())
    assert pixels(check(half).input)[0, 0].tolist() == pytest.approx([128, 128, 128], abs=3)


def linear_profile() -> bytes:
    """sRGB's profile with its curves replaced by straight lines."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    for entry in range(132, 132 + 12 * count, 12):
        offset = int.from_bytes(profile[entry + 4 : entry + 8], "big")
        if bytes(profile[entry : entry + 4]) in (b"rTRC", b"gTRC", b"bTRC"):
            profile[offset : offset + 16] = b"para" + bytes(8) + (65_536).to_bytes(4, "big")
        if profile[entry : entry + 4] == b"desc":
            size = int.from_bytes(profile[entry + 8 : entry + 12], "big")
            text = profile[offset : offset + size].replace("sRGB".encode("utf-16-be"), b"\0L\0i\0n\0e")
            profile[offset : offset + size] = text
    return bytes(profile)


@pytest.mark.parametrize("profile", [b"nonsense", b"\0" * 200, linear_profile()[:300]])
def test_a_broken_profile_is_ignored(profile: bytes) -> None:
    plain = check(encode(picture(), "PNG"))
    assert check(encode(picture(), "PNG", icc_profile=profile)).input_sha256 == plain.input_sha256


def test_an_empty_file_is_refused() -> None:
    assert refusal(b"").code == "empty"


def test_too_many_bytes_are_refused_with_the_limit() -> None:
    with translation.override("en"):
        refused = refusal(encode(picture(), "BMP"), Limits(max_bytes=1024, max_pixels=10_000_000))
        assert refused.code == "too_large"
        assert "larger than 0.000976562 MB" in str(refused.detail)
        assert "larger than 20 MB" in str(ImageRefused.because("too_large", limit="20").detail)


@pytest.mark.parametrize("format", FORMATS)
def test_too_many_pixels_are_refused_with_the_limit(format: str) -> None:
    limits = Limits(max_bytes=10_000_000, max_pixels=10_000)
    refused = refusal(encode(picture(101, 100), format), limits)
    assert refused.code == "too_many_pixels"
    with translation.override("en"):
        assert "at most 0.01" in str(refused.detail)
    if format != "HEIF":  # its encoder rounds up to whole blocks
        assert check(encode(picture(100, 100), format), limits).width == 100


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"hello, this is text", "not_an_image"),
        (b"<!DOCTYPE html><html><script>alert(1)</script></html>", "not_an_image"),
        (b"PK\x03\x04" + bytes(100), "not_an_image"),
        (bytes(1000), "not_an_image"),
        (b"\x7fELF" + bytes(100), "not_an_image"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format"),
        (b"\xef\xbb\xbf <svg onload='alert(1)'/>", "unsupported_format"),
        (b"%PDF-1.7\n", "unsupported_format"),
        (b"8BPS\0\1" + bytes(50), "unsupported_format"),
        (b"\0\0\1\0\1\0" + bytes(50), "unsupported_format"),
        (b"\0\0\0\x1cftypavif" + bytes(50), "not_an_image"),
        (b"\0\0\0\x18ftypmp42" + bytes(50), "unsupported_format"),
    ],
)
def test_everything_else_is_refused(data: bytes, code: str) -> None:
    assert refusal(data).code == code


@pytest.mark.parametrize("format", ["TIFF", "ICO", "PDF", "PPM", "TGA", "JPEG2000"])
def test_formats_that_pillow_reads_and_the_site_does_not_are_refused(format: str) -> None:
    assert refusal(encode(picture(), format)).code in ("unsupported_format", "not_an_image")


@functools.cache
def noisy_file(format: str, width: int, height: int) -> bytes:
    noise = np.random.default_rng(0).normal(0, 20, (height, width, 3))
    image = Image.fromarray((np.asarray(picture(width, height)) + noise).clip(0, 255).astype(np.uint8))
    return encode(image, format)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("size", [(200, 150), (3300, 300)])
def test_a_truncated_file_is_refused(format: str, part: float, size: tuple[int, int]) -> None:
    data = noisy_file(format, *size)
    assert check(data).width == size[0]
    assert refusal(data[: int(len(data) * part)]).code == "truncated"


def test_a_truncated_progressive_jpeg_is_refused() -> None:
    data = encode(picture(3300, 2000), "JPEG", progressive=True)
    assert check(data).width == 3300
    assert refusal(data[: len(data) // 2]).code == "truncated"


def test_every_refusal_has_a_sentence_that_says_what_to_do() -> None:
    with translation.override("en"):
        for data in (b"", b"text", b"%PDF-1.7", encode(picture(), "PNG")[:60], b"\xff\xd8\xff\xd9"):
            sentence = str(refusal(data).detail)
            assert sentence.endswith(".") and "{" not in sentence
            assert "pload" in sentence or "hoose" in sentence


def test_an_unknown_preprocessing_is_the_callers_error() -> None:
    with pytest.raises(UnknownPreprocessing):
        check_image(encode(picture(), "PNG"), preprocessing="none", limits=LIMITS)


def test_limits_come_from_the_settings(settings: Any) -> None:
    settings.UPLOAD_MAX_MB = 3
    settings.UPLOAD_MAX_MEGAPIXELS = 12
    assert limits_from_settings() == Limits(max_bytes=3 * 1024 * 1024, max_pixels=12_000_000)


def test_an_input_made_later_has_the_same_bytes_and_hash() -> None:
    checked = check(encode(picture(), "PNG"))
    with Image.open(io.BytesIO(checked.input)) as image:
        file, sha256 = encode_input(image.convert("RGB"))
    assert (file.read(), sha256) == (checked.input, checked.input_sha256)


def test_it_needs_no_settings_and_no_tensorflow() -> None:
    code = (
        "import sys, classifier.images.sandbox; from django.conf import settings; "
        "sys.exit(settings.configured or any(m in sys.modules for m in ('tensorflow', 'keras', 'numpy')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

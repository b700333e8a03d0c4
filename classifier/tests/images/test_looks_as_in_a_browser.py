"""Pictures look as Chromium shows them, to the pixel, where palette, gamma, transparency or frame decide."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

from classifier.images.decoding import Limits
from classifier.images.headers import read_outline
from classifier.images.validation import _decode
from classifier.tests.images.test_bombs import chunk
from classifier.tests.images.test_validation import encode, picture

pytestmark = [pytest.mark.slow, pytest.mark.needs_browser, pytest.mark.needs_shared]

# Levels of 255 in any channel of any pixel: what two ways of rounding may differ by.
TOLERANCE = 1
LIMITS = Limits(max_bytes=20 * 1024 * 1024, max_pixels=1_000_000)
OF_PNGSUITE = ("g*.png", "bg*.png", "t*.png", "basn3p*.png", "cs*.png")
OF_PILLOW = (
    *("1_trns.png", "i_trns.png", "l_trns.png", "rgb_trns.png", "p_trns_single.png", "p_16.png"),
    *("no_palette.gif", "no_palette_with_transparency.gif", "transparent.gif", "hopper.gif"),
    *("bmp_q_pal1p1.bmp", "bmp_q_pal8os2sp.bmp", "bmp_q_rgba32.bmp", "bmp_q_rgb32fakealpha.bmp"),
    *("transparent.webp", "icc_profile.png", "pil_sample_cmyk.jpg", "xmp_tags_orientation_exiftool.png"),
)


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


def with_alpha() -> Image.Image:
    image = picture(60, 40)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def gif_with_a_frame_inside_its_canvas() -> bytes:
    data = bytearray(encode(picture(20, 10).quantize(16), "GIF"))
    data[6:10] = bytes((50, 0, 30, 0))  # the canvas
    frame = data.index(b"\x2c\0\0\0\0\x14\0\x0a\0")
    data[frame + 1 : frame + 5] = bytes((12, 0, 7, 0))
    return bytes(data)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


MADE = {
    "a GIF's frame inside its canvas": gif_with_a_frame_inside_its_canvas,
    "WebP with alpha": lambda: encode(with_alpha(), "WEBP", lossless=True),
    "PNG with alpha and gamma 1.0": lambda: png_with_gamma(with_alpha(), 100_000),
    "PNG of gamma 0": lambda: png_with_gamma(picture(), 0),
    "grey PNG of 16 bits and gamma 1.8": lambda: png_with_gamma(grey_of_16_bits(), 55_556),
    "AVIF": lambda: encode(picture(), "AVIF", quality=90),
    "turned AVIF": lambda: encode(picture(), "AVIF", quality=90, exif=turned()),
    "turned PNG": lambda: encode(picture(), "PNG", exif=turned()),
    "CMYK JPEG": lambda: encode(picture().convert("CMYK"), "JPEG", quality=95, subsampling=0),
    "JPEG turned by XMP alone": lambda: encode(picture(), "JPEG", subsampling=0, xmp=XMP),
    "WebP turned by XMP alone": lambda: encode(picture(), "WEBP", lossless=True, xmp=XMP),
}


def png_with_gamma(image: Image.Image, hundred_thousandths: int) -> bytes:
    data = encode(image, "PNG")
    after_header = 8 + 25
    return data[:after_header] + chunk(b"gAMA", hundred_thousandths.to_bytes(4, "big")) + data[after_header:]


def grey_of_16_bits() -> Image.Image:
    ramp = np.broadcast_to(np.linspace(0, 65_535, 64), (16, 64)).astype(np.uint16)
    return Image.fromarray(ramp)


def seen_by_chromium(browser: Browser, files: list[bytes]) -> list[np.ndarray[Any, Any]]:
    """All files on one page, at their own size, on white."""
    page = browser.new_page(viewport={"width": 1000, "height": 800}, device_scale_factor=1)
    kinds = [read_outline(data).format.lower() for data in files]
    page.set_content(
        '<body style="margin:0; background:white">'
        + "".join(
            f'<img style="display:block" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'
            for kind, data in zip(kinds, files, strict=True)
        )
    )
    boxes = page.evaluate(
        """async () => {
            await Promise.all([...document.images].map((image) => image.decode()));
            return [...document.images].map((image) => {
                const box = image.getBoundingClientRect();
                return [box.x, box.y, image.naturalWidth, image.naturalHeight];
            });
        }"""
    )
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as screenshot:
        shot = np.asarray(screenshot.convert("RGB")).astype(int)
    page.close()
    return [shot[int(y) : int(y + high), int(x) : int(x + wide)] for x, y, wide, high in boxes]


def test_more_than_sixty_pictures_look_as_in_chromium(
    browser: Browser, shared_dir: Path, measured: Any
) -> None:
    images = shared_dir / "images"
    paths = [path for pattern in OF_PNGSUITE for path in sorted((images / "pngsuite").glob(pattern))]
    paths += [images / "pillow" / name for name in OF_PILLOW]
    files = {path.name: path.read_bytes() for path in paths} | {name: make() for name, make in MADE.items()}
    assert len(files) > 60
    seen = dict(zip(files, seen_by_chromium(browser, list(files.values())), strict=True))
    worst = {}
    for name, data in files.items():
        ours = np.asarray(_decode(read_outline(data), LIMITS)[0]).astype(int)
        same_size = ours.shape == seen[name].shape
        worst[name] = int(np.abs(ours - seen[name]).max()) if same_size else 255
    measured(f"{len(files)} files, at most {max(worst.values())} of 255 levels from Chromium's")
    assert {name: by for name, by in worst.items() if by > TOLERANCE} == {}

"""The collection of hard files: each is accepted or refused, with bounded memory."""

import io
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from classifier.images.decoding import Limits
from classifier.images.errors import ImageRefused
from classifier.images.validation import CheckedImage, check_image
from classifier.tests.images.test_validation import LIMITS, check, pixels

pytestmark = pytest.mark.needs_shared
CODES = {"too_large", "too_many_pixels", "not_an_image", "unsupported_format", "truncated", "empty"}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def outcome(path: Path) -> CheckedImage | str:
    try:
        return check(path.read_bytes())
    except ImageRefused as refused:
        assert refused.code in CODES
        return refused.code


def test_every_hard_file_is_accepted_or_refused(shared_dir: Path) -> None:
    files = [path for path in sorted((shared_dir / "images").rglob("*")) if path.is_file()]
    assert len(files) >= 590
    for path in files:
        outcome(path)


def test_of_pngsuite_the_broken_files_are_refused_and_the_others_accepted(shared_dir: Path) -> None:
    files = sorted((shared_dir / "images" / "pngsuite").glob("*.png"))
    accepted = {path.name for path in files if isinstance(outcome(path), CheckedImage)}
    assert accepted == {path.name for path in files if not path.name.startswith("x")}
    assert (len(accepted), len(files)) == (161, 175)


def test_pngsuite_looks_as_pillow_shows_it_over_white(shared_dir: Path) -> None:
    for path in sorted((shared_dir / "images" / "pngsuite").glob("[!x]*.png")):
        with Image.open(path) as image:
            if image.mode.startswith("I") or path.name.startswith("tb"):
                continue  # Pillow clips 16 bits and misses transparent greys of fewer than 8
            if abs(image.info.get("gamma", 1 / 2.2) * 2.2 - 1) > 0.05:
                continue  # Pillow passes over gamma: test_looks_as_in_a_browser has these
            seen = image.convert("RGBA")
        expected = Image.new("RGBA", seen.size, "white")
        expected.alpha_composite(seen)
        if expected.size == (32, 32):
            difference = np.abs(pixels(check(path.read_bytes()).input) - np.asarray(expected)[:, :, :3])
            assert difference.max() <= 1, path.name


@pytest.mark.parametrize(
    "name", ["tbbn0g04", "tbbn2c16", "tbbn3p08", "tbgn2c16", "tbwn0g16", "tbrn2c08", "tbyn3p08"]
)
def test_the_transparent_corner_of_pngsuite_is_white(shared_dir: Path, name: str) -> None:
    made = pixels(check((shared_dir / "images" / "pngsuite" / f"{name}.png").read_bytes()).input)
    assert made[0, 0].tolist() == [255, 255, 255]
    assert made.mean() < 240


def test_the_eight_exif_turns_give_the_same_model_input(shared_dir: Path) -> None:
    folder = shared_dir / "images" / "exif_orientation"
    inputs = [pixels(check((folder / f"portrait_{n}.jpg").read_bytes()).input) for n in range(1, 9)]
    for turned in inputs[1:]:
        assert np.abs(turned - inputs[0]).mean() < 2


def test_turns_agree_with_pillows_own(shared_dir: Path) -> None:
    seen = 0
    for path in sorted((shared_dir / "images" / "pillow").glob("*")):
        checked = outcome(path)
        if isinstance(checked, CheckedImage) and checked.format in ("JPEG", "PNG", "WebP"):
            try:
                with Image.open(path) as image:
                    image.load()
                    for name in ("xmp", "XML:com.adobe.xmp"):  # by which browsers do not turn
                        image.info.pop(name, None)
                    size = ImageOps.exif_transpose(image).size
            except Exception:  # broken EXIF, text or later frames, which the site passes over
                continue
            assert (checked.width, checked.height) == size, path.name
            seen += 1
    assert seen > 200


def test_real_photos_are_accepted(shared_dir: Path) -> None:
    photos = [path for path in sorted((shared_dir / "photos").rglob("*.*")) if path.is_file()]
    assert photos
    for path in photos:
        assert isinstance(outcome(path), CheckedImage), path.name


def test_each_hard_file_stays_below_300_mb(shared_dir: Path) -> None:
    assert peak_of_files([p for p in sorted((shared_dir / "images").rglob("*")) if p.is_file()]) < 300


def peak_of_files(paths: list[Path], limits: Limits = LIMITS) -> float:
    """Peak memory in MB of a process that checks the files one after the other."""
    code = (
        "import json, re, resource, sys, warnings; warnings.simplefilter('ignore'); "
        "from pathlib import Path; from classifier.images.validation import *\n"
        "paths, limits = json.load(sys.stdin)\n"
        "for path in paths:\n"
        "    try: check_image(Path(path).read_bytes(), preprocessing='squash32-v1', limits=Limits(*limits))\n"
        "    except ImageRefused: pass\n"
        "status = Path('/proc/self/status')\n"
        "if status.exists():\n"  # Linux counts the parent's memory in ru_maxrss until exec
        "    print(int(re.search(r'VmHWM:\\s*(\\d+)', status.read_text())[1]) / 1024)\n"
        "else:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
    )
    request: Any = [[str(path) for path in paths], [limits.max_bytes, limits.max_pixels]]
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(request), capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def test_what_is_stored_holds_no_exif_of_real_files(shared_dir: Path) -> None:
    for path in sorted((shared_dir / "images" / "pillow").glob("*exif*.jpg")):
        checked = outcome(path)
        if isinstance(checked, CheckedImage):
            for stored in (checked.display, checked.thumbnail, checked.input):
                assert b"Exif" not in stored and b"GPS" not in stored
                with Image.open(io.BytesIO(stored)) as image:
                    assert not image.getexif()


def test_a_file_object_that_lies_about_its_end_is_read_no_further_than_the_limit() -> None:
    class Endless(io.RawIOBase):
        asked = 0

        def read(self, size: int = -1) -> bytes:
            self.asked = size
            return b"x" * size

    endless = Endless()
    with pytest.raises(ImageRefused) as caught:
        check_image(endless, preprocessing="squash32-v1", limits=Limits(1000, 1000))  # type: ignore[arg-type]
    assert caught.value.code == "too_large" and endless.asked == 1001

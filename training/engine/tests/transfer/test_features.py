"""Features are computed once an image, and a run that was killed goes on."""

import time
import tracemalloc

import numpy as np
import pytest

from training.engine.data.labelled_images import LabelledImages
from training.engine.training.stored import ImageFile
from training.engine.transfer import features


class Killed(Exception):
    pass


@pytest.fixture
def quick(monkeypatch):
    """A network that takes no time: the means of the channels, then zeros."""

    def forward(network, views):
        def run(images):
            made = np.zeros((views, len(images), 1280), np.float16)
            made[:, :, :3] = images.mean(axis=(1, 2))
            return made

        return run

    monkeypatch.setattr(features, "_forward", forward)
    monkeypatch.setattr(features, "body", lambda: None)
    monkeypatch.setattr(features, "SHARD", 8)
    monkeypatch.setattr(features, "BATCH", 4)


def images(count, seen, start=0):
    def read(row):
        seen.append(row)
        return np.full((20, 20, 3), (start + row) % 256, np.uint8)

    numbers = [f"image-{start + row}" for row in range(count)]
    labels = np.arange(count) % 2
    return LabelledImages(("a", "b"), numbers, labels, np.full(count, "training"), read)


@pytest.mark.usefixtures("quick")
def test_features_are_computed_once_and_found_again(tmp_path):
    seen: list[int] = []
    told: list[tuple[int, int]] = []
    first = features.compute(images(20, seen), tmp_path, lambda done, total: told.append((done, total)))
    assert sorted(seen) == list(range(20))
    assert told[0] == (0, 20) and told[-1] == (20, 20)
    assert first.features.shape == (2, 20, 1280)
    assert first.features[0, :, 0].tolist() == list(range(20))
    seen.clear()
    again = features.compute(images(20, seen), tmp_path)
    assert seen == []
    np.testing.assert_array_equal(again.features, first.features)
    np.testing.assert_array_equal(again.penalty, first.penalty)


@pytest.mark.usefixtures("quick")
def test_few_images_are_read_before_they_are_needed():
    seen: list[int] = []
    done = 0
    for batch in features.activations(images(60, seen), None, 1):
        done += len(batch)
        time.sleep(0.05)  # whoever reads on does so now
        assert done <= len(seen) <= done + features.AHEAD * features.BATCH
    assert done == len(seen) == 60


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("n", [40, 400])
def test_activations_take_the_memory_of_a_few_batches_however_many_images_there_are(tmp_path, n):
    with (tmp_path / "activations").open("w+b") as file:
        stored = ImageFile(file, (1, 1280))
        tracemalloc.start()
        try:
            for batch in features.activations(images(n, []), None, 1):
                stored.append(batch)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert stored.read(np.array([n - 1]))[0, 0, 0] == (n - 1) % 256
    # An image of 224 by 224 pixels is 150 kB, and is copied on its way into a batch; 400 are 60 MB.
    assert peak < 8 * (features.AHEAD + 1) * features.BATCH * 150_528


@pytest.mark.usefixtures("quick")
def test_a_run_that_was_killed_goes_on_after_the_last_file(tmp_path):
    def kill(done, total):
        if done >= 12:
            raise Killed

    seen: list[int] = []
    with pytest.raises(Killed):
        features.compute(images(20, seen), tmp_path, kill)
    seen.clear()
    made = features.compute(images(20, seen), tmp_path)
    assert sorted(seen) == list(range(8, 20))
    assert made.features[1, :, 2].tolist() == list(range(20))


@pytest.mark.usefixtures("quick")
def test_a_damaged_file_costs_its_own_images_alone(tmp_path):
    features.compute(images(20, []), tmp_path)
    file = sorted(tmp_path.glob("*/*.npz"))[0]
    file.write_bytes(file.read_bytes()[:100])
    seen: list[int] = []
    made = features.compute(images(20, seen), tmp_path)
    assert 0 < len(seen) <= 8
    assert made.features[0, :, 0].tolist() == list(range(20))


@pytest.mark.usefixtures("quick")
def test_features_of_images_that_left_the_project_are_removed(tmp_path):
    features.compute(images(20, []), tmp_path)
    features.compute(images(10, []), tmp_path)
    names = [n for file in tmp_path.glob("*/*.npz") for n in np.load(file)["names"].tolist()]
    assert sorted(names) == sorted(f"image-{n}" for n in range(10))


@pytest.mark.usefixtures("quick")
def test_new_images_alone_are_computed(tmp_path):
    features.compute(images(10, []), tmp_path)
    seen: list[int] = []
    features.compute(images(14, seen), tmp_path)
    assert sorted(seen) == [10, 11, 12, 13]


@pytest.mark.usefixtures("quick")
def test_an_image_that_cannot_be_read_ends_the_run(tmp_path):
    def read(row):
        raise OSError("gone")

    broken = LabelledImages(("a", "b"), ["x", "y"], np.array([0, 1]), np.full(2, "training"), read)
    with pytest.raises(OSError, match="gone"):
        features.compute(broken, tmp_path)


def unread(row):
    raise AssertionError


def test_labelled_images_refuse_parts_that_do_not_fit():
    with pytest.raises(ValueError, match="2 different classes"):
        LabelledImages(("a", "a"), [], np.array([], int), np.array([], str), unread)
    with pytest.raises(ValueError, match="between 0 and 1"):
        LabelledImages(("a", "b"), ["x"], np.array([2]), np.array(["test"]), unread)
    with pytest.raises(ValueError, match="one of training"):
        LabelledImages(("a", "b"), ["x"], np.array([1]), np.array(["dev"]), unread)
    with pytest.raises(ValueError, match="1 ids, 2 labels"):
        LabelledImages(("a", "b"), ["x"], np.array([1, 0]), np.array(["test"]), unread)

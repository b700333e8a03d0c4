import pickle

import numpy as np
import pytest

from training.engine.data.cifar10 import (
    CLASS_NAMES,
    DatasetError,
    find_cifar10,
    load_cifar10,
    read_training_images,
    split_training,
    stratified_split,
)
from training.engine.tests.data.synthetic import write_binary, write_python


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    return write_binary(tmp_path_factory.mktemp("binary"))


def test_binary_and_python_batches_give_the_same_arrays(binary, tmp_path):
    from_binary = load_cifar10(binary)
    from_python = load_cifar10(write_python(tmp_path, from_binary))
    assert from_binary.x_train.shape == (50_000, 32, 32, 3)
    assert from_binary.x_test.shape == (10_000, 32, 32, 3)
    assert from_binary.x_train.dtype == np.uint8
    assert from_python.sha256 == from_binary.sha256


def test_it_finds_the_folder_inside_its_parent(binary):
    assert load_cifar10(binary.parent).sha256 == load_cifar10(binary).sha256


def test_a_short_file_is_a_sentence(binary, tmp_path):
    for file in binary.iterdir():
        (tmp_path / file.name).symlink_to(file)
    short = tmp_path / "data_batch_3.bin"
    short.unlink()
    short.write_bytes((binary / short.name).read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"data_batch_3\.bin has 30,729,999 bytes"):
        load_cifar10(tmp_path)


def test_a_missing_file_is_a_sentence(binary, tmp_path):
    (tmp_path / "data_batch_1.bin").symlink_to(binary / "data_batch_1.bin")
    with pytest.raises(DatasetError, match=r"data_batch_2\.bin cannot be read"):
        load_cifar10(tmp_path)


def test_an_empty_folder_is_a_sentence(tmp_path):
    with pytest.raises(DatasetError, match="Point CIFAR10_DIR"):
        load_cifar10(tmp_path)


def test_wrong_counts_are_a_sentence(binary, tmp_path):
    for file in binary.iterdir():
        (tmp_path / file.name).symlink_to(file)
    twisted = tmp_path / "test_batch.bin"
    rows = np.frombuffer(twisted.read_bytes(), np.uint8).reshape(10_000, -1).copy()
    rows[:, 0] = 3
    twisted.unlink()
    twisted.write_bytes(rows.tobytes())
    with pytest.raises(DatasetError, match="CIFAR-10 has 1,000 of each"):
        load_cifar10(tmp_path)


class Canary:
    """Unpickling this would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path):
    canary = tmp_path / "canary"
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": Canary(canary)}))
    with pytest.raises(DatasetError, match="which no CIFAR-10 batch needs"):
        load_cifar10(tmp_path)
    assert not canary.exists()


def test_rubbish_instead_of_a_pickle_is_a_sentence(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"<html>not found</html>")
    with pytest.raises(DatasetError, match="is not a CIFAR-10 Python batch"):
        load_cifar10(tmp_path)


def test_the_split_is_stratified_fixed_and_complete(binary):
    labels = load_cifar10(binary).y_train
    train, val = stratified_split(labels, 0.2, seed=0)
    assert (np.bincount(labels[val]) == 1_000).all()
    assert sorted([*train, *val]) == list(range(50_000))
    assert (stratified_split(labels, 0.2, seed=0)[1] == val).all()
    assert (stratified_split(labels, 0.2, seed=1)[1] != val).any()


def test_the_test_split_is_not_in_what_a_run_sees(binary):
    data = load_cifar10(binary)
    seen = split_training(data, 0.05, seed=0)
    assert len(seen.x_train) == 47_500
    assert len(seen.x_val) == 2_500
    assert not hasattr(seen, "x_test")


def test_class_names_are_in_cifars_order():
    assert " ".join(CLASS_NAMES) == "airplane automobile bird cat deer dog frog horse ship truck"


def test_single_training_images_are_read_from_both_layouts(binary, tmp_path):
    whole = load_cifar10(binary)
    rows = [49_999, 3, 10_000, 3]
    for folder in (binary, write_python(tmp_path, whole)):
        images, labels = read_training_images(folder, rows)
        np.testing.assert_array_equal(images, whole.x_train[rows])
        np.testing.assert_array_equal(labels, whole.y_train[rows])


def test_it_is_found_on_this_host_or_not_and_never_downloaded(binary, tmp_path, monkeypatch):
    assert find_cifar10(binary.parent) is not None
    assert find_cifar10(tmp_path) is None
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert find_cifar10() is None
    kept = tmp_path / "datasets" / "cifar-10-batches-py-target" / "cifar-10-batches-py"
    kept.mkdir(parents=True)
    write_python(kept, load_cifar10(binary))
    assert find_cifar10() is not None

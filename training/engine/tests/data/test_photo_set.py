import numpy as np
import pytest
from PIL import Image

from training.engine.data.photo_set import PhotosError, folds, load_photos
from training.engine.evaluation.reliability import kinds_apart


def make(root, names):
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), "tan").save(file)


NAMES = [
    "ten_classes/cat/web_cat_001.jpg",
    "ten_classes/cat/web_cat_002.jpg",
    "ten_classes/ship/lifeboat.jpg",
    "none_of_the_ten/broom.jpg",
    "none_of_the_ten/web_far_001.jpg",
    "none_of_the_ten/web_near_001.jpg",
]


def test_files_kinds_and_sites_go_with_the_photos(tmp_path):
    make(tmp_path / "photos", NAMES)
    (tmp_path / "photos_sites.csv").write_text(f"file,site\n{NAMES[0]},3\n{NAMES[1]},3\n{NAMES[4]},3\n")

    photos = load_photos(tmp_path / "photos")

    assert photos.files == NAMES
    assert photos.labels.tolist() == [3, 3, 8]
    assert photos.kinds().tolist() == ["web", "web", "collected", "collected", "web", "web_near"]
    assert photos.sites == ["3", "3", NAMES[2], NAMES[3], "3", NAMES[5]]


def test_a_table_of_sites_without_its_columns_is_a_sentence(tmp_path):
    make(tmp_path / "photos", NAMES)
    (tmp_path / "photos_sites.csv").write_text("name,place\na,b\n")
    with pytest.raises(PhotosError, match="needs the columns file and site"):
        load_photos(tmp_path / "photos")


def test_photos_of_one_site_share_a_fold_and_folds_are_about_equally_large():
    sites = [*"aaaaaaaaaabbbbbbcccccddddeeefg"]
    fold = folds(sites, 3)
    assert all(len({f for f, s in zip(fold, sites, strict=True) if s == site}) == 1 for site in set(sites))
    assert np.bincount(fold).tolist() == [10, 10, 10]
    assert (fold == folds(sites, 3)).all()


def test_each_kind_is_counted_apart():
    kinds = np.array(["web", "web", "collected", "web", "web_near", "collected"], dtype=object)
    verdicts = ["recognised", "unknown", "unsure", "recognised", "unsure", "unknown"]
    found = kinds_apart(kinds, np.array([True, False, True]), verdicts)
    assert [found[kind]["n_ten"] for kind in found] == [2, 0, 1]
    assert [found[kind]["right"] for kind in found] == [1, 0, 1]
    assert [found[kind]["ten_called_none"] for kind in found] == [1, 0, 0]
    assert [found[kind]["n_other"] for kind in found] == [1, 1, 1]
    assert [found[kind]["other_recognised"] for kind in found] == [1, 0, 0]
    assert found["web_near"]["interval"] == (0.0, 1.0)


def test_a_set_is_known_by_its_name_and_by_a_hash_of_names_and_contents(tmp_path):
    make(tmp_path / "ours", NAMES)
    make(tmp_path / "copy", NAMES)

    ours, copy = load_photos(tmp_path / "ours"), load_photos(tmp_path / "copy")

    assert (ours.name, copy.name) == ("ours", "copy")
    assert ours.sha256 == copy.sha256
    make(tmp_path / "copy", ["none_of_the_ten/spoon.jpg"])
    assert load_photos(tmp_path / "copy").sha256 != ours.sha256

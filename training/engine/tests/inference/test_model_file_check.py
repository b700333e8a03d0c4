"""Models made to do harm: refused before Keras builds anything, and the canary never appears."""

import io
import json
import re
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from training.engine.inference.model_file_check import MEMBERS, UnsafeModelFile, check_model_file
from training.engine.inference.predictor import Predictor

SHIPPED = sorted((Path(__file__).parents[3] / "pretrained").glob("*/model.keras"))


def network(*more):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    for layer in more:
        x = layer(x)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(inputs, keras.layers.Dense(10, name="logits")(x))


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.keras"
    network().save(path)
    return path


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def rewritten(path, changes, name="bad.keras"):
    """The archive with some members replaced, added, or (None) left out."""
    new = path.with_name(name)
    with zipfile.ZipFile(new, "w") as archive:
        for member, content in {**members(path), **changes}.items():
            if content is not None:
                archive.writestr(member, content)
    return new


def described(path, change):
    config = json.loads(members(path)["config.json"])
    change(config)
    return rewritten(path, {"config.json": json.dumps(config)})


def refusal(path):
    with pytest.raises(UnsafeModelFile) as caught:
        Predictor(path)
    return str(caught.value)


def test_the_sites_own_models_pass(good):
    check_model_file(good)
    assert Predictor(good).input_shape == (8, 8, 3)
    assert SHIPPED
    for path in SHIPPED:
        check_model_file(path)


@pytest.mark.parametrize("way", ["saved", "written"])
def test_code_in_a_lambda_is_refused_and_never_runs(tmp_path, good, way):
    canary = tmp_path / "canary"
    touch = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    if way == "saved":
        path = tmp_path / "lambda.keras"
        code = eval(f"lambda x: (x, {touch})[0]")
        network(keras.layers.Lambda(code)).save(path)
        canary.unlink(missing_ok=True)  # building it here ran it
    else:
        part = {
            "module": "builtins",
            "class_name": "function",
            "config": touch,
            "registered_name": "function",
        }
        path = described(good, lambda config: config["config"]["layers"][1]["config"].update(activation=part))
    assert "which no model of this site needs" in refusal(path)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("module", "name", "registered"),
    [
        ("keras.layers", "Lambda", None),
        ("keras.layers", "TFSMLayer", None),
        ("keras.layers", "StringLookup", None),
        ("keras.layers", "TextVectorization", None),
        ("keras.layers", "TorchModuleWrapper", None),
        ("keras.utils", "get_file", None),
        ("keras.src.utils.file_utils", "get_file", None),
        ("keras.src.saving.saving_lib", "load_model", None),
        ("os", "system", "cifarsite>Muon"),
        ("builtins", "eval", None),
        ("training.engine.training.optimizers", "Whatever", "other>Whatever"),
        (None, "__lambda__", None),
        (None, "__typespec__", None),
    ],
)
def test_what_reads_files_or_wraps_programs_is_refused(good, module, name, registered):
    part = {"module": module, "class_name": name, "config": {}, "registered_name": registered}
    path = described(good, lambda config: config["config"]["layers"].append(part))
    assert "which no model of this site needs" in refusal(path)


def test_an_h5_file_is_refused(tmp_path):
    path = tmp_path / "model.h5"
    network().save(path)
    assert "is not a .keras file" in refusal(path)
    renamed = path.rename(tmp_path / "model.keras")
    assert "is not a .keras file" in refusal(renamed)


@pytest.mark.parametrize("name", ["../canary", "/tmp/canary-of-a-model", "assets/../../canary", "extra.txt"])
def test_a_path_trick_in_the_archive_is_refused_and_nothing_is_written(tmp_path, good, name):
    before = set(tmp_path.rglob("*"))
    path = rewritten(good, {name: b"x"})
    assert "a model holds" in refusal(path)
    assert set(tmp_path.rglob("*")) - before == {path}
    assert not Path("/tmp/canary-of-a-model").exists()


def test_missing_doubled_and_damaged_members_are_refused(tmp_path, good):
    for name in MEMBERS:
        assert "a model holds" in refusal(rewritten(good, {name: None}))
    doubled = rewritten(good, {})
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(doubled, "a") as archive:
        archive.writestr("config.json", "{}")
    assert "a model holds" in refusal(doubled)
    assert "damaged description" in refusal(rewritten(good, {"config.json": b"{"}))
    assert "damaged description" in refusal(rewritten(good, {"config.json": b"[" * 200_000}))
    assert "cannot be read" in refusal(rewritten(good, {"model.weights.h5": b"no weights"}))
    assert "cannot be built" in refusal(rewritten(good, {"config.json": b"{}"}))
    (tmp_path / "nothing.keras").write_bytes(b"")
    assert "is not a .keras file" in refusal(tmp_path / "nothing.keras")


def test_a_description_that_unpacks_too_far_is_refused(good):
    new = good.with_name("bomb.keras")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members(good).items():
            if member == "config.json":
                content += b" " * (MEMBERS[member] + 1)
            archive.writestr(member, content)
    assert new.stat().st_size < 200_000
    assert "unpacks to more" in refusal(new)


def test_a_network_that_would_not_fit_is_refused_before_anything_is_allocated(good):
    def wider(config):
        config["config"]["layers"][-1]["config"]["units"] = 2_000_000_000

    assert re.search(r"has [\d,]+ weights", refusal(described(good, wider)))

    def larger(config):
        layer = config["config"]["layers"][0]["config"]
        layer["batch_shape"] = [None, 100_000, 100_000, 3]

    assert "numbers of an image" in refusal(described(good, larger))
    check_model_file(good)  # what was counted is forgotten: this one still loads
    Predictor(good)


def with_weights(path, write):
    buffer = io.BytesIO(members(path)["model.weights.h5"])
    with h5py.File(buffer, "a") as file:
        write(file)
    return rewritten(path, {"model.weights.h5": buffer.getvalue()})


def test_weights_that_claim_more_than_they_hold_are_refused(good):
    def sparse(file):
        file.create_dataset("bomb", shape=(1_000_000, 1_000_000), dtype="f4", chunks=(1, 100))

    def packed(file):
        file.create_dataset("bomb", data=np.zeros((2_000, 2_000), "f4"), compression="gzip")

    for write in (sparse, packed):
        assert "not plain numbers" in refusal(with_weights(good, write))


def test_weights_that_point_elsewhere_are_refused(good, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.arange(3)

    def link(file):
        file["elsewhere"] = h5py.ExternalLink(str(secret), "x")

    def outside(file):
        (tmp_path / "raw").write_bytes(bytes(400))
        file.create_dataset("raw", (100,), "f4", external=[(str(tmp_path / "raw"), 0, 400)])

    assert "point to another place" in refusal(with_weights(good, link))
    assert "not plain numbers" in refusal(with_weights(good, outside))


def test_more_weights_than_are_loaded_are_refused_by_the_archives_own_word(good):
    most = MEMBERS["model.weights.h5"]
    new = good.with_name("zeros.keras")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members(good).items():
            with archive.open(member, "w", force_zip64=True) as file:
                file.write(content)
                if member == "model.weights.h5":
                    for _megabyte in range(most // 1_000_000 + 1):
                        file.write(bytes(1_000_000))
    tracemalloc.start()
    try:
        assert "unpacks to more" in refusal(new)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_more_weights_than_are_loaded_are_refused_whatever_they_are_for(good):
    """Some 201 million numbers that no layer of the description asks for."""

    def many(file):
        file["more"] = np.zeros(201_000_000, "i1")

    assert re.search(
        r"The file holds 201,0[\d,]+ weights: at most 125,000,000", refusal(with_weights(good, many))
    )

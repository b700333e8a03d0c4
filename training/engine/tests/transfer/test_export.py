"""Models to take away answer what the site answers."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.engine.data.preprocessing import make_inputs
from training.engine.inference.calibration import Calibration
from training.engine.inference.predictor import Predictor
from training.engine.inference.verdict import DecisionPolicy
from training.engine.packaging import export
from training.engine.tests.data.synthetic import images as cifar_like
from training.engine.tests.transfer.made_up import drawn

ROOT = Path(__file__).parents[4]
SHIPPED = ROOT / "training" / "pretrained"
N = 200


@pytest.fixture(scope="module", params=[pytest.param("transfer", marks=pytest.mark.slow), "fast_cnn"])
def taken(request, made):
    """File, card, 200 images that it never saw, and what the site answers to them."""
    if request.param == "transfer":
        _, package, file, _ = made
        card, pictures = package.card, [drawn(number % 3, 50_000 + number) for number in range(N)]
    else:
        file = SHIPPED / "fast_cnn" / "model.keras"
        card = json.loads((SHIPPED / "fast_cnn" / "card.json").read_text())
        pictures = list(cifar_like(np.arange(N) % 10, 8))
    predictor = Predictor(file, DecisionPolicy.from_card(card["judge"]), card.get("classes"))
    inputs = make_inputs(pictures, card["preprocessing"])
    return file, card, pictures, inputs, predictor.predict(inputs)


def interpreted(content, inputs):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=2)
    interpreter.allocate_tensors()
    place, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert place["dtype"] == out["dtype"] == np.float32
    made = []
    for image in inputs:
        interpreter.set_tensor(place["index"], image[None].astype(np.float32))
        interpreter.invoke()
        made.append(interpreter.get_tensor(out["index"])[0])
    return np.array(made)


@pytest.mark.slow
def test_tflite_gives_the_same_labels_and_probabilities(taken, tmp_path):
    file, card, _, inputs, answers = taken
    out, about_it, samples = (tmp_path / name for name in ("model.zip", "card.json", "samples.npz"))
    about_it.write_text(json.dumps(card))
    np.savez(samples, images=inputs[:50])
    # In a process of its own, as the site does it: the converter writes past Python to its error stream.
    command = [
        sys.executable,
        "-m",
        "training.engine.packaging.export",
        *map(str, (file, about_it, "tflite")),
    ]
    ran = subprocess.run([*command, str(out), str(samples)], cwd=ROOT, capture_output=True, timeout=580)
    assert ran.returncode == 0, ran.stderr.decode()[-2_000:]
    same, sizes = {}, {}
    with zipfile.ZipFile(out) as archive:
        about = json.loads(archive.read("model.json"))
        assert "corrected on training images" in archive.read("README.md").decode()
        for kind in ("", "_float16", "_int8"):
            content = archive.read(f"model{kind}.tflite")
            found = interpreted(content, inputs)
            np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-3)
            same[kind] = int((found.argmax(axis=1) == answers.probabilities.argmax(axis=1)).sum())
            sizes[kind] = len(content)
            moved = np.abs(found - answers.probabilities).max(axis=1)
            if kind != "_int8":
                assert moved.max() < 0.02
            elif card["recipe"] == "transfer":
                # Eight bits move an answer that was little better than a guess.
                assert (moved < 0.02).sum() >= 190 and moved.max() < 0.1, np.sort(moved)[-20:]
    assert about["classes"] == list(answers.classes)
    assert same[""] >= 198 and same["_float16"] >= 198
    # fast_cnn's are of made-up images, which it knows little better than a guess.
    assert same["_int8"] >= (198 if card["recipe"] == "transfer" else 190)
    assert sizes["_int8"] < sizes["_float16"] < sizes[""]


def test_predict_py_needs_the_project_for_nothing(taken, tmp_path):
    file, card, pictures, _, answers = taken
    out, home = tmp_path / "model.zip", tmp_path / "home"
    export.write(file, {**card, "name": "shapes"}, "keras", out)
    with zipfile.ZipFile(out) as archive:
        archive.extractall(home)
    assert sorted(path.name for path in home.iterdir()) == [
        "README.md",
        "card.json",
        "model.json",
        "model.keras",
        "predict.py",
    ]
    names = [f"{number}.png" for number in range(8)]
    for name, picture in zip(names, pictures, strict=False):
        Image.fromarray(picture).save(home / name)
    # Isolated: neither this folder nor the environment's paths are searched for modules.
    ran = subprocess.run(
        [sys.executable, "-I", "predict.py", *names], cwd=home, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr[-2_000:]
    found = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert [row["file"] for row in found] == names
    for row, chances in zip(found, answers.probabilities, strict=False):
        assert list(row["probabilities"]) == list(answers.classes)
        np.testing.assert_allclose(list(row["probabilities"].values()), chances, atol=2e-3)
    # The site also looks whether an image is noise or plain; a photo is neither.
    agree = sum(row["verdict"] == said for row, said in zip(found, answers.verdicts, strict=False))
    assert agree >= (8 if card["recipe"] == "transfer" else 4)
    assert len((home / "predict.py").read_text().splitlines()) < 40


@pytest.mark.parametrize(
    "fitted", [Calibration(0.7), Calibration(1.3, 0.8, 1.4, -0.2), Calibration(1, -0.3, 1)]
)
def test_calibration_in_tensorflow_is_that_of_the_site(fitted):
    logits = np.random.default_rng(0).normal(0, 3, (100, 6)).astype(np.float32)
    found = export.calibrated(logits, fitted).numpy()
    np.testing.assert_allclose(found, fitted.probabilities(logits), atol=1e-5)


def test_without_samples_int8_holds_for_the_weights_and_says_so(made, tmp_path):
    _, package, file, _ = made
    predictor = Predictor(file, DecisionPolicy.from_card(package.card["judge"]), package.card["classes"])
    said = export.readme(package.card, predictor, "tflite", is_corrected=False)
    assert "(8-bit weights)" in said and "cross-validated" in said and "n = 36" in said


def test_what_cannot_be_written_is_said(made, tmp_path):
    _, package, file, _ = made
    with pytest.raises(export.ExportError, match="no format 'onnx'"):
        export.write(file, package.card, "onnx", tmp_path / "x.zip")
    with pytest.raises(export.ExportError, match="no inputs of a model"):
        export.write(file, package.card, "tflite", tmp_path / "x.zip", np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="names 2 classes"):
        export.write(file, {**package.card, "classes": ["a", "b"]}, "keras", tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_the_command_says_what_is_wrong(made, tmp_path, capsys, monkeypatch):
    _, package, file, _ = made
    card = tmp_path / "card.json"
    card.write_text(json.dumps({**package.card, "classes": ["a"]}))
    monkeypatch.setattr(sys, "argv", ["export", str(file), str(card), "keras", str(tmp_path / "x.zip")])
    assert export.main() == 1
    assert "names 1 classes" in capsys.readouterr().err

"""A model to take away: ``python -m training.engine.packaging.export MODEL CARD FORMAT OUT [SAMPLES]``.

OUT becomes a ZIP. FORMAT ``keras``: ``model.keras`` and a ``predict.py`` that needs keras and pillow alone.
FORMAT ``tflite``: the network in float32, float16 and int8, from pixels to calibrated probabilities. Either
has ``model.json`` (classes, preprocessing, calibration and thresholds), ``card.json`` and ``README.md``.

In int8 the weights alone have 8 bits, one scale a channel; with activations in 8 bits, too, probabilities
moved by up to 0.30. SAMPLES, an ``.npz`` with ``images``, are inputs of the model that it was trained on:
what the rounding changes on average, measured on them, is taken back (M. Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", 2019).
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.engine.data.cifar10 import CLASS_NAMES
from training.engine.data.labelled_images import CROSS_VALIDATION
from training.engine.data.preprocessing import find_version
from training.engine.inference.calibration import TINY, Calibration
from training.engine.inference.keras_network import KerasNetwork
from training.engine.inference.predictor import Predictor
from training.engine.inference.verdict import DecisionPolicy
from training.engine.packaging.package import PACKING_LEVEL

FORMATS = ("keras", "tflite")
# The converter leaves kernels of fewer weights as they are.
ROUNDED_FROM = 1_024
SAMPLES_AT_ONCE = 25
# Classes that the README names.
NAMED = 50
TRIED = """Against the Keras model, on 322 photos of ten classes, float16 moved probabilities by 0.011 at
most, 8 bits by 0.025 (by 0.02 or less on 320 photos). No label changed."""
PREDICT = Path(__file__).with_name("take_away_predict.py")
# Of ZIP entries, so that the same model gives the same file.
WHEN = (1980, 1, 1, 0, 0, 0)


class ExportError(ValueError):
    """Nothing was written; the message says why and what to do."""


def write(
    model: Path, card: dict[str, Any], format: str, out: Path, samples: NDArray[np.uint8] | None = None
) -> None:
    """Write the ZIP.

    Args:
        model: the ``.keras`` file; card: what came with it.
        samples: uint8 [M, H, W, 3], see above.

    Raises:
        ExportError: the format is unknown, or the samples are no inputs of this model.
        ValueError: the card is not this file's.
    """
    if format not in FORMATS:
        raise ExportError(f"There is no format '{format}': choose one of {', '.join(FORMATS)}.")
    classes = card.get("classes") or CLASS_NAMES
    network = KerasNetwork(model)
    predictor = Predictor(network, DecisionPolicy.from_card(card["judge"]), classes)
    files: dict[str, bytes] = {
        "model.json": _packed(about(card, predictor, network.ends_in_softmax)),
        "card.json": _packed(card),
        "README.md": readme(card, predictor, format, samples is not None).encode(),
    }
    if format == "keras":
        files |= {"model.keras": model.read_bytes(), "predict.py": PREDICT.read_bytes()}
    else:
        files |= tflite(network, predictor.judge.calibration, samples)
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, WHEN), content, zipfile.ZIP_DEFLATED, PACKING_LEVEL)


def about(card: dict[str, Any], predictor: Predictor, ends_in_softmax: bool) -> dict[str, Any]:
    """What a program must know to use the file, JSON-able."""
    preprocessing = find_version(card["preprocessing"])
    return {
        "name": card.get("name", card["recipe"]),
        "classes": list(predictor.classes),
        "preprocessing": preprocessing.name,
        "preprocessing_in_words": preprocessing.description,
        "side": preprocessing.size[0],
        "kept": preprocessing.kept,
        "input": "RGB, float32, 0 to 255, [N, side, side, 3]",
        "ends_in_softmax": ends_in_softmax,
        # Below 'turn' the bend of the confidence is a straight line, see ``Calibration``.
        "judge": {**_finite(predictor.judge.settings()), "turn": predictor.judge.calibration.turn},
    }


def tflite(
    loaded: KerasNetwork, calibration: Calibration, samples: NDArray[np.uint8] | None = None
) -> dict[str, bytes]:
    """``model.tflite`` (float32), ``model_float16.tflite`` and ``model_int8.tflite``.

    Each takes float32 [1, H, W, 3] in 0..255 and returns calibrated probabilities float32 [1, K].
    """
    if samples is not None and samples.shape[1:] != loaded.input_shape:
        raise ExportError(f"Samples of {samples.shape[1:]} are no inputs of a model of {loaded.input_shape}.")
    network = _without_nearness(loaded.model)

    def converter(network: Any, rounds: bool) -> Any:
        return _converter(loaded, network, calibration, rounds)

    plain, half = converter(network, False), converter(network, True)
    half.target_spec = tf.lite.TargetSpec(supported_types=[tf.float16])
    made = {"model.tflite": plain.convert(), "model_float16.tflite": half.convert()}
    if samples is not None:
        network = _rounded(network, samples)
    return {**made, "model_int8.tflite": converter(network, True).convert()}


def _converter(loaded: KerasNetwork, network: Any, calibration: Calibration, rounds: bool) -> Any:
    signature = [tf.TensorSpec((1, *loaded.input_shape), tf.float32, name="pixels")]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def answer(pixels: Any) -> Any:
        outputs = network(pixels, training=False)
        if loaded.ends_in_softmax:
            outputs = tf.math.log(tf.maximum(outputs, 1e-30))
        return calibrated(outputs, calibration)

    made = tf.lite.TFLiteConverter.from_concrete_functions([answer.get_concrete_function()], answer)
    made.optimizations = [tf.lite.Optimize.DEFAULT] if rounds else []
    return made


def _without_nearness(network: Any) -> Any:
    """The network up to its logits; of the recipe ``transfer`` without the part that moves all of them alike,
    since probabilities do not see it."""
    import keras

    for layer in network.layers:
        if layer.name == "classifier":
            return keras.Model(network.inputs, layer.output)
    return keras.Model(network.inputs, network.outputs[1])


def _rounded(network: Any, samples: NDArray[np.uint8]) -> Any:
    """A copy whose kernels have 8 bits as the converter will give them.

    BatchNorm takes back what that changes in the means of its inputs.
    """
    import keras

    weights, network = network.get_weights(), keras.models.clone_model(network)
    network.set_weights(weights)
    normed = {id(layer.input): layer for layer in network.layers if _is(layer, "BatchNormalization")}
    found = [layer for layer in network.layers if _is(layer, "Conv2D", "DepthwiseConv2D")]
    layers = [
        layer
        for layer in found
        if layer.kernel.shape.num_elements() >= ROUNDED_FROM and id(layer.output) in normed
    ]
    means = keras.Model(network.inputs, [keras.ops.mean(layer.input, axis=(1, 2)) for layer in layers])
    for layer, seen in zip(
        layers, means.predict(samples, batch_size=SAMPLES_AT_ONCE, verbose=0), strict=True
    ):
        (kernel, *bias), of_sample = layer.get_weights(), seen.mean(axis=0)
        each = (0, 1, 3) if _is(layer, "DepthwiseConv2D") else (0, 1, 2)
        scale = np.maximum(np.abs(kernel).max(axis=each, keepdims=True) / 127, 1e-12)
        rounded = np.round(kernel / scale) * scale
        change = (rounded - kernel).sum(axis=(0, 1))
        shift = change[:, 0] * of_sample if _is(layer, "DepthwiseConv2D") else of_sample @ change
        layer.set_weights([rounded, *bias])
        norm = normed[id(layer.output)]
        norm.moving_mean.assign_add(shift)
    return network


def _is(layer: Any, *kinds: str) -> bool:
    return type(layer).__name__ in kinds


def calibrated(logits: Any, fitted: Calibration) -> Any:
    """``Calibration.probabilities`` in TensorFlow, float32 [N, K]."""
    plain = tf.nn.softmax(logits / fitted.temperature)
    if (fitted.a, fitted.b, fitted.c) == (1.0, 1.0, 0.0):
        return plain
    top, second = tf.unstack(tf.math.top_k(plain, 2).values[:, :, None], axis=1)
    rest = tf.maximum(1 - top, 1e-7)
    kept = tf.clip_by_value(tf.maximum(top, fitted.turn), TINY, 1 - 1e-7)
    odds = fitted.a * tf.math.log(kept) - fitted.b * tf.math.log(1 - kept) + fitted.c
    bent = tf.maximum(top / kept * tf.sigmoid(odds), second / (second + rest))
    return tf.where(plain >= top, bent, plain * (1 - bent) / rest)


def readme(card: dict[str, Any], predictor: Predictor, format: str, is_corrected: bool) -> str:
    """The model card in short: what it is, how good, and how to use it."""
    names = list(predictor.classes)
    listed = ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")
    lines = [
        f"# {card.get('name', card['recipe'])}",
        "",
        f"A classifier of {len(names):,} classes: {listed}.",
        "",
    ]
    if test := card.get("test"):
        low, high = test["interval"]
        crossed = card.get("measured_by") == CROSS_VALIDATION
        how = "cross-validated over all of its images" if crossed else "on test images that it never saw"
        lines += [
            f"Accuracy: {test['accuracy']:.1%} (n = {test['n']:,}, {how}; 95 % interval {low:.1%} to "
            f"{high:.1%}). Calibration error: {test['ece']:.3f}.",
            "",
        ]
    if judged := card.get("judged_on"):
        lines += [f"Calibration and thresholds were fitted to {judged['n']:,} images.", ""]
    lines += [
        f"Input: RGB, 0 to 255. {find_version(card['preprocessing']).description}",
        "`model.json` names the classes in the order of the outputs.",
        "",
    ]
    if format == "keras":
        lines += ["    pip install keras tensorflow pillow", "    python predict.py picture.jpg"]
    else:
        kind = "weights, corrected on training images" if is_corrected else "weights"
        lines += [
            "`model.tflite` is float32, `model_float16.tflite` half its size, `model_int8.tflite` a quarter",
            f"(8-bit {kind}). Each takes float32 [1, side, side, 3] and returns calibrated probabilities.",
        ]
        if card["recipe"] == "transfer":
            lines += [TRIED]
    return "\n".join([*lines, "", "It was not evaluated for decisions about people or safety.", ""])


def _packed(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def _finite(settings: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: a threshold below every score is a very low one."""
    low = -1e30
    return {k: max(v, low) if isinstance(v, float) else v for k, v in settings.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("card", type=Path)
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("out", type=Path)
    parser.add_argument("samples", type=Path, nargs="?")
    given = parser.parse_args()
    samples = None
    if given.samples:
        with np.load(given.samples, allow_pickle=False) as stored:
            samples = stored["images"]
    try:
        write(given.model, json.loads(given.card.read_text()), given.format, given.out, samples)
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

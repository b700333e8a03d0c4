"""Look into a ``.keras`` file before Keras does: a file from elsewhere runs nothing and fills no memory.

Keras' safe mode refuses Python code. This refuses, before anything is built, whatever a picture
classifier has no need of: layers that read files or wrap other programs, archives with other
members, weights that claim more than they hold, and networks that would not fit.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# A network of the sites' sizes: weights of half a gigabyte, and what it holds of one image at a time.
MOST_WEIGHTS = 125_000_000
MEMBERS = {
    "metadata.json": 64_000,
    "config.json": 16_000_000,
    "model.weights.h5": 4 * MOST_WEIGHTS + 16_000_000,
}
MOST_ACTIVATIONS = 50_000_000
LAYERS = {
    *("Activation", "Add", "Average", "AveragePooling2D", "BatchNormalization", "CenterCrop"),
    *("Concatenate", "Conv1D", "Conv2D", "Conv2DTranspose", "Cropping2D", "Dense", "DepthwiseConv2D"),
    *("Dot", "Dropout", "ELU", "Embedding", "EinsumDense", "Flatten", "GaussianDropout"),
    *("GaussianNoise", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "GroupNormalization"),
    *("Identity", "InputLayer", "LayerNormalization", "LeakyReLU", "MaxPooling2D", "Maximum"),
    *("Minimum", "MultiHeadAttention", "Multiply", "Normalization", "PReLU", "Permute"),
    *("RMSNormalization", "RandomBrightness", "RandomContrast", "RandomCrop", "RandomFlip"),
    *("RandomRotation", "RandomTranslation", "RandomZoom", "ReLU", "RepeatVector", "Rescaling"),
    *("Reshape", "Resizing", "SeparableConv2D", "Softmax", "SpatialDropout2D", "Subtract"),
    *("UnitNormalization", "UpSampling2D", "ZeroPadding2D"),
}
# Parts that compute and nothing else.
PARTS: tuple[str, ...] = (
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
    "keras.optimizers",
    "keras.losses",
)
PARTS += ("keras.metrics", "keras.activations", "keras.dtype_policies")
OPERATIONS = "keras.src.ops."
NETWORKS = {"Functional", "Sequential", "DTypePolicy"}
VALUES = {"__keras_tensor__", "__tuple__", "__ellipsis__"}
OWN = "cifarsite>"


class UnsafeModelFile(ValueError):
    """The file is not loaded; the message says why."""


def check_model_file(path: str | Path) -> None:
    """Refuse a file that this site has not made, or not for this.

    Raises:
        UnsafeModelFile: it is no Keras archive, has other members, asks for code, or is too large.
    """
    _check_size(look_into(path))


def look_into(path: str | Path) -> dict[str, Any]:
    """The first part of the check, without Keras: members, what the description asks for, weights.

    Returns:
        The description.

    Raises:
        UnsafeModelFile: see ``check_model_file``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            config = _read_members(archive)
    except Exception as error:
        if isinstance(error, UnsafeModelFile):
            raise
        raise UnsafeModelFile(  # a forged archive makes zipfile raise anything
            f"{Path(path).name} is not a .keras file ({error}): use a model that this site has trained."
        ) from error
    try:
        described = json.loads(config)
        for part in _parts(described):
            _check_part(part)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnsafeModelFile):
            raise
        raise UnsafeModelFile(f"{Path(path).name} has a damaged description: {error}.") from error
    _check_weights(path)
    return described if isinstance(described, dict) else {}


def _read_members(archive: zipfile.ZipFile) -> bytes:
    """The description, where the archive says of itself that it is not too large."""
    sizes = [(info.filename, info.file_size) for info in archive.infolist()]
    names = [name for name, _size in sizes]
    if sorted(names) != sorted(MEMBERS):
        raise UnsafeModelFile(
            f"The model's archive holds {', '.join(names[:5]) or 'nothing'}; "
            f"a model holds {', '.join(MEMBERS)}."
        )
    for name, size in sizes:  # no more is ever unpacked than is said here
        if size > MEMBERS[name]:
            raise UnsafeModelFile(f"{name} of the model unpacks to more than {MEMBERS[name]:,} bytes.")
    return archive.read("config.json")


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object that the description asks for."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _parts(inner)


def _check_part(part: dict[str, Any]) -> None:
    module, name, registered = part.get("module"), part["class_name"], part.get("registered_name")
    if module is None:
        allowed = name in VALUES
    elif module == "keras.layers":
        allowed = name in LAYERS
    else:
        allowed = (module in PARTS or str(module).startswith(OPERATIONS) or name in NETWORKS) and str(
            module
        ).split(".")[0] == "keras"
    own = str(registered).startswith(OWN) and str(module).startswith("training.engine.")
    if not (own or (allowed and registered in (None, name))):
        raise UnsafeModelFile(
            f"The model asks for {module}.{name}, which no model of this site needs: it is not loaded."
        )


def _check_weights(path: str | Path) -> None:
    """Each array lies in the file itself, as long as it says, and not packed; they are not too many.

    Only their headers are read: they lie in a file, and never are in memory as a whole.
    """
    import h5py

    length = claimed = numbers = 0

    def look(name: str, item: Any) -> None:
        nonlocal claimed, numbers
        if not isinstance(item, h5py.Dataset):
            return
        numbers += math.prod(item.shape)
        size = math.prod(item.shape) * item.dtype.itemsize
        claimed += size
        plain = item.compression is None and not item.is_virtual and not item.external
        if item.dtype.kind not in "fiub" or not plain or item.id.get_storage_size() != size:
            raise UnsafeModelFile(f"The weights '{name}' are not plain numbers in the file: not loaded.")

    def hard(group: Any) -> None:
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UnsafeModelFile(f"The weights '{name}' point to another place: not loaded.")
            if isinstance(group[name], h5py.Group):
                hard(group[name])

    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryFile() as content:
            with archive.open("model.weights.h5") as member:
                shutil.copyfileobj(member, content, 1024 * 1024)
            length = content.tell()
            with h5py.File(content, "r") as file:
                hard(file)
                file.visititems(look)
    except UnsafeModelFile:
        raise
    except Exception as error:  # a damaged file makes h5py raise anything
        raise UnsafeModelFile(f"The model's weights cannot be read: {error}.") from error
    if claimed > length:
        raise UnsafeModelFile("The model's weights claim more than the file holds: not loaded.")
    if numbers > MOST_WEIGHTS:
        raise UnsafeModelFile(f"The file holds {numbers:,} weights: at most {MOST_WEIGHTS:,} are loaded.")


def _check_size(described: dict[str, Any]) -> None:
    """Build the network without its weights, and count what it would take."""
    import keras
    from keras.src.backend.common import global_state

    try:
        # Nothing is allocated in this scope, and nothing made up afterwards.
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(described, safe_mode=True)
            weights = sum(math.prod(weight.shape) for weight in model.weights)
            activations = sum(_elements(layer) for layer in model.layers)
    except UnsafeModelFile:
        raise
    except Exception as error:  # Keras raises anything at a description that fits nothing
        text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UnsafeModelFile(f"The model cannot be built: {text}") from error
    finally:
        global_state.set_global_attribute("uninitialized_variables", [])
    if weights > MOST_WEIGHTS or activations > MOST_ACTIVATIONS:
        raise UnsafeModelFile(
            f"The model has {weights:,} weights and holds {activations:,} numbers of an image: at most "
            f"{MOST_WEIGHTS:,} and {MOST_ACTIVATIONS:,} are loaded."
        )


def _elements(layer: Any) -> int:
    shapes = [getattr(tensor, "shape", ()) for tensor in _listed(getattr(layer, "output", ()))]
    return sum(math.prod(size or 1 for size in shape) for shape in shapes)


def _listed(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else [value]

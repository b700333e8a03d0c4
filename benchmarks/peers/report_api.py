"""Peer (a), the source report's way: FastAPI, the model loaded at the start, ``predict`` a request.

    MODEL=/path/model.keras uvicorn report_api:app --port 8001

Written as FastAPI's documentation shows it ('Lifespan Events', 'Request Files') and Keras' ('Save,
serialize, and export models', ``Model.predict``). FastAPI documents two kinds of functions: a plain
``def``, its advice for what blocks, runs in its pool of threads; an ``async def`` runs in the event
loop, one at a time. Both are here, and the better one counts. No sign-in, no check, nothing is kept.
"""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import keras
import numpy as np
from fastapi import FastAPI, UploadFile
from PIL import Image

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
models: dict[str, Any] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    models["classifier"] = keras.models.load_model(os.environ["MODEL"])
    yield
    models.clear()


app = FastAPI(lifespan=lifespan)


def classify(content: bytes) -> dict[str, Any]:
    model = models["classifier"]
    height, width = model.input_shape[1:3]
    image = Image.open(io.BytesIO(content)).convert("RGB").resize((width, height))
    outputs = model.predict(np.asarray(image, "float32")[np.newaxis], verbose=0)
    if model.layers[-1].name != "probabilities":  # the shipped champion ends in logits
        outputs = keras.ops.convert_to_numpy(keras.ops.softmax(outputs))
    probabilities = dict(zip(CLASSES, outputs[0].tolist(), strict=True))
    return {"label": max(probabilities, key=probabilities.__getitem__), "probabilities": probabilities}


@app.post("/predict")
def predict(file: UploadFile) -> dict[str, Any]:
    return classify(file.file.read())


@app.post("/predict-async")
async def predict_async(file: UploadFile) -> dict[str, Any]:
    return classify(await file.read())


@app.get("/healthz")
def healthz() -> dict[str, str]:
    return {"status": "ok"}

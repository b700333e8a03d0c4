"""Peer (d), Gradio's Interface over the same model, as its guide to image classification shows it.

    MODEL=/path/model.keras PORT=8002 python gradio_app.py

It is asked as its guide 'Querying Gradio Apps with Curl' shows: upload, call, read the event.
"""

from __future__ import annotations

import os

import gradio as gr
import keras
import numpy as np
from PIL import Image

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
model = keras.models.load_model(os.environ["MODEL"])
height, width = model.input_shape[1:3]


def classify(image: Image.Image) -> dict[str, float]:
    outputs = model.predict(np.asarray(image.resize((width, height)), "float32")[np.newaxis], verbose=0)
    if model.layers[-1].name != "probabilities":  # the shipped champion ends in logits
        outputs = keras.ops.convert_to_numpy(keras.ops.softmax(outputs))
    return dict(zip(CLASSES, outputs[0].tolist(), strict=True))


demo = gr.Interface(
    fn=classify,
    inputs=gr.Image(type="pil"),
    outputs=gr.Label(num_top_classes=10),
    api_name="predict",
)

if __name__ == "__main__":
    demo.launch(server_name="127.0.0.1", server_port=int(os.environ["PORT"]))

"""What is in a picture? ``python predict.py PICTURE...``, beside model.keras and model.json."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).parent
ABOUT = json.loads((HERE / "model.json").read_text(encoding="utf-8"))
SIDE, JUDGE = ABOUT["side"], ABOUT["judge"]
network = keras.models.load_model(HERE / "model.keras", compile=False)
for name in sys.argv[1:]:
    image = ImageOps.exif_transpose(Image.open(name)).convert("RGB")
    width, height = (max(ABOUT["kept"] * length, min(length, SIDE)) for length in image.size)
    left, top = (image.width - width) / 2, (image.height - height) / 2
    box = (left, top, left + width, top + height)
    seen = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box, 3.0)
    outputs = np.asarray(network(np.asarray(seen, np.float32)[None], training=False), np.float64)[0]
    logits = np.log(np.maximum(outputs, 1e-30)) if ABOUT["ends_in_softmax"] else outputs
    chances = np.exp((logits - logits.max()) / JUDGE["temperature"])
    chances /= chances.sum()
    second, first = np.clip(np.sort(chances)[-2:], 1e-9, 1 - 1e-9)
    best, kept = chances.argmax(), max(first, JUDGE["turn"])
    odds = JUDGE["rise"] * np.log(kept) - JUDGE["fall"] * np.log(1 - kept) + JUDGE["shift"]
    bent = max(first / kept / (1 + np.exp(-odds)), second / (second + 1 - first))
    chances = np.where(np.arange(len(chances)) == best, bent, chances * (1 - bent) / (1 - first))
    likeness = logits.max() + np.log(np.exp(logits - logits.max()).sum())
    single = (chances >= JUDGE["set_threshold"]).sum() <= 1
    verdict = "unknown" if likeness < JUDGE["score_threshold"] else "recognised" if single else "unsure"
    named = dict(zip(ABOUT["classes"], chances.round(4).tolist(), strict=True))
    found = {"file": name, "label": ABOUT["classes"][best], "verdict": verdict}
    answer = {**found, "confidence": round(float(bent), 4), "probabilities": named}
    print(json.dumps(answer, ensure_ascii=False))

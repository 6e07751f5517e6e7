"""The documents' own program, from its facts: FastAPI, AutoModel, one picture at a time.

S0-01…11, S0-18 and S0-19: the model is loaded once in float32 and computes where requests are answered,
with all threads that PyTorch takes. A picture above 1024 px is cut into windows of 518 px with half an
overlap, another one is a single view. The tokens of the patches go into an npz as they are, float32.
"""

import io
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastapi import FastAPI, UploadFile
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

SIDE_PX, LARGE_PX = 518, 1024
WEIGHTS = os.environ["DOCUMENTS_WEIGHTS"]
FOLDER = Path(os.environ["DOCUMENTS_FOLDER"])

app = FastAPI()
processor = AutoImageProcessor.from_pretrained(WEIGHTS)
model = AutoModel.from_pretrained(WEIGHTS, dtype=torch.float32).eval()


def cut(picture: Image.Image) -> list[Image.Image]:
    width, height = picture.size
    if width <= LARGE_PX and height <= LARGE_PX:
        return [picture]
    step = SIDE_PX // 2
    return [
        picture.crop((x, y, x + SIDE_PX, y + SIDE_PX))
        for y in range(0, max(1, height - SIDE_PX + 1), step)
        for x in range(0, max(1, width - SIDE_PX + 1), step)
    ]


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok", "model": WEIGHTS, "device": "cpu", "storage": "local"}


@app.post("/embed")
async def embed(file: UploadFile) -> dict[str, Any]:
    picture = Image.open(io.BytesIO(await file.read())).convert("RGB")
    tokens = []
    with torch.inference_mode():
        for view in cut(picture):
            inputs = processor(view, return_tensors="pt")
            tokens.append(model(**inputs).last_hidden_state[:, 1:].numpy())
    embeddings = np.concatenate(tokens)
    name = f"embed_{uuid.uuid4().hex}.npz"
    np.savez(FOLDER / name, embeddings=embeddings)
    return {
        "embedding_uri": name,
        "shape": list(embeddings.shape),
        "num_tiles": len(embeddings),
        "metadata": {"filename": file.filename, "original_size": list(picture.size)},
    }

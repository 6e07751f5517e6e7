"""LitServe with our own engine behind it: ``python -m …bench.serving_litserve JSON``.

The same decoding, the same tiles, the same OpenVINO engine, the same numbers in the file; what differs is
how requests are taken in, queued and scheduled. LitServe's package need not be installed here, it may come
by PYTHONPATH.
"""

import io
import itertools
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import litserve
import numpy as np
from fastapi import File

from dino_assets_tests.bench.serving_work import cut_picture, open_served_engine

ARGUMENTS = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}


class EmbeddingApi(litserve.LitAPI):
    """One picture in, its embedding on the disk and the documents' answer out."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__(max_batch_size=given["batch"], api_path="/embed")
        self.given = given

    def setup(self, device: str) -> None:
        threads = max(1, self.given["threads"] // self.given["workers"])
        self.encoder = open_served_engine(
            Path(self.given["weights"]), Path(self.given["cache"]), threads=threads
        )
        if self.given["workers"] == 1:  # only then it can know that nothing else is computed
            self.encoder.widen()
        self.pool = ThreadPoolExecutor(threads)
        self.numbers = itertools.count()

    def decode_request(self, request: Annotated[bytes, File(alias="file")]) -> tuple[Any, str, int]:
        tiles = cut_picture(request, self.encoder)
        # As the clients of the mixed load ask for it: patches of one tile, means of many.
        return tiles, "patches" if len(tiles) == 1 else "mean", 0

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def predict(self, asked: Any) -> Any:
        """Tokens of one picture, or of all pictures of a batch; as many tiles at a time as threads."""
        if self.given["batch"] == 1:
            return self._compute([asked])[0]
        return self._compute(asked)

    def _compute(self, asked: list[Any]) -> list[dict[str, np.ndarray]]:
        def encode(one: tuple[np.ndarray, str]) -> dict[str, np.ndarray]:
            tile, name = one
            tokens = self.encoder.encode(tile[None], is_alone=is_alone)
            return {
                "cls": tokens["cls"].astype(np.float16),
                "mean": tokens["mean"].astype(np.float16),
                "embeddings": tokens[name].astype(np.float16),
            }

        named_tiles = [(tile, name) for tiles, name, _ in asked for tile in tiles]
        is_alone = self.given["workers"] == 1 and len(named_tiles) == 1
        results = iter(list(self.pool.map(encode, named_tiles)))
        outputs = []
        for tiles, _, _ in asked:
            rows = list(itertools.islice(results, len(tiles)))
            outputs.append({key: np.concatenate([row[key] for row in rows]) for key in rows[0]})
        return outputs

    def encode_response(self, output: dict[str, np.ndarray]) -> dict[str, Any]:
        name = f"embed_{os.getpid()}-{next(self.numbers)}.npz"
        sink = io.BytesIO()
        np.savez(sink, **output)
        (Path(self.given["folder"]) / name).write_bytes(sink.getvalue())
        tiles = len(output["embeddings"])
        return {
            "embedding_uri": name,
            "shape": list(output["embeddings"].shape),
            "num_tiles": tiles,
            "metadata": {"num_tiles": tiles},
        }


def main() -> None:
    server = litserve.LitServer(
        EmbeddingApi(ARGUMENTS),
        accelerator="cpu",
        devices=1,
        workers_per_device=ARGUMENTS["workers"],
        timeout=False,
    )
    server.run(
        host="127.0.0.1", port=ARGUMENTS["port"], generate_client_file=False, log_level="warning"
    )


if __name__ == "__main__":
    main()

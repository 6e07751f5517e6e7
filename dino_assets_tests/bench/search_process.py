"""One search of a large store, and its peers: ``python -m …bench.search_process ROOT PEERS``.

Prints JSON. ``PEERS`` is a folder with faiss, or empty.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import dino_assets as da
from dino_assets.api.finding import open_with_copies
from dino_assets.embeddings.rows import to_matrix
from dino_assets.embeddings.stage.pool import choose_pool
from dino_assets.embeddings.stage.queries import QueryVector
from dino_assets.numerics.search import Search
from dino_assets.probes.stage.prototypes_fitting import FewShot, find_like, fit_prototype
from dino_assets.store.commits.mapped import MappedParts
from dino_assets.store.commits.reading import open_table

TURNS = 5


def time_best(work: Callable[[], Any]) -> float:
    """Run some work several times; return the seconds of the fastest run."""
    seconds = []
    for _ in range(TURNS):
        start_s = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start_s)
    return min(seconds)


def read_anonymous_mb() -> float:
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) / 1e3


def measure_ours(project: da.Project, queries: np.ndarray) -> dict[str, float]:
    """Measure the first search, which makes the copies, a warm one, and the scan alone."""
    start_s = time.perf_counter()
    project.find(queries[0], 50)
    first_s = time.perf_counter() - start_s
    figures = {"first_s": first_s, "find_s": time_best(lambda: project.find(queries[0], 50))}
    parts = open_parts(project)

    def scan(count: int) -> None:
        search = Search(queries[:count], 50)
        for part in parts:
            search.add(part)
        search.hits()

    figures["scan_s"] = time_best(lambda: scan(1))
    figures["scan_16_s"] = time_best(lambda: scan(16))
    figures["anonymous_mb"] = read_anonymous_mb()
    return figures | {"like_s": time_best(lambda: learn_and_find(project, queries[:5]))}


def learn_and_find(project: da.Project, examples: np.ndarray) -> None:
    """Learn a prototype of some examples, and find the tiles most like it, as ``dino-assets like`` does."""
    embeddings, tiles = (open_with_copies(project, name) for name in ("embeddings", "tiles"))
    numbers = tuple(map(str, range(len(examples))))
    prototype = fit_prototype(
        choose_pool(embeddings),
        FewShot("", numbers),
        lambda number: QueryVector(examples[int(number)]),
    )
    find_like(choose_pool(embeddings), tiles, prototype, count=50)


def open_parts(project: da.Project) -> list[np.ndarray]:
    copies = MappedParts(project.settings.root / ".cache" / "tables")
    (space,) = project.spaces()
    table = open_table(project.store, "embeddings", space=space)
    columns = ["tile_id", "image_id", "thumb", "cls"]
    opened = [copies.find(p, columns) for m in table.manifests for p in m.parts if p.name is None]
    return [to_matrix(each["cls"]) for each in opened if isinstance(each, pa.Table)]


def measure_peers(
    parts: list[np.ndarray], queries: np.ndarray, faiss_folder: str
) -> dict[str, Any]:
    """Measure NumPy and faiss on vectors of length 1 in memory, and the memory's bandwidth."""
    everything = np.concatenate(parts)
    everything /= np.linalg.norm(everything, axis=1, keepdims=True)

    def scan(count: int) -> None:
        cosines = everything @ queries[:count].T
        np.argpartition(cosines, -50, axis=0)

    figures = {"numpy_s": time_best(lambda: scan(1)), "numpy_16_s": time_best(lambda: scan(16))}
    figures["read_s"] = time_best(lambda: everything.sum())
    if faiss_folder:
        sys.path.insert(0, faiss_folder)
        import faiss

        index = faiss.IndexFlatIP(everything.shape[1])
        index.add(everything)
        figures["faiss_s"] = time_best(lambda: index.search(queries[:1], 50))
        figures["faiss_16_s"] = time_best(lambda: index.search(queries[:16], 50))
    return figures


def main() -> None:
    root, faiss_folder = sys.argv[1:]
    project = da.open_project(root)
    parts_queries = np.load(Path(root) / "queries.npy")
    figures = measure_ours(project, parts_queries)
    parts = open_parts(project)
    figures["rows"] = sum(map(len, parts))
    print(json.dumps(figures | measure_peers(parts, parts_queries, faiss_folder)))


if __name__ == "__main__":
    main()

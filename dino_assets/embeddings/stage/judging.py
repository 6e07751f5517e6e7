"""Check of a drop's committed embeddings."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.counting import count_of
from dino_assets.embeddings.encoder.gate import GATE_TILES
from dino_assets.embeddings.rows import to_matrix
from dino_assets.store.commits import tables
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.verdicts import Verdict

# A vector's length may be outside of the range of the gate's tiles by these factors (below, above). The more
# the patches of a tile differ, the shorter is their mean: for noise, half as long as for any gate tile. Regions
# are not measured at the gate, so any finite ones pass.
NORM_SLACK = {"cls": (2.0, 2.0), "mean": (8.0, 2.0)}


def judge_embeddings(tiles: CommittedTable, embeddings: CommittedTable, drop: str) -> Verdict:
    """Check that a drop has one finite vector per tile, in one space, by an engine that passed the gate."""
    if drop not in embeddings.drops:
        return Verdict(drop, False, f"nothing is committed in space {embeddings.space}")
    facts = embeddings.manifest(drop).facts
    expected_ids = tiles.read(drop, ["tile_id"])["tile_id"].to_pylist()
    if expected_ids and int((facts.get("gate") or {}).get("tiles", 0)) < GATE_TILES:
        reason = "the engine was not compared with the reference. Materialise `embeddings` again."
        return Verdict(drop, False, reason)
    seen: list[str] = []
    of_drop = replace(embeddings, manifests=(embeddings.manifest(drop),))
    for manifest, part in of_drop.parts():
        seen += part["tile_id"].to_pylist()
        if fault := _judge_part(manifest, part):
            return Verdict(drop, False, fault)
    twice = len(seen) - len(set(seen))
    missing, foreign = set(expected_ids) - set(seen), set(seen) - set(expected_ids)
    if twice or missing or foreign:
        return Verdict(
            drop,
            False,
            f"{twice} tiles embedded twice, {len(missing)} not at all, {len(foreign)} missing in `tiles`",
        )
    sentence = f"{count_of(len(seen), 'vector')} for {count_of(len(expected_ids), 'tile')}, finite, one space"
    if "engine" in facts:
        sentence += f"; {facts['engine']}"
    if refused := facts.get("refused"):
        return Verdict(drop, True, f"{sentence}; refused before: {'; '.join(refused)}", warns=True)
    return Verdict(drop, True, sentence)


def _judge_part(manifest: Manifest, part: pa.Table) -> str | None:
    spaces = {manifest.recipe.output.space, tables.read_metadata(part.schema).get("space")}
    if len(spaces) != 1:
        return f"vectors of {len(spaces)} spaces: {sorted(map(str, spaces))}"
    norms = dict(manifest.facts.get("gate", {}).get("norms", {}))
    for column in (field.name for field in part.schema if pa.types.is_fixed_size_list(field.type)):
        vectors = to_matrix(part[column])
        bad = np.asarray(~np.isfinite(vectors).all(axis=1))
        if bad.any():
            return f"{bad.sum()} {column} vectors are not finite, {_first(part, bad)} first"
        low, high = norms.get(column, (0.0, np.inf))
        lengths = np.linalg.norm(vectors, axis=1)
        below, above = NORM_SLACK.get(column, (1.0, 1.0))
        bad = (lengths < low / below) | (lengths > high * above)
        if bad.any():
            return (
                f"{bad.sum()} {column} vectors have an unusual length: the first, {_first(part, bad)}, has "
                f"{lengths[bad][0]:.3g}; the gate's test tiles have {low:.3g} to {high:.3g}"
            )
    return None


def _first(part: pa.Table, bad: NDArray[np.bool_]) -> str:
    return str(part["tile_id"][int(np.flatnonzero(bad)[0])].as_py())

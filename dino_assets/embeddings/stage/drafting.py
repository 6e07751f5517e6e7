"""Draft of a drop's embeddings: shards of whole images, each with a receipt, resumable after a kill."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from dino_assets.compute.devices import list_devices
from dino_assets.compute.settings import ComputeSettings
from dino_assets.compute.threads import map_ahead
from dino_assets.compute.turns import taking_turn
from dino_assets.drops.sources.source import Source
from dino_assets.embeddings.options import DEFAULT, EmbeddingOptions
from dino_assets.embeddings.regions import REGIONS, check_regions
from dino_assets.embeddings.rows import make_schema
from dino_assets.embeddings.run.progress import ShardProgress
from dino_assets.embeddings.run.shards import SHARD_TILES, Done, Message, Shard, cut_shards
from dino_assets.embeddings.space import current_space, make_space, name_space
from dino_assets.embeddings.stage.copies import ReusableVectors
from dino_assets.embeddings.stage.holders import add_holder
from dino_assets.embeddings.stage.patch_maps import describe_array
from dino_assets.embeddings.stage.sharing import use_workers
from dino_assets.embeddings.stage.worker import EmbeddingJob, store_shard
from dino_assets.errors import CorruptObjectError, WorkerLostError
from dino_assets.store.commits.manifests import content_hash, find_manifest
from dino_assets.store.commits.protocol import (
    Draft,
    Manifest,
    OutputId,
    OutputWriter,
    Receipt,
    Recipe,
)
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.commits.receipts import find_receipt
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.stage import grid_of
from dino_assets.weights.records import Checkpoint, facts_of_caveat
from dino_assets.weights.stage import checkpoint_of

log = logging.getLogger(__name__)
CODE_VERSION = "3"
_READERS = 8


def draft_embeddings(
    store: ObjectStore,
    tiles: CommittedTable,
    drop: str,
    *,
    source: Source,
    weights: Manifest,
    compute: ComputeSettings,
    cache: Path,
    options: EmbeddingOptions = DEFAULT,
    shard_tiles: int = SHARD_TILES,
) -> Draft:
    """Draft the embeddings of a drop's tiles; nothing is computed before ``produce`` is called.

    A model is loaded only if a tile must be computed. The space depends on the side of the drop's tiles.

    Raises:
        NotCommittedError: the drop's tiles are not committed.
        ConfigError: a tile has fewer patches across than regions.
    """
    manifest, checkpoint = tiles.manifest(drop), checkpoint_of(weights)
    grid = grid_of(manifest)
    check_regions(options.regions, grid.side_px // checkpoint.patch_px)
    space = make_space(checkpoint, compute, side_px=grid.side_px)
    output = OutputId("embeddings", drop, name_space(space))
    recipe = Recipe(
        output,
        CODE_VERSION,
        config={
            "space": asdict(space),
            "columns": list(options.columns),
            "dtype": options.dtype,
            "with_patches": options.with_patches,
            "shard_tiles": shard_tiles,
            # Absent without regions, so that drops embedded before this option existed stay as they are.
            **({REGIONS: options.regions} if options.regions else {}),
        },
        inputs={"tiles": content_hash(manifest)},
    )
    schema = make_schema(checkpoint.dim, options)
    job = EmbeddingJob(store, source, output, schema, grid, weights, compute, options, cache=cache)

    def produce(out: OutputWriter) -> None:
        _warn_of_loss(store, output, options)
        rows = tiles.read(drop)
        recipe_id = f"{CODE_VERSION} {options.dtype} {' '.join(options.columns)}"
        if options.regions:
            recipe_id += f" {REGIONS} {options.regions}"
        shards = cut_shards(
            rows,
            recipe_id=recipe_id,
            shard_tiles=shard_tiles,
            is_placed=options.with_patches,  # patch maps are stored in files named by row
        )
        find = partial(find_receipt, store, output)
        receipts: dict[int, Receipt | None] = dict(
            enumerate(map_ahead(find, [shard.id for shard in shards], threads=_READERS))
        )
        progress = ShardProgress(
            drop, shards, [n for n, each in receipts.items() if each is not None]
        )
        _push_parts(out, job, shards, receipts, progress)
        if options.with_patches:
            array = describe_array(
                tiles=rows.num_rows,
                side=grid.side_px // checkpoint.patch_px,
                dim=checkpoint.dim,
                dtype={"fp16": "float16", "fp32": "float32"}[options.dtype],
                space=str(output.space),
            )
            out.file(array.name, array.data)
        images = set(rows["image_id"].to_pylist())
        if not options.with_patches:  # drops with patch maps are not reused
            add_holder(store, output, recipe.inputs["tiles"], images)
        finished = [each for _, each in sorted(receipts.items()) if each is not None]
        facts = {"images": len(images), "shards": len(shards), **_engine_facts(finished)}
        out.facts(facts | facts_of_caveat(checkpoint.caveat))
        out.spent(progress.finish())

    return Draft(recipe, produce, schema)


def _warn_of_loss(store: ObjectStore, output: OutputId, options: EmbeddingOptions) -> None:
    """Warn if a drop's new embeddings will lack columns, fp32, regions or patch maps that the stored ones have."""
    try:
        before = find_manifest(store, output)
    except CorruptObjectError:
        return
    old_config = before.recipe.config if before else {}
    lost = [
        f"column {name}" for name in old_config.get("columns", ()) if name not in options.columns
    ]
    lost += ["fp32"] if old_config.get("dtype") == "fp32" and options.dtype == "fp16" else []
    lost += ["regions"] if old_config.get(REGIONS) and not options.regions else []
    lost += ["patch maps"] if old_config.get("with_patches") and not options.with_patches else []
    if lost:
        log.warning(
            "%s had %s; this run's configuration does not include it, so it is lost. To keep it, set it in "
            "the configuration of `embeddings`",
            output,
            ", ".join(lost),
        )


def _push_parts(
    out: OutputWriter,
    job: EmbeddingJob,
    shards: list[Shard],
    receipts: dict[int, Receipt | None],
    progress: ShardProgress,
) -> None:
    """Store the missing shards, and give the parts of all shards to ``out`` in the order of the shards.

    A part is given as soon as its shard and all shards before it are stored. The new receipts are added to
    ``receipts``.
    """
    missing = [shard for shard in shards if receipts[shard.number] is None]
    todo, shards_with_rows = _reuse_vectors(job, missing, receipts, progress)
    with ExitStack() as stack:
        messages: Iterator[Message] = iter(())
        if todo:
            # All shards of a drop use one engine, if this machine has it.
            first = next((str(each.facts["engine"]) for each in receipts.values() if each), None)
            every = list_devices(job.compute)
            devices = every[: len(todo)]
            for device in sorted(
                set(devices)
            ):  # in a fixed order, so that two runs cannot deadlock
                turn = taking_turn(
                    job.cache / "turns", device, holder=str(job.output), say=progress.warn
                )
                stack.enter_context(turn)
            # Only workers on a CPU share its threads. On GPUs another number of threads would open another
            # encoder, so the number does not depend on how many GPUs are used.
            sharing = devices if job.compute.device == "cpu" else every
            threads = max(1, job.compute.threads // len(sharing))
            job = replace(
                job,
                first_engine=first,
                compute=replace(job.compute, threads=threads),
                todo=sum(shard.tiles.num_rows for shard in todo),
            )
            workers = stack.enter_context(use_workers())
            coming_messages = workers.map_shards(shards_with_rows, job, devices=devices)
            messages = stack.enter_context(closing(coming_messages))
        number = 0
        for message in chain([None], messages):
            if isinstance(message, Done):
                receipts[message.number] = message.receipt
            if message is not None:
                progress.update(message)
            while number < len(shards) and (receipt := receipts[number]) is not None:
                for part in receipt.parts:
                    out.part(part)
                number += 1
    if number < len(shards):
        raise WorkerLostError(
            f"{job.output}: workers ended before shard {number} of {len(shards)} was stored. Run again: "
            "stored shards are reused."
        )


def _reuse_vectors(
    job: EmbeddingJob,
    missing: list[Shard],
    receipts: dict[int, Receipt | None],
    progress: ShardProgress,
) -> tuple[list[Shard], Iterable[Shard]]:
    """Store the shards whose vectors can all be reused; return the other shards as a list and an iterable.

    The list has the shards as they are. The iterable gives the same shards one by one, each with its rows to
    copy.
    """
    if job.options.with_patches or not missing:  # patch maps are not reused
        return missing, missing
    reusable = ReusableVectors(
        job.store, job.output, job.options, missing, code_version=CODE_VERSION
    )
    todo: list[Shard] = []
    tiles = images = 0
    for shard in missing:
        ids = shard.tiles["image_id"].to_pylist()
        copied = set(reusable.list_images(shard))
        if copied == set(ids):
            filled = reusable.add_copied_rows(shard)
            if filled.copied_rows is None:  # damaged or deleted since the images were listed
                todo.append(shard)
                continue
            rows = filled.copied_rows.select(job.schema.names).cast(job.schema)
            facts = reusable.read_facts(shard)
            receipts[shard.number] = store_shard(job.store, job.output, filled, rows, facts=facts)
        else:
            todo.append(shard)
        images += len(copied)
        tiles += sum(image in copied for image in ids)
    if images:
        progress.count_copied(tiles, images=images, shards=len(missing) - len(todo))
    return todo, map(reusable.add_copied_rows, todo)  # rows are read when their shard's turn comes


def _engine_facts(receipts: list[Receipt]) -> dict[str, Any]:
    """Collect facts about the engines that computed a drop; if there are several, count the shards of each.

    The number of copied tiles is left out, because it depends on the order of drops.
    """
    engines = [str(receipt.facts["engine"]) for receipt in receipts]
    if not engines:
        return {}
    facts = {name: value for name, value in receipts[0].facts.items() if name != "copied"}
    batches = sorted({batch for receipt in receipts for batch in _list_batches(receipt)})
    facts["batch"] = list(batches[0]) if len(batches) == 1 else [list(each) for each in batches]
    if len(set(engines)) > 1:
        facts["engines"] = {name: engines.count(name) for name in sorted(set(engines))}
    refused = [why for receipt in receipts for why in receipt.facts.get("refused", ())]
    if refused:
        facts["refused"] = list(dict.fromkeys(refused))
    return facts


def _list_batches(receipt: Receipt) -> list[tuple[int, ...]]:
    """List the batch shapes of a shard; a copied shard has all shapes of the drop that it was copied from."""
    batch = receipt.facts["batch"]
    return [tuple(each) for each in batch] if isinstance(batch[0], list) else [tuple(batch)]


def open_embeddings(
    store: ObjectStore, tiles: CommittedTable, checkpoint: Checkpoint, compute: ComputeSettings
) -> dict[str, CommittedTable]:
    """Open the embeddings of each drop, in the space that belongs to the side of its tiles."""
    opened: dict[str, CommittedTable] = {}
    for manifest in tiles.manifests:
        drop = str(manifest.recipe.output.drop)
        space = current_space(checkpoint, compute, tile_px=grid_of(manifest).side_px)
        opened[drop] = open_table(store, "embeddings", space=space, drops=[drop])
    return opened

"""Stage *deployments*: exports the current weights as an ONNX file for serving."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.space import make_space, name_space
from dino_assets.exports.graph import check_packages
from dino_assets.exports.onnx import export_onnx
from dino_assets.exports.papers import MANIFEST, list_versions
from dino_assets.exports.settings import ExportSettings
from dino_assets.settings.described import to_recipe
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.parts import describe_file
from dino_assets.store.commits.protocol import (
    Draft,
    Manifest,
    OutputId,
    OutputWriter,
    Recipe,
)
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.records import facts_of_caveat
from dino_assets.weights.stage import checkpoint_folder, checkpoint_of

CODE_VERSION = "1"


def draft_deployments(
    store: ObjectStore,
    weights: Manifest,
    settings: ExportSettings,
    *,
    compute: ComputeSettings,
    cache: Path,
    say: Callable[[str], object] = lambda line: None,
) -> Draft:
    """Draft the ONNX export of committed weights.

    The export belongs to the space of embeddings with the same tile side and the precision of ``compute``.
    The recipe contains the versions of the packages that decide a graph's bytes. So after a new version of
    torch, for example, the export is made again.

    Raises:
        MissingExtraError: the extra ``export`` is not installed.
        ConfigError: the side is not a whole number of patches.
    """
    check_packages()
    checkpoint = checkpoint_of(weights)
    settings = settings.fit(checkpoint)
    space = name_space(make_space(checkpoint, compute, side_px=settings.side))
    recipe = Recipe(
        OutputId("deployments", space=space),
        CODE_VERSION,
        config={**to_recipe(settings), "versions": list_versions()},
        inputs={"weights": content_hash(weights)},
    )

    def produce(out: OutputWriter) -> None:
        source = checkpoint_folder(store, weights, cache=cache)
        with TemporaryDirectory(prefix=".exporting-", dir=cache) as aside:
            folder = Path(aside)
            done = export_onnx(source, checkpoint, settings, folder, say=say)
            for name in (*done.manifest["files"], MANIFEST):
                out.local_file(describe_file(folder, name))
        out.facts(
            {
                **{name: done.manifest[name] for name in ("side_px", "opset", "check")},
                "model": checkpoint.model,
                "output_shape": done.manifest["output"]["shape"],
                "file_mb": {
                    name: round(file["bytes"] / 1e6, 3)
                    for name, file in done.manifest["files"].items()
                },
                **({"warnings": done.warnings} if done.warnings else {}),
                **facts_of_caveat(checkpoint.caveat),
            }
        )

    return Draft(recipe, produce)

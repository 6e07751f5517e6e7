"""Checks of ``weights``."""

import dagster as dg

from dino_assets.defs.checks.outcome import to_result
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.errors import CorruptObjectError
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.parts import verify_part
from dino_assets.verdicts import Verdict
from dino_assets.weights.stage import OUTPUT as WEIGHTS


@dg.asset_check(asset="weights", blocking=True, description="Every stored file has its sha256.")
def weights_are_whole(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Read every file of the checkpoint back and compare its hash."""
    store = storage.open()
    verdicts = []
    for part in read_manifest(store, WEIGHTS).parts:
        try:
            verify_part(store, part)
            verdicts.append(Verdict(part.name or part.key, True, f"{part.bytes:,} bytes, whole"))
        except CorruptObjectError as err:
            verdicts.append(Verdict("weights", False, str(err)))
    failed = [v for v in verdicts if not v.passed]
    return to_result(context, failed[:1] or verdicts)

"""Reading of a committed probe: its weights, report and labelled tiles."""

import json
from typing import Any

from dino_assets.errors import (
    ConfigError,
    CorruptObjectError,
    InvalidModelFileError,
    NotCommittedError,
)
from dino_assets.probes.files import ProbeData, load_probe, load_probe_data
from dino_assets.probes.records import Probe
from dino_assets.probes.stage.drafting import ASSET, DATA, PROBE, REPORT
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.objects import ObjectStore


def find_probe(store: ObjectStore, *, space: str | None = None) -> CommittedTable:
    """Open the predictions of the only space that has a probe, or of ``space``.

    Raises:
        NotCommittedError: there is no probe.
        ConfigError: several spaces have one, and ``space`` is None.
    """
    spaces = [each for each in list_spaces(store, ASSET) if space in (None, each)]
    if not spaces:
        where = f" in space {space}" if space else ""
        raise NotCommittedError(
            f"there is no probe{where} in store {store.url!r}. Label tiles, then train one: "
            "`dino-assets probe train`."
        )
    if len(spaces) > 1:
        raise ConfigError(
            f"{len(spaces)} spaces have a probe: {', '.join(map(str, spaces))}. Name one of them with --space.",
            setting="space",
            value=spaces,
        )
    return open_table(store, ASSET, space=spaces[0])


def read_probe(store: ObjectStore, manifest: Manifest) -> Probe:
    """Read the weights of a committed probe.

    Raises:
        CorruptObjectError: the file is not what was committed.
    """
    try:
        return load_probe(_read_file(store, manifest, PROBE))[0]
    except InvalidModelFileError as err:
        raise CorruptObjectError(
            f"{manifest.recipe.output}: {err}", store=store.url, key=PROBE
        ) from err


def read_report(store: ObjectStore, manifest: Manifest) -> dict[str, Any]:
    """Read the report of a committed probe, ``probe.json``."""
    report: dict[str, Any] = json.loads(_read_file(store, manifest, REPORT))
    return report


def read_probe_data(store: ObjectStore, manifest: Manifest) -> ProbeData:
    """Read the labelled tiles of a committed probe, and how they were split."""
    return load_probe_data(_read_file(store, manifest, DATA))


def _read_file(store: ObjectStore, manifest: Manifest, name: str) -> bytes:
    (part,) = [part for part in manifest.parts if part.name == name]
    return read_part(store, part)

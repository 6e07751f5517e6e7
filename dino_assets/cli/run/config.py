"""Run config from a file, as the UI's launchpad takes it."""

import argparse
import glob
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RunConfig:
    """A run's config, and the file that it is from."""

    path: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


def read_config(path: str) -> RunConfig:
    """Read run config from a file.

    Raises:
        ArgumentTypeError: there is no such file, or it is neither YAML nor JSON.
    """
    import dagster as dg

    try:
        # Dagster's own reading of it, which takes patterns; a file's name is none.
        values = dg.config_from_files([glob.escape(path)])
    except Exception as err:
        # Of every kind, down to Dagster's own checks; each means that it cannot be read.
        cause = " ".join(str(err.__cause__ or err).split())
        raise argparse.ArgumentTypeError(f"cannot read {path!r} as run config: {cause}") from err
    return RunConfig(path, values)


def config_of_assets(config: Mapping[str, Any], assets: "tuple[str, ...]") -> dict[str, Any]:
    """Leave out of a run config what is about other assets."""
    if "ops" not in config:
        return dict(config)
    return {**config, "ops": {k: v for k, v in ops_of(config).items() if k in assets}}


def configure_asset(
    config: Mapping[str, Any], asset: str, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Set values in an asset's part of a run config; the rest stays."""
    ops = ops_of(config)
    own = ops.get(asset) or {}
    merged = {**own, "config": {**(own.get("config") or {}), **values}}
    return {**config, "ops": {**ops, asset: merged}}


def ops_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a run config that is about single assets."""
    ops = config.get("ops")
    return ops if isinstance(ops, Mapping) else {}

"""Run config from a file, in the format of the UI's launchpad."""

import argparse
import glob
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RunConfig:
    """A run's config, and the file that it was read from."""

    path: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


def read_config(path: str) -> RunConfig:
    """Read run config from a file.

    Raises:
        ArgumentTypeError: there is no such file, or it is neither YAML nor JSON.
    """
    import dagster as dg

    try:
        # Dagster's function takes patterns, so the file's name is escaped.
        values = dg.config_from_files([glob.escape(path)])
    except Exception as err:
        # Many classes of errors, also from Dagster's own checks; all mean that the file cannot be read.
        cause = " ".join(str(err.__cause__ or err).split())
        raise argparse.ArgumentTypeError(f"cannot read {path!r} as run config: {cause}") from err
    return RunConfig(path, values)


def config_of_assets(config: Mapping[str, Any], assets: "tuple[str, ...]") -> dict[str, Any]:
    """Remove the config of all assets but ``assets`` from a run config."""
    if "ops" not in config:
        return dict(config)
    return {**config, "ops": {k: v for k, v in ops_of(config).items() if k in assets}}


def configure_asset(
    config: Mapping[str, Any], asset: str, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Set values in an asset's part of a run config, and keep the rest."""
    ops = ops_of(config)
    own = ops.get(asset) or {}
    merged = {**own, "config": {**(own.get("config") or {}), **values}}
    return {**config, "ops": {**ops, asset: merged}}


def ops_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a run config that configures single assets."""
    ops = config.get("ops")
    return ops if isinstance(ops, Mapping) else {}

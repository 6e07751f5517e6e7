"""Rows of an output's metadata in the UI: related facts are grouped, repeated facts are left out.

Manifests keep each fact separately, since programs read them. Facts that may be plotted over time stay single
numbers.
"""

import json
from collections.abc import Mapping
from typing import Any

import dagster as dg

MAX_VALUE_BYTES = 4_000  # of one list or mapping: SQLite holds an event twice

# Facts that are grouped in one row.
_TOGETHER: dict[str, dict[str, tuple[str, ...]]] = {
    "weights": {
        "architecture": ("dim", "heads", "layers", "patch_px", "registers", "network"),
        "statistics": ("mean", "std", "statistics_from"),
    },
    "images": {"beside": ("raw_twins", "other_files", "other_suffixes")},
    "embeddings": {
        "numerics": ("engine_version", "engines", "batch", "gate"),
        "shards_were": ("shards_made", "shards_reused", "shards_copied"),
    },
    "selections": {
        "random_coverage": ("random_coverage_mean", "random_coverage_radius"),
        "ground": ("ground_m2", "m2_per_label", "ground_tiles", "same_ground", "ground_taken"),
    },
}
# Groups of counts; zeros are left out.
_WITHOUT_ZEROS = frozenset({"beside", "shards_were"})
# Facts that repeat another row: the row count, the seconds.
_REPEATED = {
    "selections": frozenset({"picked"}),
    "embeddings": frozenset({"took_s"}),
}
# Values to compare the results with. They follow the results directly, although long values come late.
_COMPARED_WITH = ("random_coverage",)
# Problems, which follow the results.
_PROBLEMS = (
    "quarantined",
    "reasons",
    "findings",
    "shortfall",
    "short_shares",
    "weak_features",
    "left_out",
    "photographs_unknown",
    "unplaced",
    "unmade",
    "refused",
    "warnings",
)
_MADE = (
    "seconds",
    "ready_after_s",
    "rows_per_s",
    "tiles_per_s",
    "forecast_s",
    "spent",
    "was_reused",
    "made_in_run",
)
_LAST = ("stored_mb", "dagster/uri", "config", "inputs", "preview")


def shape_facts(asset: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Group the facts of an output into rows, and leave out repeated facts."""
    rows = {
        name: value
        for name, value in facts.items()
        if value is not None and name not in _REPEATED.get(asset, ())
    }
    if asset == "images" and isinstance(findings := rows.get("findings"), Mapping):
        without_quarantined = {
            kind: count for kind, count in findings.items() if kind != "quarantined"
        }
        rows["findings"] = without_quarantined
    for group, names in _TOGETHER.get(asset, {}).items():
        together = {name: rows.pop(name) for name in names if name in rows}
        if group in _WITHOUT_ZEROS:
            together = {name: value for name, value in together.items() if value}
        if together:
            rows[group] = together
    return rows


def arrange(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Sort rows in reading order; Dagster's UI keeps the order.

    First caveats and pictures, then results and problems, how the output was made, and where it is stored.
    Long values come late.
    """
    return {name: rows[name] for name in sorted(rows, key=lambda name: _rank(name, rows[name]))}


def _rank(name: str, value: Any) -> tuple[int, int]:
    if name in ("caveat", "pictures"):
        return 0, name == "pictures"
    if isinstance(value, dg.UrlMetadataValue):
        return 1, not name.endswith(".html")  # a page before other files
    if name in ("export", "dagster/row_count"):
        return 2, name == "dagster/row_count"
    for group, names in ((4, _COMPARED_WITH), (5, _PROBLEMS), (6, _MADE), (8, _LAST)):
        if name in names:
            return group, names.index(name)
    is_long = isinstance(value, dict | list | dg.JsonMetadataValue)
    return 7 if is_long else 3, 0


def shorten(value: Any) -> Any:
    """Cut a long list or mapping, so that the event stays small; the manifest has every entry."""
    if not isinstance(value, dict | list) or len(json.dumps(value)) <= MAX_VALUE_BYTES:
        return value
    items = list(value.items()) if isinstance(value, dict) else list(value)
    shown, size = [], 0
    for item in items:
        size += len(json.dumps(item)) + 2
        if size > MAX_VALUE_BYTES:
            break
        shown.append(item)
    rest = f"{len(items) - len(shown):,} more, in the manifest"
    return dict(shown) | {"…": rest} if isinstance(value, dict) else [*shown, f"… {rest}"]


def is_empty(value: Any) -> bool:
    """Check whether a value would be an empty row; zero and false are not empty."""
    return value is None or (isinstance(value, str | dict | list) and not value)

"""The rows of an output's metadata in the UI: one for each thing that a person asks, in that order.

Manifests hold every fact by itself, since programs read them. Here what belongs together is one row, and
what another row says already is none. What may be plotted over time stays a number.
"""

import json
from collections.abc import Mapping
from typing import Any

import dagster as dg

MAX_VALUE_BYTES = 4_000  # of one list or mapping: SQLite holds an event twice

# Facts that are one row together.
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
    "selections": {"random_coverage": ("random_coverage_mean", "random_coverage_radius")},
}
# Counts that say nothing where there are none.
_WITHOUT_ZEROS = frozenset({"beside", "shards_were"})
# Said by other rows: the row count, the seconds.
_REPEATED = {
    "selections": frozenset({"picked"}),
    "embeddings": frozenset({"took_s"}),
}
# Long as they are, they stand beside the figures that they are held against.
_HELD_AGAINST = ("random_coverage",)
# Beside what came out: what is wrong with it, or was in the way.
_WRONG = (
    "quarantined",
    "reasons",
    "findings",
    "shortfall",
    "left_out",
    "photographs_unknown",
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
    """Put facts of an output together that are one row, and leave out what others say."""
    rows = {
        name: value
        for name, value in facts.items()
        if value is not None and name not in _REPEATED.get(asset, ())
    }
    if asset == "images" and isinstance(findings := rows.get("findings"), Mapping):
        others = {kind: count for kind, count in findings.items() if kind != "quarantined"}
        rows["findings"] = others
    for group, names in _TOGETHER.get(asset, {}).items():
        together = {name: rows.pop(name) for name in names if name in rows}
        if group in _WITHOUT_ZEROS:
            together = {name: value for name, value in together.items() if value}
        if together:
            rows[group] = together
    return rows


def arrange(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Put rows in the order in which they are read; Dagster's UI keeps it.

    First what must be known and can be looked at, what came out and what is wrong with it, how it was
    made, where it lies; what is long is last.
    """
    return {name: rows[name] for name in sorted(rows, key=lambda name: _rank(name, rows[name]))}


def _rank(name: str, value: Any) -> tuple[int, int]:
    if name in ("caveat", "pictures"):
        return 0, name == "pictures"
    if isinstance(value, dg.UrlMetadataValue):
        return 1, not name.endswith(".html")  # a page before its parts
    if name in ("export", "dagster/row_count"):
        return 2, name == "dagster/row_count"
    for group, names in ((4, _HELD_AGAINST), (5, _WRONG), (6, _MADE), (8, _LAST)):
        if name in names:
            return group, names.index(name)
    is_long = isinstance(value, dict | list | dg.JsonMetadataValue)
    return 7 if is_long else 3, 0


def shorten(value: Any) -> Any:
    """Cut a long list or mapping, so that an event stays small; the manifest has all of it."""
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
    """Tell a value that would be an empty row; zero and false are answers."""
    return value is None or (isinstance(value, str | dict | list) and not value)

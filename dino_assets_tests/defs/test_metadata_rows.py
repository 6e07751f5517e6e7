"""Metadata rows of an output, and their order."""

import dagster as dg

from dino_assets.defs.metadata_rows import arrange, shape_facts


def test_shape_facts__related_facts_are_one_row():
    facts = {"dim": 64, "heads": 4, "registers": 0, "mean": [0.5], "model": "m", "commit": None}
    assert shape_facts("weights", facts) == {
        "model": "m",
        "architecture": {"dim": 64, "heads": 4, "registers": 0},
        "statistics": {"mean": [0.5]},
    }
    # For another asset these names have another meaning.
    assert shape_facts("tiles", {"dim": 64, "mean": [0.5]}) == {"dim": 64, "mean": [0.5]}


def test_shape_facts__repeated_facts_are_left_out():
    assert shape_facts("selections", {"picked": 20, "pool": 990}) == {"pool": 990}
    assert shape_facts("embeddings", {"took_s": 4.3, "tiles_copied": 48}) == {"tiles_copied": 48}
    facts = {"quarantined": 2, "findings": {"quarantined": 2, "no-position": 1}}
    assert shape_facts("images", facts) == {"quarantined": 2, "findings": {"no-position": 1}}


def test_shape_facts__zero_counts():
    """A count with its own row stays zero; in a group of counts, zeros are left out."""
    facts = {"thermal": 0, "raw_twins": 0, "other_files": 3, "other_suffixes": {".txt": 3}}
    assert shape_facts("images", facts) == {
        "thermal": 0,
        "beside": {"other_files": 3, "other_suffixes": {".txt": 3}},
    }
    assert shape_facts("images", {"raw_twins": 0, "other_suffixes": {}}) == {}


def test_arrange__pictures_first_and_long_values_last():
    link = dg.MetadataValue.url("/files/x")
    rows = {
        "preview": "![preview]()", "inputs": {}, "config": {}, "dagster/uri": "file:///x",
        "stored_mb": 1.5, "gate": {}, "was_reused": False, "spent": "", "rows_per_s": 3.0,
        "seconds": 2.0, "reasons": {}, "quarantined": 1, "random_coverage": {}, "pool": 9,
        "dagster/row_count": 5, "export": "dino-assets export", "map.png": link, "map.html": link,
        "pictures": "![]()", "caveat": "random",
    }  # fmt: skip
    assert list(arrange(rows)) == list(reversed(rows))
    # Metadata copied from an earlier event has lists and mappings as well.
    assert list(arrange({"gate": dg.MetadataValue.json({}), "n": dg.MetadataValue.int(1)})) == [
        "n",
        "gate",
    ]

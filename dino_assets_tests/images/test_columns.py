"""The columns of ``images``, which come from its record: tables of all versions have these."""

from dataclasses import fields

from dino_assets.images.records import Capture
from dino_assets.images.rows import SCHEMA

WORDS = ("utc_offset", "edited_by", "make", "model", "lens", "image_source", "focal_from", "rtk")


def test_schema__capture_columns():
    names = [field.name for field in fields(Capture)]
    start = SCHEMA.get_field_index("taken")
    assert SCHEMA.names[start : start + len(names)] == names
    types = {name: str(SCHEMA.field(name).type) for name in names}
    expected = dict.fromkeys(names, "double") | dict.fromkeys(WORDS, "string")
    assert types == expected | {"taken": "timestamp[ms]", "satellite_date": "date32[day]"}
    assert all(SCHEMA.field(name).nullable for name in names)


def test_schema__every_file_has_a_path_and_a_size():
    assert [field.name for field in SCHEMA if not field.nullable] == [
        "drop", "path", "bytes", "is_usable",
    ]  # fmt: skip


def test_schema__unusual_types():
    types = {name: str(SCHEMA.field(name).type) for name in ("bytes", "orientation", "transform")}
    assert types == {"bytes": "int64", "orientation": "int8", "transform": "list<item: double>"}
    assert len(SCHEMA) == 64
    assert SCHEMA.names[-6:] == [
        "height_m", "place_quality", "center_longitude", "center_latitude", "gsd_m", "geometry",
    ]  # fmt: skip

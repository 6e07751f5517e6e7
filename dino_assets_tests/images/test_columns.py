"""The columns of ``images`` that come from the record of a capture: tables of all versions have these."""

from dataclasses import fields

from dino_assets.images.columns import SCHEMA
from dino_assets.images.records import Capture

WORDS = ("utc_offset", "edited_by", "make", "model", "lens", "image_source", "focal_from", "rtk")


def test_schema__what_a_camera_wrote():
    names = [each.name for each in fields(Capture)]
    first = SCHEMA.get_field_index("taken")
    assert SCHEMA.names[first : first + len(names)] == names
    types = {name: str(SCHEMA.field(name).type) for name in names}
    expected = dict.fromkeys(names, "double") | dict.fromkeys(WORDS, "string")
    assert types == expected | {"taken": "timestamp[ms]", "satellite_date": "date32[day]"}
    assert all(SCHEMA.field(name).nullable for name in names)

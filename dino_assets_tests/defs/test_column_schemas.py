"""Column descriptions: every column of every table has one in the UI."""

import dagster as dg
import pytest

from dino_assets.definitions import make_definitions
from dino_assets.defs.column_schemas import COLUMN_SCHEMA
from dino_assets.embeddings.rows import make_schema
from dino_assets.images.rows import SCHEMA as IMAGES
from dino_assets.projections.stage import SCHEMA as PROJECTIONS
from dino_assets.selections.stage.drafting import SCHEMA as SELECTIONS
from dino_assets.settings.environment import load_settings
from dino_assets.tiles.rows import SCHEMA as TILES

SCHEMAS = {
    "images": IMAGES,
    "tiles": TILES,
    "embeddings": make_schema(8),
    "projections": PROJECTIONS,
    "selections": SELECTIONS,
}


@pytest.mark.parametrize("asset", SCHEMAS)
def test_describe_columns__names_type_and_meaning(asset: str, project):
    graph = make_definitions(load_settings()).resolve_asset_graph()
    columns = graph.get(dg.AssetKey(asset)).metadata[COLUMN_SCHEMA].columns
    schema = SCHEMAS[asset]
    assert set(schema.names) <= {column.name for column in columns}
    assert all(column.description and column.type for column in columns)
    nullable = {column.name: column.constraints.nullable for column in columns}
    assert {field.name: field.nullable for field in schema}.items() <= nullable.items()


def test_describe_columns__same_name_in_two_tables(project):
    graph = make_definitions(load_settings()).resolve_asset_graph()
    words = {
        (asset, column.name): column.description
        for asset in SCHEMAS
        for column in graph.get(dg.AssetKey(asset)).metadata[COLUMN_SCHEMA].columns
    }
    assert words["tiles", "x"] != words["projections", "x"]
    assert words["images", "reason"] != words["selections", "reason"]
    assert words["tiles", "tile_id"] == words["embeddings", "tile_id"]

"""Heat maps in the studio: each grid as a picture, laid over the photographs where its ground is."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dino_assets.embeddings.stage.pool import read_pool
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.probes.heat_maps_files import read_cog, to_metres
from dino_assets.probes.stage.heat_maps import draft_heat_maps
from dino_assets.probes.stage.prototypes import (
    NamedVector,
    Prototype,
    put_prototype,
    read_prototypes,
)
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets_tests.serving.studio.in_browser import (
    browsing_studio,
    find_violations,
    go_to,
    open_studio_page,
)
from dino_assets_tests.worlds.studio import DROPS, StudioProject, running_studio

DROP = DROPS[0]


@pytest.fixture
def heated(studio_project: StudioProject) -> StudioProject:
    """The project with a prototype, and its heat maps."""
    store, space = studio_project.store, studio_project.space
    embeddings = open_table(store, "embeddings", space=space)
    vectors = scale_to_unit(read_pool(embeddings, "cls").vectors)
    direction = vectors[3] - vectors.mean(axis=0)
    direction /= np.linalg.norm(direction)
    examples = tuple(NamedVector(f"{number}.npy", direction) for number in range(3))
    put_prototype(
        store,
        Prototype(
            "smoke",
            space,
            "cls",
            examples,
            (),
            direction,
            (99.0,) * 3,
            0.01,
            is_better_than_chance=True,
            searched=len(vectors),
        ),
    )
    commit(store, draft_heat_maps(embeddings, open_table(store, "tiles")))
    return studio_project


def read_grid(project: StudioProject, drop: str = DROP):
    (manifest,) = open_table(project.store, "heat_maps", space=project.space).manifests
    (part,) = [part for part in manifest.parts if part.name == f"{drop}/smoke.tif"]
    return read_cog(read_part(project.store, part))


def test_flights__a_heat_map_has_its_place_and_its_picture(heated: StudioProject):
    with running_studio(heated) as studio:
        flight = studio.client.get(f"/api/flights/{DROP}").json()
        (heat,) = flight["heat_maps"]
        assert (heat["class"], heat["source"]) == ("smoke", "prototype")
        grid, epsg = read_grid(heated)
        corners = to_metres(np.array(heat["corners"]), epsg)
        height, width = grid.scores.shape
        east, south = grid.west + width * grid.cell_m, grid.north - height * grid.cell_m
        expected = [(grid.west, grid.north), (east, grid.north), (east, south), (grid.west, south)]
        np.testing.assert_allclose(corners, expected, atol=0.01)
        picture = studio.client.get(f"/heat/{heat['space']}/{heat['file']}")
        assert picture.headers["content-type"] == "image/png"
        pixels = np.asarray(Image.open(io.BytesIO(picture.content)).convert("RGBA"))
        assert pixels.shape[:2] == (height, width)
        np.testing.assert_array_equal(pixels[..., 3] == 255, ~np.isnan(grid.scores))
        # Green rises with the score all along the scale.
        shown = ~np.isnan(grid.scores)
        order = np.argsort(grid.scores[shown], kind="stable")
        assert (np.diff(pixels[..., 1][shown][order].astype(int)) >= 0).all()
        colours = flight["heat_scale"]["colours"]
        assert (colours[0], colours[-1]) == ("#440154", "#fde725")


@pytest.mark.parametrize(
    "path", ["_/x.tif", "{space}/river-burn/none.tif", "{space}/heat-maps.png"]
)
def test_flights__no_such_heat_map_is_a_problem(heated: StudioProject, path: str):
    with running_studio(heated) as studio:
        answer = studio.client.get(f"/heat/{path.format(space=heated.space)}")
        assert (answer.status_code, answer.json()["slug"]) == (404, "no-such-file")


def test_queue__a_prototype_suggests_its_class_for_few_tiles(heated: StudioProject):
    """Without a probe, it suggests itself for the tiles that are most like it."""
    pool = read_pool(open_table(heated.store, "embeddings", space=heated.space), "cls")
    (prototype,) = read_prototypes(heated.store)
    order = np.argsort(-(scale_to_unit(pool.vectors) @ prototype.direction), kind="stable")
    picked = [[pool.drops[row], pool.tile_ids[row]] for row in order[:200].tolist()]
    with running_studio(heated) as studio:
        body = {"tiles": picked, "space": heated.space}
        items = studio.client.post("/api/queue", json=body).json()["items"]
        suggested = [item["suggestion"] for item in items]
        count = sum(each is not None for each in suggested)
        assert 1 <= count <= len(pool) // 10
        assert suggested == [["smoke", None]] * count + [None] * (200 - count)
        assert studio.client.post("/api/order", json=body).json()["slug"] == "no-probe"


@pytest.mark.slow
def test_flights__the_picture_lies_over_its_ground(heated: StudioProject, tmp_path: Path):
    """On the page, the box round the picture is the box round the corners among the photographs' outlines."""
    with running_studio(heated) as studio, browsing_studio(tmp_path) as page:
        flight = studio.client.get(f"/api/flights/{DROP}").json()
        open_studio_page(page, studio)
        go_to(page, f"flights?drop={DROP}")
        page.wait_for("document.querySelector('image.heat')")
        assert find_violations(page) == []
        box = "(b => [b.left, b.top, b.right, b.bottom])({}.getBoundingClientRect())"
        heat = page.ask(box.format("document.querySelector('image.heat')"))
        rings = [ring for each in flight["photographs"] for ring in each["rings"]]
        outlines = np.array([
            page.ask(box.format(f"document.querySelectorAll('polygon.photograph')[{place}]"))
            for place in range(len(rings))
        ])  # fmt: skip
        # A straight line maps degrees to the page; the photographs' outlines tell which.
        west = np.array([min(x for x, _ in ring) for ring in rings])
        north = np.array([max(y for _, y in ring) for ring in rings])
        to_x, to_y = np.polyfit(west, outlines[:, 0], 1), np.polyfit(north, outlines[:, 1], 1)
        corners = np.array(flight["heat_maps"][0]["corners"])
        x, y = np.polyval(to_x, corners[:, 0]), np.polyval(to_y, corners[:, 1])
        expected = [x.min(), y.min(), x.max(), y.max()]
        np.testing.assert_allclose(heat, expected, atol=2.5)
        page.ask(
            "(s => { s.value = ''; s.dispatchEvent(new Event('change')) })(document.querySelector('#heat'))"
        )
        assert page.ask("document.querySelectorAll('image.heat').length") == 0
        assert page.complaints == []

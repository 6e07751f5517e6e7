"""Queues, pictures, map, flights, rounds and drops over HTTP."""

import io
import time
from importlib.resources import files

import httpx
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dino_assets.images.decoding import decode_image
from dino_assets.serving.studio.tile_lookup import ShownTile
from dino_assets.store.commits.protocol import Draft, OutputId, OutputWriter, Recipe
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.tiles.reading import read_tiles
from dino_assets_tests.worlds.studio import (
    BUDGET,
    DROPS,
    RunningStudio,
    StudioProject,
    label,
    running_studio,
)


def read_queue(studio: RunningStudio, **query: object) -> dict:
    answer = studio.client.get("/api/queue", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def open_picture(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def test_queue__round_has_its_tiles_by_rank(studio: RunningStudio, shared_project: StudioProject):
    queue = read_queue(studio, round="round-0001", space=shared_project.space, by="Ann")
    shown = [(item["drop"], item["tile_id"]) for item in queue["items"]]
    assert shown == shared_project.list_round()
    assert len(shown) == BUDGET
    first = queue["items"][0]
    assert first["rank"] == 1
    assert first["why"]
    assert len(first["neighbours"]) == 5
    assert first["suggestion"] is None
    assert "random weights" in queue["caveat"]


def test_queue__shows_own_answers_and_labels(studio: RunningStudio, shared_project: StudioProject):
    tiles = shared_project.list_round()
    studio.post("Kim", label(tiles[150], "road", 1))
    query = {"round": "round-0001", "space": shared_project.space}
    own = read_queue(studio, **query, by="Kim")["items"][150]
    other = read_queue(studio, **query, by="Lou")["items"][150]
    (answer,) = [answer for answer in shared_project.answers if answer.by == "Kim"]
    at = round(answer.at.timestamp() * 1000)
    assert own["own"] == {"id": f"{1:016x}", "kind": "label", "class": "road", "at": at}
    assert (other["own"], other["label"], other["is_disputed"]) == (None, "road", False)


def test_own__is_the_answer_that_counts(studio: RunningStudio, shared_project: StudioProject):
    drop, tile_id = shared_project.list_round()[151]
    query = {"drop": drop, "tile_id": tile_id, "by": "Kit"}
    assert studio.client.get("/api/own", params=query).json() is None
    for number, name in enumerate(("road", "river")):
        studio.post("Kit", label((drop, tile_id), name, number))
    assert studio.client.get("/api/own", params=query).json()["class"] == "river"
    undo = {"id": "e" * 16, "kind": "undo", "undoes": f"{1:016x}"}
    assert studio.post("Kit", undo).status_code == 200
    assert studio.client.get("/api/own", params=query).json()["class"] == "road"
    assert studio.client.get("/api/own", params=query | {"drop": "x"}).status_code == 404


@pytest.mark.parametrize("space", [5, True, [1], {"a": 1}, "/", "a/b", "../..", "\0", "x" * 5000])
def test_spaces__that_cannot_exist_are_a_problem(
    studio: RunningStudio, shared_project: StudioProject, space: object
):
    tiles = shared_project.list_round()[:2]
    for path, body in (
        ("/api/order", {"tiles": tiles, "like": tiles[0][1]}),
        ("/api/queue", {"tiles": tiles, "by": "Ann"}),
        ("/api/map/tiles", {"rows": [0]}),
    ):
        answer = studio.client.post(path, json=body | {"space": space})
        assert (answer.status_code, answer.json()["slug"]) == (422, "unexpected-space")


def test_queue__search_begins_with_the_tile(studio: RunningStudio, shared_project: StudioProject):
    drop, tile_id = shared_project.list_round()[0]
    queue = read_queue(studio, like=tile_id, drop=drop, space=shared_project.space, count=7)
    assert [item["tile_id"] for item in queue["items"]].index(tile_id) == 0
    assert len({item["tile_id"] for item in queue["items"]}) == 8


def test_queue__picked_tiles_keep_their_order(studio: RunningStudio, shared_project: StudioProject):
    picked = [list(tile) for tile in reversed(shared_project.list_round()[:9])]
    queue = studio.client.post("/api/queue", json={"tiles": picked, "by": "Ann"}).json()
    assert [[item["drop"], item["tile_id"]] for item in queue["items"]] == picked


@pytest.mark.parametrize(
    "query",
    [
        {"round": "round-0099"},
        {"like": "nothing", "drop": "river-burn"},
        {"like": "nothing", "drop": "river-burn", "count": "0"},
        {"like": "nothing", "drop": "river-burn", "count": "-1"},
        {"round": "round-0001", "space": "other"},
    ],
)
def test_queue__what_does_not_exist_is_a_problem(studio: RunningStudio, query: dict):
    answer = studio.client.get("/api/queue", params=query)
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_order__most_similar_first(studio: RunningStudio, shared_project: StudioProject):
    tiles = shared_project.list_round()[:60]
    embeddings = open_table(shared_project.store, "embeddings", space=shared_project.space)
    vectors = {}
    for _, part in embeddings.parts(["tile_id", "cls"]):
        matrix = np.stack([np.asarray(row, np.float64) for row in part["cls"].to_pylist()])
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        vectors |= dict(zip(part["tile_id"].to_pylist(), matrix, strict=True))
    query = vectors[tiles[0][1]]
    body = {"tiles": tiles, "space": shared_project.space, "like": tiles[0][1]}
    order = studio.client.post("/api/order", json=body).json()["order"]
    cosines = [float(vectors[tiles[row][1]] @ query) for row in order]
    assert sorted(order) == list(range(60))
    assert order[0] == 0
    assert cosines == pytest.approx(sorted(cosines, reverse=True), abs=1e-6)


def test_order__without_a_probe_is_a_problem(studio: RunningStudio, shared_project: StudioProject):
    body = {"tiles": shared_project.list_round()[:3]}
    answer = studio.client.post("/api/order", json=body)
    assert (answer.status_code, answer.json()["slug"]) == (409, "no-probe")


def commit_probe(project: StudioProject, ids: list[str]) -> None:
    """A probe's table with a row for each of some tiles: the first is the most certain one."""
    table = pa.table({
        "tile_id": ids,
        "class_name": ["water" if row % 2 else "road" for row in range(len(ids))],
        "probability": np.linspace(0.99, 0.5, len(ids)),
        "entropy": np.linspace(0.01, 0.7, len(ids)),
    })  # fmt: skip
    recipe = Recipe(OutputId("probes", space=project.space), "1")

    def produce(out: OutputWriter) -> None:
        for batch in table.to_batches():
            out.rows(batch)

    commit(project.store, Draft(recipe, produce, table.schema))


@pytest.mark.slow
def test_probe__suggests_and_orders(studio_project: StudioProject):
    tiles = studio_project.list_round()
    commit_probe(studio_project, [tile_id for _, tile_id in tiles[:50]])
    with running_studio(studio_project) as studio:
        queue = read_queue(studio, round="round-0001", space=studio_project.space)
        assert queue["items"][0]["suggestion"] == ["road", pytest.approx(0.99)]
        assert queue["items"][50]["suggestion"] is None
        body = {"tiles": tiles[:60], "space": studio_project.space}
        order = studio.client.post("/api/order", json=body).json()["order"]
    # The least certain first; tiles that the probe has not seen come last.
    assert order == [*reversed(range(50)), *range(50, 60)]


# --- Pictures
def shown_tile(project: StudioProject, tile: tuple[str, str]) -> ShownTile:
    (row,) = read_tiles(open_table(project.store, "tiles"), tile[0], [tile[1]]).values()
    return ShownTile(tile[0], row, 1200, 900)


def test_picture__is_the_window_of_the_photograph(
    studio: RunningStudio, shared_project: StudioProject, made_project: StudioProject
):
    name = shared_project.list_round()[0]
    tile = shown_tile(shared_project, name)
    picture = open_picture(studio.client.get(f"/pictures/tile/{name[0]}/{name[1]}"))
    inbox = made_project.folder.parent / "inbox"
    pixels = decode_image((inbox / name[0] / tile.row.path).read_bytes())
    x, y, w, h = tile.row.x, tile.row.y, tile.row.w, tile.row.h
    assert picture.size == (w, h)
    difference = np.asarray(picture, float) - pixels[y : y + h, x : x + w]
    assert np.abs(difference).mean() < 8  # of JPEG


def test_picture__around_is_the_whole_photograph(
    studio: RunningStudio, shared_project: StudioProject
):
    drop, tile_id = shared_project.list_round()[0]
    assert open_picture(studio.client.get(f"/pictures/around/{drop}/{tile_id}")).size == (1200, 900)


def test_picture__is_cut_in_advance(studio: RunningStudio, shared_project: StudioProject):
    read_queue(studio, round="round-0001", space=shared_project.space)
    _, tile_id = shared_project.list_round()[20]
    path = shared_project.folder / ".cache" / "studio" / f"{tile_id}-tile.jpg"
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert path.read_bytes()[:2] == b"\xff\xd8"  # a JPEG, whole from the beginning


@pytest.mark.slow
def test_picture__without_its_photograph_is_a_problem_and_the_thumbnail_remains(
    studio_project: StudioProject, made_project: StudioProject
):
    drop, tile_id = studio_project.list_round()[0]
    inbox = made_project.folder.parent / "inbox"
    inbox.rename(inbox.with_name("elsewhere"))
    try:
        with running_studio(studio_project) as studio:
            gone = studio.client.get(f"/pictures/tile/{drop}/{tile_id}")
            assert (gone.status_code, gone.json()["slug"]) == (404, "SourceError")
            thumb = open_picture(studio.client.get(f"/pictures/thumb/{drop}/{tile_id}"))
            assert thumb.format == "WEBP"
            # The tile can be labelled all the same.
            assert studio.post("Ann", label((drop, tile_id), "road", 1)).status_code == 200
    finally:
        inbox.with_name("elsewhere").rename(inbox)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xe0 the rest was lost"])
def test_picture__that_was_cut_short_is_cut_again(
    studio: RunningStudio, shared_project: StudioProject, data: bytes
):
    """As after a loss of power: a browser would keep the broken picture for a year."""
    drop, tile_id = shared_project.list_round()[30]
    address = f"/pictures/tile/{drop}/{tile_id}"
    whole = studio.client.get(address).content
    path = shared_project.folder / ".cache" / "studio" / f"{tile_id}-tile.jpg"
    path.write_bytes(data)
    assert studio.client.get(address).content == path.read_bytes() == whole


def test_picture__of_no_tile_is_a_problem(studio: RunningStudio):
    for kind in ("tile", "around", "thumb"):
        assert studio.client.get(f"/pictures/{kind}/ridge-north/none").status_code == 404


# --- Map, flights, rounds, drops
def test_map__points_and_tiles_are_those_of_the_table(
    studio: RunningStudio, shared_project: StudioProject
):
    table = open_table(shared_project.store, "projections", space=shared_project.space).read()
    query = {"space": shared_project.space}
    described = studio.client.get("/api/map", params=query).json()
    assert (described["count"], described["drops"]) == (len(table), list(DROPS))
    data = studio.client.get("/api/map/points", params=query).content
    assert len(data) == 12 * len(table)
    xy = np.frombuffer(data, "<f4", 2 * len(table)).reshape(-1, 2)
    assert np.array_equal(xy[:, 0], table["x"].to_numpy())
    groups = np.frombuffer(data, "<u2", len(table), 8 * len(table))
    assert [DROPS[each] for each in groups] == table["drop"].to_pylist()
    rows = [3, 0, len(table) - 1]
    tiles = studio.client.post("/api/map/tiles", json={"rows": rows, **query}).json()
    taken = table.take(rows)
    assert tiles == [
        list(pair)
        for pair in zip(*(taken[c].to_pylist() for c in ("drop", "tile_id")), strict=True)
    ]


def test_map__classes_and_skips_are_marked(studio: RunningStudio, shared_project: StudioProject):
    table = open_table(shared_project.store, "projections", space=shared_project.space).read()
    names = list(zip(*(table[c].to_pylist() for c in ("drop", "tile_id")), strict=True))
    studio.post("Max", label(names[5], "meadow", 1), label(names[6], "x", 2) | {"kind": "skip"})
    classes = studio.client.get("/api/map").json()["classes"]
    data = studio.client.get("/api/map/points").content
    numbers = np.frombuffer(data, "<u2", len(table), 10 * len(table))
    assert classes[numbers[5] - 1] == "meadow"
    assert numbers[6] == 65_535


@pytest.mark.parametrize("rows", [[-1], [10**9], ["a"], [1.5], [True], list(range(20_001))])
def test_map__other_rows_are_a_problem(studio: RunningStudio, rows: list):
    assert studio.client.post("/api/map/tiles", json={"rows": rows}).status_code in (409, 422)


def test_flight__has_outlines_and_chosen_tiles(
    studio: RunningStudio, shared_project: StudioProject
):
    flight = studio.client.get("/api/flights/ridge-north").json()
    chosen = {tile_id for drop, tile_id in shared_project.list_round() if drop == "ridge-north"}
    assert {tile["tile_id"] for tile in flight["tiles"]} == chosen
    assert len(flight["photographs"]) == 3
    (ring,) = flight["photographs"][0]["rings"]
    assert ring[0] == ring[-1]
    assert studio.client.get("/api/flights/nothing").status_code == 404


def test_rounds__count_answers_of_the_person_and_of_all(
    studio: RunningStudio, shared_project: StudioProject
):
    for number, tile in enumerate(shared_project.list_round()[100:103]):
        studio.post("Ned", label(tile, "road", number))
    (listed,) = studio.client.get("/api/rounds", params={"by": "Ned"}).json()
    assert (listed["name"], listed["tiles"], listed["answered_by_you"]) == ("round-0001", 200, 3)
    assert listed["answered"] >= 3


def test_drops__have_their_quality(studio: RunningStudio):
    drops = {drop["name"]: drop for drop in studio.client.get("/api/drops").json()}
    assert set(drops) == set(DROPS)
    assert drops["river-burn"]["quarantined"] == 2
    assert drops["river-burn"]["assets"]["tiles"][0] == "made"
    assert drops["river-burn"]["has_report"]


def test_files__stored_pictures_are_served(studio: RunningStudio, shared_project: StudioProject):
    place = f"{shared_project.space}/round-0001"
    sheet = studio.client.get(f"/files/selections/{place}/contact-sheet.jpg")
    assert open_picture(sheet).format == "JPEG"
    assert studio.client.get(f"/files/selections/{place}/nothing.jpg").status_code == 404


def test_static__every_file_of_the_page_is_served(studio: RunningStudio):
    for file in files("dino_assets.serving.studio").joinpath("static").iterdir():
        assert studio.client.get(f"/static/{file.name}").content == file.read_bytes()

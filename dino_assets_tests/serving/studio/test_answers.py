"""Answers over HTTP: durable before they are confirmed, once although sent twice."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from dino_assets.labels.merging import merge_answers
from dino_assets.labels.records import Window
from dino_assets_tests.worlds.studio import RunningStudio, StudioProject, label, running_studio


@pytest.fixture
def tiles(shared_project: StudioProject) -> list[tuple[str, str]]:
    return shared_project.list_round()


def list_of(project: StudioProject, by: str) -> list:
    return [answer for answer in project.answers if answer.by == by]


def test_answers__a_confirmed_answer_is_in_the_store(
    studio: RunningStudio, shared_project: StudioProject, tiles
):
    at = datetime.now(UTC) - timedelta(minutes=5)
    sent = label(
        tiles[0],
        "burnt ground",
        10,
        at=at.isoformat(),
        seconds=1.25,
        round=f"{shared_project.space}/round-0001",
        suggested="water",
    )
    reply = studio.post("Ann", sent)
    assert reply.status_code == 200
    (answer,) = list_of(shared_project, "Ann")
    assert reply.json()["saved"] == [answer.answer_id]
    assert (answer.kind, answer.class_name, answer.source) == ("label", "burnt ground", "studio")
    assert (answer.seconds, answer.suggested) == (1.25, "water")
    assert answer.round == f"{shared_project.space}/round-0001"
    assert abs(answer.at - at) < timedelta(milliseconds=1)
    assert answer.target is not None
    assert (answer.target.drop, answer.target.tile_id) == tiles[0]
    assert answer.target.level == "tile"


def test_answers__an_id_of_another_answer_is_refused(
    studio: RunningStudio, shared_project: StudioProject
):
    tiles = shared_project.list_round()
    assert studio.post("Eve", label(tiles[0], "water", 1)).status_code == 200
    for other in (label(tiles[0], "road", 1), label(tiles[1], "water", 1)):
        answer = studio.post("Eve", label(tiles[2], "road", 2), other)
        assert (answer.status_code, answer.json()["slug"]) == (409, "id-in-use")
    assert [each.class_name for each in shared_project.answers if each.by == "Eve"] == ["water"]


def test_answers__sent_twice_is_one_answer(
    studio: RunningStudio, shared_project: StudioProject, tiles
):
    # Also with another time, and in other company: only the id counts.
    first = studio.post("Bob", label(tiles[0], "water", 1))
    again = studio.post("Bob", label(tiles[0], "water", 1), label(tiles[1], "water", 2))
    assert again.json()["saved"][0] == first.json()["saved"][0]
    assert len(list_of(shared_project, "Bob")) == 2


def test_answers__sent_at_once_by_many_is_one_answer(
    studio: RunningStudio, shared_project: StudioProject, tiles
):
    with ThreadPoolExecutor(8) as pool:
        replies = list(
            pool.map(lambda _: studio.post("Cy", label(tiles[0], "water", 1)), range(24))
        )
    assert {reply.status_code for reply in replies} == {200}
    assert len({reply.json()["saved"][0] for reply in replies}) == 1
    assert len(list_of(shared_project, "Cy")) == 1


def test_answers__several_people_at_once(
    studio: RunningStudio, shared_project: StudioProject, tiles
):
    def work(person: str) -> None:
        for number, tile in enumerate(tiles[:20]):
            assert studio.post(person, label(tile, "road", number)).status_code == 200

    people = [f"person {number}" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, people))
    for person in people:
        assert [a.target.tile_id for a in list_of(shared_project, person)] == [
            tile_id for _, tile_id in tiles[:20]
        ]


@pytest.mark.slow
def test_answers__killed_server_loses_nothing_confirmed(studio_project: StudioProject):
    tiles = studio_project.list_round()
    confirmed = []
    with running_studio(studio_project) as studio:
        for number, tile in enumerate(tiles[:30]):
            confirmed += studio.post("Ann", label(tile, "road", number)).json()["saved"]
        studio.process.send_signal(signal.SIGKILL)
        studio.process.wait()
    assert [answer.answer_id for answer in studio_project.answers] == confirmed
    # A client that does not know whether its last answer arrived sends it again to the next server.
    with running_studio(studio_project) as studio:
        again = studio.post("Ann", label(tiles[29], "road", 29))
        assert again.json()["saved"] == confirmed[-1:]
    assert len(studio_project.answers) == 30


def test_answers__undo_takes_back_the_own_answer_only(
    studio: RunningStudio, shared_project: StudioProject, tiles
):
    studio.post("Di", label(tiles[3], "road", 1))
    undo = {"id": "0" * 15 + "2", "kind": "undo", "undoes": f"{1:016x}"}
    assert studio.post("Ed", undo).status_code == 409
    assert studio.post("Di", undo).status_code == 200
    merged = merge_answers(list_of(shared_project, "Di"))
    assert merged.labels == ()


def test_answers__boxes_are_cut_at_the_edges_of_the_photograph(
    studio: RunningStudio, shared_project: StudioProject, tiles
):
    box = {"level": "box", "window": [-20, 10, 100, 50]}
    assert studio.post("Flo", label(tiles[0], "car", 1, **box)).status_code == 200
    whole = {"level": "image"}
    assert studio.post("Flo", label(tiles[0], "forest", 2, **whole)).status_code == 200
    targets = {a.target.level: a.target for a in list_of(shared_project, "Flo")}
    assert targets["box"].window == Window(0, 10, 80, 50)
    assert targets["box"].tile_id is None
    assert targets["image"].window == Window(0, 0, 1200, 900)
    queue = studio.client.get(
        "/api/queue", params={"round": "round-0001", "space": shared_project.space, "by": "Flo"}
    ).json()
    (drawn,) = [box for box in queue["items"][0]["boxes"] if box["by"] == "Flo"]
    assert (drawn["window"], drawn["class"]) == ([0, 10, 80, 50], "car")


@pytest.mark.slow
def test_answers__disagreements_are_listed_and_settled(
    studio_project: StudioProject,
):
    tile = studio_project.list_round()[0]
    with running_studio(studio_project) as studio:
        studio.post("Ann", label(tile, "road", 1))
        studio.post("Bob", label(tile, "river", 1))
        (disputed,) = studio.client.get("/api/conflicts").json()
        assert disputed["classes"] == {"river": ["Bob"], "road": ["Ann"]}
        assert studio.client.get("/api/state").json()["conflicts"] == 1
        settle = {"id": "a" * 16, "kind": "settle", "target": disputed["key"], "class": "road"}
        assert studio.post("Cy", settle).status_code == 200
        assert studio.client.get("/api/conflicts").json() == []
        assert studio.post("Cy", {**settle, "id": "b" * 16}).status_code == 409
    (settled,) = merge_answers(studio_project.answers).labels
    assert (settled.class_name, settled.is_settled, settled.by) == ("road", True, "Cy")


@pytest.mark.slow
def test_answers__of_another_program_are_seen(studio_project: StudioProject):
    tile = studio_project.list_round()[0]
    with running_studio(studio_project) as one, running_studio(studio_project) as other:
        assert other.client.get("/api/state").json()["classes"] == {}
        one.post("Ann", label(tile, "road", 1))
        deadline = time.monotonic() + 30
        while other.client.get("/api/state").json()["classes"] != {"road": 1}:
            assert time.monotonic() < deadline
            time.sleep(0.2)


BAD = {
    "no object": ([], 422),
    "no answers": ({"by": "Ann", "answers": []}, 422),
    "no person": ({"by": " ", "answers": [{"kind": "skip"}]}, 422),
    "no words": ({"by": "Ann", "answers": ["label"]}, 422),
}


@pytest.mark.parametrize("name", BAD)
def test_answers__other_bodies_are_refused(studio: RunningStudio, name: str):
    body, status = BAD[name]
    assert studio.client.post("/api/answers", json=body).status_code == status


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"id": "7"}, 422),
        ({"kind": "praise"}, 422),
        ({"class": ""}, 422),
        ({"class": "x" * 81}, 422),
        ({"class": "a\nb"}, 422),
        ({"class": None}, 422),
        ({"tile_id": "nothing"}, 404),
        ({"drop": "nothing"}, 404),
        ({"level": "pixel"}, 422),
        ({"level": "box", "window": [5000, 5000, 10, 10]}, 422),
        ({"level": "box", "window": [0, 0, 0, 10]}, 422),
        ({"level": "box", "window": [0, 0, 1.5, 10]}, 422),
        ({"level": "box", "window": None}, 422),
        ({"level": "box", "window": [0, True, 10, 10]}, 422),
        ({"kind": "undo"}, 422),
        ({"kind": "undo", "undoes": "f" * 16}, 409),
        ({"kind": "settle", "target": "tile/x"}, 409),
    ],
)
def test_answers__an_unexpected_answer_is_refused_with_all_beside_it(
    studio: RunningStudio, shared_project: StudioProject, tiles, change, status
):
    reply = studio.post("Gus", label(tiles[0], "road", 1), label(tiles[1], "road", 2) | change)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert list_of(shared_project, "Gus") == []


@pytest.mark.parametrize(
    "name",
    ["🔥", "👨‍👩‍👧", "می‌خواهم", "क्‍ष", "\"a\" & 'b' <b>", "__proto__", "constructor"],
)
def test_answers__classes_of_any_script_are_stored(
    studio: RunningStudio, shared_project: StudioProject, tiles, name: str
):
    assert studio.post(f"Jo {name}", label(tiles[9], name, 1, suggested=name)).status_code == 200
    (answer,) = list_of(shared_project, f"Jo {name}")
    assert (answer.class_name, answer.suggested) == (name, name)


@pytest.mark.parametrize("name", ["\u200d", "a\u202eb", "a\x7f", "a\xa0b", "\ue000"])
def test_answers__classes_that_nobody_could_read_are_refused(
    studio: RunningStudio, tiles, name: str
):
    assert studio.post("Gus", label(tiles[9], name, 1)).status_code == 422


def test_answers__halves_of_letters_are_refused(studio: RunningStudio, tiles):
    """Such a text cannot be encoded, so it can be no tile, class or person."""
    headers = {"Content-Type": "application/json"}
    for text in (
        json.dumps({"by": "Gus", "answers": [label((tiles[0][0], "\ud800"), "x", 1)]}),
        json.dumps({"by": "Gus", "answers": [label(tiles[0], "\udfff", 1)]}),
    ):
        reply = studio.client.post("/api/answers", content=text, headers=headers)
        assert (reply.status_code, reply.json()["slug"]) == (400, "not-json")
    body = json.dumps({"tiles": [tiles[0]], "like": "\ud800"})
    assert studio.client.post("/api/order", content=body, headers=headers).status_code == 400


def test_answers__no_json_and_large_bodies_are_refused(studio: RunningStudio):
    headers = {"Content-Type": "application/json"}
    for content, status in ((b"{", 400), (b"[" * 100_000, 400), (b" " * (9 * 2**20), 413)):
        reply = studio.client.post("/api/answers", content=content, headers=headers)
        assert reply.status_code == status


@pytest.mark.slow
def test_answers__a_store_that_cannot_be_written_confirms_nothing(studio_project: StudioProject):
    tile = studio_project.list_round()[0]
    with running_studio(studio_project) as studio:
        obstacle = studio_project.folder / "data" / "answers"
        obstacle.write_text("a file where the folder should be")
        assert studio.post("Ann", label(tile, "road", 1)).status_code == 503
        obstacle.unlink()
        # The page sends it again, and now it is stored.
        assert studio.post("Ann", label(tile, "road", 1)).status_code == 200
    assert len(studio_project.answers) == 1


def test_answers__impossible_times_are_replaced(
    studio: RunningStudio, shared_project: StudioProject, tiles
):
    for number, at in enumerate(("9999-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "noon", 5)):
        assert studio.post("Hal", label(tiles[number], "road", number, at=at)).status_code == 200
    for answer in list_of(shared_project, "Hal"):
        assert abs(answer.at - datetime.now(UTC)) < timedelta(minutes=5)


def test_answers__pace_is_the_median_of_measured_seconds(studio: RunningStudio, tiles):
    for number, seconds in enumerate((1.0, 2.0, 9.0, None, 0, 1e9)):
        reply = studio.post("Ida", label(tiles[number], "road", number, seconds=seconds))
    assert (reply.json()["seconds_per_answer"], reply.json()["measured"]) == (2.0, 3)

"""A storm: drops arrive in odd ways while daemon, code server, web server and runs are killed.

``STORM_DROPS`` and ``STORM_KILLS`` set its length, ``STORM_SEED`` its random events.
"""

import hashlib
import json
import os
import random
import time
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from dino_assets.defs.instance import open_instance
from dino_assets.drops.naming import make_drop_name
from dino_assets.settings.environment import load_settings
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.reading import open_table
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.conftest import s3_settings
from dino_assets_tests.worlds.storm import Arriving, Flights, Inbox, Weather, run_command
from dino_assets_tests.worlds.ui import hurry

DROPS = int(os.environ.get("STORM_DROPS", "9"))
KILLS = int(os.environ.get("STORM_KILLS", "5"))
SEED = int(os.environ.get("STORM_SEED", "0"))
LONGEST_S = 120 + 30 * DROPS + 20 * KILLS
# Nothing is in flight and nothing is requested by two ticks of the sensor, 30 s each.
QUIET_S = 70
OLDER = "made of"  # made of other files than the present ones


@pytest.fixture
def inbox(request: pytest.FixtureRequest, project: Path, monkeypatch) -> Inbox:
    """Inbox and store: both on disk, or both on S3."""
    if request.param == "disk":
        return Inbox.in_folder(project / "inbox")
    bucket = s3_settings(request.getfixturevalue("s3_endpoint"), project)
    monkeypatch.setenv("DINO_STORAGE", bucket.url)
    monkeypatch.setenv("DINO_INBOX", f"{bucket.url}/inbox")
    monkeypatch.setenv("MINIO_ENDPOINT", str(bucket.endpoint))
    monkeypatch.setenv("MINIO_ACCESS_KEY", str(bucket.access_key))
    monkeypatch.setenv("MINIO_SECRET_KEY", str(bucket.secret_key))
    return Inbox.in_bucket(bucket, "inbox")


@pytest.mark.slow
@pytest.mark.parametrize("inbox", ["disk", "s3"], indirect=True)
def test_storm__every_good_drop_is_complete_in_the_end(inbox: Inbox, project: Path, tmp_path: Path):
    hurry(project)
    dice = random.Random(SEED)
    flights = Flights(inbox, drops=DROPS, spread_s=4.0 * DROPS, dice=dice)
    store = open_store(load_settings().storage)
    ends_s = time.monotonic() + LONGEST_S
    with Weather(project, tmp_path, dice=dice).blowing() as weather, flights.flying() as future:
        while len(weather.kills) < KILLS:
            time.sleep(dice.uniform(2, 8))
            weather.keep_up()
            weather.strike()
            assert time.monotonic() < ends_s, weather.kills
        future.result()
        wait_until_quiet(weather, flights.drops, store, ends_s)
        late_drops = [drop for drop in flights.drops if drop.is_good and explain(store, drop)]
        # Files that came after a drop was finished are included when it is registered again.
        for drop in late_drops:
            address = inbox_address(project, drop)
            run_command(project, "drops", "register", drop_name(drop), "--from", address)
        wait_until_quiet(weather, flights.drops, store, ends_s + 30 * len(late_drops))
    print(f"\n{Counter(weather.kills)}, {weather.starts} starts, {len(late_drops)} late drops")
    good_drops = [drop for drop in flights.drops if drop.is_good]
    assert {drop.folder: explain(store, drop) for drop in good_drops} == {
        d.folder: "" for d in good_drops
    }
    assert all(drop.kind in ("late", "again", "replaced") for drop in late_drops)
    assert count_computed(project) <= flights.photographs  # each is one tile
    run_command(project, "verify")
    names = {row["name"] for row in json.loads(run_command(project, "drops", "list", "--json"))}
    assert {drop_name(drop) for drop in good_drops} <= names


def drop_name(drop: Arriving) -> str:
    return make_drop_name(drop.folder)


def inbox_address(project: Path, drop: Arriving) -> str:
    inbox = os.environ.get("DINO_INBOX", str(project / "inbox"))
    return f"{inbox}/{drop.folder}"


def wait_until_quiet(
    weather: Weather, drops: list[Arriving], store: ObjectStore, ends_s: float
) -> None:
    """Wait until every good drop is complete, or is made of the files that were listed."""
    since_s = time.monotonic()
    while True:
        weather.keep_up()
        in_flight = weather.find_in_flight()
        reasons = {drop.folder: explain(store, drop) for drop in drops if drop.is_good}
        if not in_flight and not any(reasons.values()):
            return
        is_waiting = in_flight or not all(
            reason.startswith(OLDER) for reason in reasons.values() if reason
        )
        if is_waiting:
            since_s = time.monotonic()
        elif time.monotonic() - since_s > QUIET_S:
            return
        assert time.monotonic() < ends_s, (reasons, in_flight, weather.kills)
        time.sleep(1)


def explain(store: ObjectStore, drop: Arriving) -> str:
    """Explain why a drop is not complete yet; empty if all assets are made of exactly its files."""
    name = drop_name(drop)
    images, tiles = (open_table(store, asset, drops=[name]) for asset in ("images", "tiles"))
    if not images.drops or not tiles.drops:
        return "not made"
    rows = images.read(name).select(["path", "image_id"]).to_pylist()
    image_ids = {row["path"]: row["image_id"] for row in rows}
    if image_ids != {path: hashlib.sha256(data).hexdigest() for path, data in drop.files.items()}:
        return f"{OLDER} {sorted(image_ids)}"
    wanted = tiles.read(name)["tile_id"].to_pylist()
    tables = [
        open_table(store, "embeddings", space=space, drops=[name])
        for space in list_spaces(store, "embeddings")
    ]
    ids = [table.read(name)["tile_id"].to_pylist() for table in tables if table.drops]
    return "" if ids == [wanted] else f"{len(wanted)} tiles, embedded {[len(each) for each in ids]}"


def count_computed(project: Path) -> int:
    """Count the tiles that the model computed, without copied ones, from the runs' metadata."""
    with open_instance(project) as instance:
        records = instance.fetch_materializations(dg.AssetKey("embeddings"), limit=1000).records
    tile_count = 0
    for record in records:
        assert record.asset_materialization is not None
        metadata = {key: each.value for key, each in record.asset_materialization.metadata.items()}
        if "shards_made" in metadata.get("shards_were", {}):  # a drop of this size is one
            tile_count += metadata["dagster/row_count"] - metadata.get("tiles_copied", 0)
    return tile_count

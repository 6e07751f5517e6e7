"""``dino-assets`` in this process; test_commands.py runs it in processes of its own."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from dino_assets.cli import main
from dino_assets.cli.terminal import name_command
from dino_assets.defs.instance import open_instance
from dino_assets.drops.registry import read_drop
from dino_assets.errors import (
    ConfigError,
    DropConflictError,
    NotCommittedError,
    SourceError,
    UnknownDropError,
)
from dino_assets.settings.environment import load_settings, resolve_storage
from dino_assets.store.buckets import create_bucket
from dino_assets.store.commits.listing import find_outputs
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.protocol import Draft, OutputId, Recipe
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import open_store
from dino_assets.weights.checkpoint import CAVEAT
from dino_assets.weights.stage import draft_weights
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.servers import HOST, free_port


def store():
    return open_store(load_settings().storage)


def source_of(drop):
    return read_drop(store(), drop).source


def test_drops_register__twice(project, write_photo, capsys):
    write_photo(project / "card" / "DJI_0001.JPG")
    for verb in ("registered", "already registered"):
        assert main(["drops", "register", "flight-1", "--from", "card"]) == 0
        assert f"flight-1: {verb}, " in capsys.readouterr().out
    with open_instance(project) as instance:
        assert instance.get_dynamic_partitions("drops") == ["flight-1"]


def test_drops_register__from_the_inbox(project, write_photo):
    write_photo(project / "inbox" / "flight-2" / "DJI_0001.JPG")
    assert main(["drops", "register", "flight-2"]) == 0
    assert source_of("flight-2") == str(project / "inbox" / "flight-2")


def test_drops_register__relative_to_the_working_directory(project, write_photo, monkeypatch):
    write_photo(project / "sub" / "photos" / "DJI_0001.JPG")
    monkeypatch.chdir(project / "sub")
    assert main(["drops", "register", "flight-3", "--from", "photos"]) == 0
    assert source_of("flight-3") == str(project / "sub" / "photos")
    assert {p.name for p in (project / "sub").iterdir()} == {"photos"}
    with open_instance(project) as instance:
        assert instance.get_dynamic_partitions("drops") == ["flight-3"]


def test_drops_register__from_a_bucket_inbox(project, s3_endpoint, monkeypatch):
    monkeypatch.setenv("MINIO_ENDPOINT", s3_endpoint)
    monkeypatch.setenv("DINO_STORAGE", "data")
    inbox = resolve_storage("s3://card-inbox")
    create_bucket(inbox)
    open_store(inbox).put("in/f1/DJI_0001.JPG", photo_bytes())
    monkeypatch.setenv("DINO_INBOX", "s3://card-inbox/in")
    assert main(["drops", "register", "f1"]) == 0
    assert source_of("f1") == "s3://card-inbox/in/f1"


def test_drops_register__invalid_name_is_changed(project, write_photo, capsys):
    write_photo(project / "card" / "DJI_0001.JPG")
    assert main(["drops", "register", "Flug am Bärensee", "--from", "card"]) == 0
    out = capsys.readouterr().out
    assert "(from 'Flug am Bärensee')" in out
    assert out.startswith("Flug-am-Baerensee-")


def test_drops_register__another_source(project, write_photo, refuse):
    write_photo(project / "card" / "DJI_0001.JPG")
    write_photo(project / "other" / "DJI_0001.JPG")
    main(["drops", "register", "flight-1", "--from", "card"])
    refuse(DropConflictError, "drops", "register", "flight-1", "--from", "other")
    assert main(["drops", "register", "flight-1", "--from", "other", "--replace"]) == 0


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        ("loop", SourceError),
        ("x" * 5000, ConfigError),
        ("zero\0byte", ConfigError),
        ("nowhere", SourceError),
    ],
)
def test_drops_register__missing_source(project, refuse, where, kind):
    (project / "loop").symlink_to("loop")
    refuse(kind, "drops", "register", "flight-1", "--from", where)


def test_drops_list(project, write_photo, capsys):
    assert main(["drops", "list"]) == 0
    assert "no drops yet" in capsys.readouterr().out
    write_photo(project / "card" / "DJI_0001.JPG")
    main(["drops", "register", "flight-1", "--from", "card"])
    capsys.readouterr()
    assert main(["drops", "list"]) == 0
    assert capsys.readouterr().out.split()[:5] == ["flight-1", "images", "–", "tiles", "–"]


def test_drops_list__damaged_record_does_not_hide_others(project, write_photo, capsys):
    write_photo(project / "card" / "DJI_0001.JPG")
    main(["drops", "register", "good", "--from", "card"])
    store().put("drops/bad.json", b"{")
    capsys.readouterr()
    assert main(["drops", "list"]) == 1
    bad_line, good_line = capsys.readouterr().out.splitlines()
    assert "'drops/bad.json' in store 'data' is not a valid record" in bad_line
    assert good_line.startswith("good")
    assert main(["verify"]) == 1
    assert "drops/bad.json" in capsys.readouterr().out


def test_parts__two_spaces_are_listed_separately(project, capsys):
    """Paths of two spaces must not be mixed: stdout has the paths, stderr names their space."""
    schema = pa.schema([("tile_id", pa.string())])
    for space, precision in (("aaaa", "half"), ("bbbb", "int8")):
        recipe = Recipe(
            OutputId("embeddings", "one", space),
            "1",
            {"space": {"precision": precision, "side_px": 518}},
        )
        rows = pa.record_batch([[space]], schema=schema)
        commit(store(), Draft(recipe, lambda rows=rows: iter([rows]), schema))
    assert main(["parts", "embeddings", "one"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    assert printed.err.splitlines() == [
        "# half, 518 px: --space aaaa",
        "# int8, 518 px: --space bbbb",
    ]
    assert main(["parts", "embeddings", "one", "--space", "bbbb"]) == 0
    assert capsys.readouterr().out == printed.out.splitlines(keepends=True)[1]
    assert main(["export", "embeddings", "one", "--space", "bbbb", "--to", "out"]) == 0
    assert [path.name for path in Path("out").iterdir()] == ["embeddings-0.parquet"]


def test_parts__unknown_drop_or_asset(project, checkpoint_dir, capsys, refuse):
    commit(store(), draft_weights(checkpoint_dir, "demo"))
    assert main(["parts", "weights"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    refuse(UnknownDropError, "parts", "tiles", "nowhere")
    assert "Assets are: weights, images, tiles" in refuse(NotCommittedError, "parts", "tile")


def test_select__prints_the_round_and_its_pool(project, write_photo, instance, capsys, refuse):
    lineage = Lineage(instance)
    for name in ("flight-1", "flight-2"):
        lineage.register(name, write_photo(project / name / "DJI_0001.JPG", 1600, 1200).parent)
    lineage.embed("flight-1")
    capsys.readouterr()

    assert main(["select", "--strategy", "fps", "--budget", "5", "--all-windows"]) == 0
    first, model_note = capsys.readouterr().out.splitlines(), f"by {load_settings().model}"
    assert first[0] == f"round-0001: chosen, 5 tiles of a pool of 24, from flight-1, {model_note}"
    assert first[1] == "why: 4 farthest, 1 first (fps, seed 42, cls vectors)"
    meaning = first.pop(2)
    assert meaning.startswith(
        "farthest: least similar to everything chosen before it; first: start"
    )
    (manifest,) = find_outputs(store(), "selections", "round-0001")
    facts = manifest.facts
    assert facts["coverage_radius"] < facts["random_coverage_radius"]
    assert first[2].startswith(
        "coverage: distance from a tile of the pool to the nearest chosen one: mean "
        f"{facts['coverage_mean']:.4f} (random choice {facts['random_coverage_mean']:.4f}), largest "
    )
    assert first[3] == "registered but not embedded in this space: flight-2"
    assert first[4] == f"note: The model has {CAVEAT}"
    assert first[5] == f"next: {name_command()} export selections round-0001 --to out/round-1"
    command = first[5].partition(name_command())[2].split()
    assert main(command) == 0
    tiles = sorted(path.name for path in (project / "out" / "round-1" / "tiles").iterdir())
    assert [name.split("_x")[0] for name in tiles] == [
        f"{rank:03d}_flight-1_DJI_0001" for rank in range(1, 6)
    ]
    assert (project / "out" / "round-1" / "chosen.csv").read_text().count("\n") == 6
    assert "5 of 5 tiles without a known place" in capsys.readouterr().err
    assert main(["footprints", "selections", "round-0001", "--to", "out/chosen.geojson"]) == 0
    capsys.readouterr()

    assert main(["select", "--strategy", "fps", "--budget", "5", "--all-windows"]) == 0
    second_lines = capsys.readouterr().out.splitlines()
    assert (
        second_lines[0]
        == f"round-0001: reused, 5 tiles of a pool of 24, from flight-1, {model_note}"
    )
    assert second_lines[1:] == [first[1], meaning, *first[2:]]

    # Somebody may be labelling it, so it is not chosen again by accident.
    assert refuse(ConfigError, "select", "--strategy", "fps", "--budget", "3", "--all-windows") == (
        "round-0001 is already chosen and stays unchanged: it was chosen with budget 5, not 3. To choose "
        "more tiles, ask for round 2. To choose this round again, add --replace.\n"
    )
    (stored_manifest,) = find_outputs(store(), "selections", "round-0001")
    assert stored_manifest == manifest
    assert main(["select", "--strategy", "fps", "--budget", "3", "--replace"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"round-0001: chosen, 3 tiles of a pool of 24, from flight-1, {model_note}"

    # Too large budgets are refused before anything is stored.
    second_round = ["--round", "2", "--budget", "22", "--fps-ratio", "0.25", "--all-windows"]
    keys_before = {info.key for info in store().list()}
    assert refuse(ConfigError, "select", *second_round) == (
        "budget=22 is more than the tiles left: the pool has 24 tiles, 3 of them chosen before. Ask for "
        "at most 20, or give --all (`all: true` in the asset's config) if you want that many.\n"
    )
    refuse(ConfigError, "select", "--round", "2", "--budget", "21", "--all-windows")
    assert {info.key for info in store().list()} == keys_before
    # A smaller round is reported; repeated, the round is the same.
    for verb, options in (("chosen", ["--all"]), ("reused", [])):
        assert main(["select", *second_round, *options]) == 0
        printed = capsys.readouterr().out
        assert (
            f"{verb}, 21 tiles of a pool of 24, of which earlier rounds chose 3, from flight-1, {model_note}\n"
            in printed
        )
        assert printed.endswith(
            "round-0002 has fewer tiles than its budget: 22 were asked for and 21 picked: the pool "
            "has 24 tiles, 3 of them chosen before\n"
        )

    (second,) = find_outputs(store(), "selections", "round-0002")
    assert second.recipe.config["fps_ratio"] == 0.25
    store().put(second.parts[0].key, b"something else")
    assert main(["verify", "--repair"]) == 1
    assert "Deleted the part and kept the record 'manifests/selections/" in capsys.readouterr().out
    assert find_outputs(store(), "selections", "round-0002") == [second]
    assert main(["select", *second_round]) == 0
    assert store().exists(second.parts[0].key)  # made again
    assert main(["verify"]) == 0

    refuse(ConfigError, "select", "--round", "4")
    assert "no tile is left to choose" in refuse(ConfigError, "select", "--round", "3", "--all")
    refuse(NotCommittedError, "select", "--round", "3", "--tile-px", "256")


def test_select__nothing_to_choose_from(project, write_photo, checkpoint_dir, refuse):
    refuse(NotCommittedError, "select")
    commit(store(), draft_weights(checkpoint_dir, "demo"))
    write_photo(project / "card" / "DJI_0001.JPG")
    main(["drops", "register", "flight-1", "--from", "card"])
    sentence = refuse(NotCommittedError, "select")
    assert sentence.startswith("there is nothing to choose from: no tile is embedded by 'demo'")
    assert "Registered but not embedded: flight-1. Materialise `embeddings` first." in sentence
    assert not [i.key for i in store().list() if "selections" in i.key]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (["--strategy", "best"], "strategy is 'best'; use one of random, cluster, fps, hybrid"),
        (["--column", "patch"], "column is 'patch'; use one of cls, mean"),
        (["--round", "0"], "round=0: expected 1 to 9999"),
        (["--budget", "0"], "budget=0: expected 1 or more"),
        (["--clusters", "0"], "n_clusters=0: expected 1 or more"),
        (["--seed", "-1"], "seed=-1: expected 0 or more"),
        (["--fps-ratio", "2"], "fps_ratio=2.0: expected 0 to 1"),
    ],
)
def test_select__invalid_options(project, refuse, option, sentence):
    # The options are checked before the store.
    assert refuse(ConfigError, "select", *option).startswith(sentence)


def test_select__invalid_tile_side(project, checkpoint_dir, refuse):
    commit(store(), draft_weights(checkpoint_dir, "demo"))
    refuse(ConfigError, "select", "--tile-px", "-1")


def test_verify__finds_and_repairs(project, checkpoint_dir, capsys):
    commit(store(), draft_weights(checkpoint_dir, "demo"))
    assert main(["verify"]) == 0
    assert capsys.readouterr().out == "everything that is committed is intact\n"
    part = read_manifest(store(), OutputId("weights")).parts[0]
    store().put(part.key, b"something else")
    assert main(["verify", "--repair"]) == 1
    assert part.key in capsys.readouterr().out
    assert not commit(store(), draft_weights(checkpoint_dir, "demo")).was_reused
    assert main(["verify"]) == 0


def test_collect__dry_run(project, capsys):
    assert main(["collect", "--dry-run"]) == 0
    assert "would delete 0 parts" in capsys.readouterr().out


def test_doctor__healthy(project, trained_dir, capsys, monkeypatch):
    monkeypatch.setenv("DINO_MODEL_ID", str(trained_dir))
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", subject]
        for subject in ("python", "disk", "device", "store", "checkpoint", "instance", "drops")
    ]


def test_doctor__examines_every_drop(project, write_photo, instance, capsys):
    lineage = Lineage(instance)
    names = ("away", "gone", "old")
    for name in (*names, "fine", "new"):
        lineage.register(name, write_photo(project / name / "DJI_0001.JPG", 1600, 1200).parent)
    lineage.embed(*names)
    main(["drops", "retire", "old"])
    for name in ("away", "new", "old"):
        (project / name).rename(project / f"{name}-2")
    (project / "gone" / "DJI_0001.JPG").rename(project / "gone" / "DJI_0002.JPG")
    capsys.readouterr()
    assert main(["doctor"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.split()[1] == "drops"]
    assert (
        lines[0] == "ok   drops       1 of 4 have all their files; 1 retired ones are not checked"
    )
    assert lines[1].startswith(
        "FAIL drops       new: its images cannot be made: there is no folder and no .csv"
    )
    assert lines[2].startswith(
        f"WARN drops       away: rounds leave it out (`{name_command()} drops retire away` ends this warning): "
    )
    assert lines[3].startswith(
        "WARN drops       gone: 1 photograph came since the drop was read, the first is 'DJI_0002.JPG'; 1 of "
        "its 1 photograph is gone, the first is 'DJI_0001.JPG'"
    )
    assert len(lines) == 4


def test_doctor__everything_wrong(project, capsys, impatient, monkeypatch):
    monkeypatch.setenv("DINO_MODEL_ID", "./nowhere")
    monkeypatch.setenv("DINO_DEVICE", "cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("MINIO_ENDPOINT", f"{HOST}:{free_port()}")
    monkeypatch.setattr("dino_assets.doctor.MIN_FREE_BYTES", 10**18)
    (project / "dagster.yaml").write_text("storage: {sqlite: 7}\n")
    assert main(["doctor"]) == 1
    lines = {
        line.split()[1]: line
        for line in capsys.readouterr().out.splitlines()
        if line[:4].strip() in ("ok", "FAIL")
    }
    assert "expected at least 1000000000 GB" in lines["disk"]
    assert "device 'cuda' was asked for" in lines["device"]
    assert "the store cannot be reached" in lines["store"]
    assert lines["checkpoint"].startswith("FAIL")
    assert lines["instance"].startswith("FAIL")
    assert "minioadmin" not in "".join(lines.values())


def test_doctor__creates_a_bucket(project, capsys, monkeypatch, s3_endpoint):
    monkeypatch.setenv("MINIO_ENDPOINT", s3_endpoint)
    monkeypatch.setenv("EMBED_BUCKET", "made-by-the-doctor")
    assert main(["doctor"]) == 1
    assert "dino-assets doctor --create-bucket" in capsys.readouterr().out
    assert main(["doctor", "--create-bucket"]) == 0


def test_samples_checkpoint(project, capsys):
    assert main(["samples", "checkpoint", "models/tried"]) == 0
    assert "random weights, to try the commands" in capsys.readouterr().out
    assert (project / "models" / "tried" / "model.safetensors").is_file()


def test_samples_checkpoint__does_not_overwrite_a_checkpoint(project, refuse):
    assert main(["samples", "checkpoint", "tried"]) == 0
    for name in ("config.json", "README.md"):
        text = (project / "tried" / name).read_text()
        text = text.replace("random_weights_seed", "_").replace("random weights", "")
        (project / "tried" / name).write_text(text)
    files_before = {path: path.read_bytes() for path in (project / "tried").iterdir()}
    for removed_name in (None, "preprocessor_config.json"):  # first complete, then incomplete
        if removed_name:
            files_before.pop(project / "tried" / removed_name)
            (project / "tried" / removed_name).unlink()
        refuse(ConfigError, "samples", "checkpoint", "tried")
        assert {path: path.read_bytes() for path in (project / "tried").iterdir()} == files_before


@pytest.mark.parametrize(
    "command",
    [
        ["fetch", "--to"],
        ["fetch", "--model"],
        ["fetch", "--config"],
        ["fetch", "--to=x", "--config"],
        ["import"],
        ["import", "w.pth", "--to"],
        ["samples", "checkpoint"],
        ["export", "map", "--to"],
        ["drops", "register", "d", "--from"],
    ],
)
@pytest.mark.parametrize("text", ["~nosuchuser/x", "a\0b", "a\ud800b", "x" * 300])
def test_main__invalid_paths_are_explained(project, refuse, command, text):
    assert "cannot be used as a path" in refuse(ConfigError, *command, text)
    assert sorted(path.name for path in project.iterdir()) == ["dagster.yaml", "workspace.yaml"]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["fetch", "--to"], "--to has no value: name a folder."),
        (["fetch", "--config"], "--config has no value: name a file."),
        (["import"], "SOURCE has no value: name a file or folder."),
        (["import", "w.pth", "--to"], "--to has no value: name a folder."),
        (["samples", "checkpoint"], "FOLDER has no value: name a folder."),
    ],
)
@pytest.mark.parametrize("text", ["", " "])
def test_main__empty_paths_are_explained(project, refuse, command, sentence, text):
    assert refuse(ConfigError, *command, text) == f"{sentence}\n"


@pytest.mark.parametrize("option", ["model", "revision"])
def test_fetch__an_empty_option_is_not_the_default(project, refuse, option):
    refuse(ConfigError, "fetch", f"--{option}", "", "--to", "x")


@pytest.mark.parametrize(
    "command", [["fetch", "--to"], ["fetch", "--config"], ["import"], ["import", "w.pth", "--to"]]
)
def test_main__circular_links_are_explained(project, refuse, command):
    (project / "loop").symlink_to("loop")
    refuse(ConfigError, *command, "loop/x")


def test_main__invalid_settings_are_explained(project, refuse, monkeypatch):
    monkeypatch.setenv("USE_MINIO", "perhaps")
    sentence = refuse(ConfigError, "drops", "list")
    assert sentence.startswith("cannot read the environment or .env: USE_MINIO: ")


def test_doctor__no_project(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DINO_MODEL_ID", "./none")
    assert main(["doctor"]) == 1
    assert "FAIL instance    there is no dagster.yaml in" in capsys.readouterr().out


def test_main__os_errors_are_explained(project, refuse):
    (project / "file").write_text("")
    sentence = refuse(NotADirectoryError, "samples", "checkpoint", "file/below")
    assert sentence.startswith("Not a directory")


def test_main__wrong_usage():
    with pytest.raises(SystemExit) as caught:
        main(["drops"])
    assert caught.value.code == 2


def test_main__a_closed_pipe_is_no_error(project):
    command = f"{sys.executable} -m dino_assets.cli doctor | true"
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in process.stderr

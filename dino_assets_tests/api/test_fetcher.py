"""``fetch_dinov3`` and ``validate_dinov3`` for every published repository, with one real layer each."""

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import load_file, save_file

import dino_assets
from dino_assets.api.fetcher import FetcherConfig, fetch_dinov3, validate_dinov3
from dino_assets.errors import (
    AuthenticationError,
    CheckpointNotFoundError,
    ConfigError,
    InvalidCheckpointError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from dino_assets.weights.catalogue import DEFAULT_TEACHER, PUBLISHED, short_names
from dino_assets.weights.checkpoint import INDEX, WEIGHTS
from dino_assets.weights.hub.listings import RECORD
from dino_assets_tests.worlds.published import LARGE_DIM, damage, write_one_layer
from dino_assets_tests.worlds.raising import raising

TOKEN = "hf_VerySecretToken"
SLOW = ("giant", "vith16plus", "vit7b16", "sat493m", "with-registers-large")
NAMES = [
    pytest.param(
        name, short, id=short, marks=[pytest.mark.slow] if any(s in name for s in SLOW) else []
    )
    for name, short in zip(PUBLISHED, short_names(), strict=True)
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of a small published model."""
    folder = tmp_path_factory.mktemp("small")
    write_one_layer("facebook/dinov2-small", folder)
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize(("name", "short"), NAMES)
def test_fetch_dinov3__every_published_repository(hub, tmp_path, name, short):
    from transformers import AutoModel

    published_model = write_one_layer(name, tmp_path / "published")
    files = {path.name: path for path in (tmp_path / "published").iterdir()}
    is_sharded = PUBLISHED[name].dim >= LARGE_DIM
    assert (INDEX in files, WEIGHTS in files) == (is_sharded, not is_sharded)
    hub.add(name, files)

    folder = tmp_path / "dinov3"
    assert fetch_dinov3(folder, short) == folder
    assert validate_dinov3(folder)
    loaded_model, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    state = loaded_model.state_dict()
    assert loaded_model.dtype == torch.float16
    assert state.keys() == published_model.state_dict().keys()
    assert all(
        torch.equal(state[key], parameter) for key, parameter in published_model.named_parameters()
    )

    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    assert len(weights) >= (2 if is_sharded else 1)
    for kind, shard in zip(("removed", "flipped", "truncated"), weights * 3, strict=False):
        damage(folder / shard, kind)
        assert not validate_dinov3(folder)
        hub.asked.clear()
        fetch_dinov3(folder, name)
        file_names = {a.path.rsplit("/")[-1] for a in hub.asked}
        assert file_names == {"main", shard}
        assert validate_dinov3(folder)
    assert {path.name for path in folder.iterdir()} == {*files, RECORD}


def test_fetch_dinov3__default_model(hub, tmp_path, small):
    hub.add(DEFAULT_TEACHER, small)
    fetch_dinov3(str(tmp_path / "dinov3"))
    assert {request.path.split("/revision")[0] for request in hub.asked[:1]} == {
        f"/api/models/{DEFAULT_TEACHER}"
    }


def test_fetch_dinov3__progress_and_requests(hub, tmp_path, small):
    commit = hub.add("facebook/dinov2-small", small)
    reports: list[tuple[int, int]] = []
    fetch_dinov3(tmp_path / "d", "dinov2-small", progress=lambda *counts: reports.append(counts))
    total = sum(path.stat().st_size for path in small.values())
    assert reports[-1] == (total, total)
    assert [byte_count for byte_count, _ in reports] == sorted(
        byte_count for byte_count, _ in reports
    )
    hub.asked.clear()
    fetch_dinov3(tmp_path / "d", "dinov2-small", revision=commit)
    assert hub.asked == []
    fetch_dinov3(tmp_path / "d", "dinov2-small")
    assert len(hub.asked) == 1


def test_fetch_dinov3__missing_names_and_revisions(hub, tmp_path, small):
    hub.add("facebook/dinov2-small", small)
    hub.moved["dinov9-x"] = "org/nothing"  # the Hub's answer to a name without an owner
    with pytest.raises(RepositoryNotFoundError, match=r"'dinov9-x'.* Short names are dinov2-small"):
        fetch_dinov3(tmp_path / "d", "dinov9-x")
    with pytest.raises(RevisionNotFoundError, match="no branch, tag or commit 'v9'"):
        fetch_dinov3(tmp_path / "d", "dinov2-small", revision="v9")
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("name", ["", " ", ".", "../x", "/abs/x", "a/b/c", "a/b?x=1"])
def test_fetch_dinov3__invalid_names(hub, tmp_path, name):
    with pytest.raises(CheckpointNotFoundError, match="nor a valid name of a Hub repository"):
        fetch_dinov3(tmp_path / "d", name)
    assert hub.asked == []


def test_fetch_dinov3__current_folder(hub, tmp_path, small, monkeypatch):
    hub.add("facebook/dinov2-small", small)
    fetch_dinov3("d", "dinov2-small")
    monkeypatch.chdir(tmp_path / "d")
    assert (
        fetch_dinov3(".", "dinov2-small") == tmp_path / "d"
    )  # already whole: nothing is exchanged
    assert validate_dinov3(".")


def test_fetch_dinov3__ignores_a_folder_of_the_models_name(hub, tmp_path, small):
    (tmp_path / "facebook" / "dinov2-small").mkdir(parents=True)
    hub.add("facebook/dinov2-small", small)
    fetch_dinov3("d", "facebook/dinov2-small")
    assert validate_dinov3(tmp_path / "d")


@pytest.mark.parametrize("hides_listing", [True, False])
@pytest.mark.parametrize(
    ("token", "granted", "text"),
    [
        (None, None, "no token was sent"),
        (TOKEN, None, "the token was rejected"),
        (TOKEN, [], "but has no access"),
    ],
)
def test_fetch_dinov3__gated(
    hub, tmp_path, small, monkeypatch, caplog, hides_listing, token, granted, text
):
    caplog.set_level(logging.DEBUG)
    hub.add("facebook/dinov2-small", small, is_gated=True, hides_listing=hides_listing)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    if granted is not None:
        hub.grant(token)
    with pytest.raises(AuthenticationError, match=text) as caught:
        fetch_dinov3(tmp_path / "d", "dinov2-small")
    assert isinstance(caught.value, HfHubHTTPError)
    assert TOKEN not in str(caught.value) + caplog.text
    assert not (tmp_path / "d").exists()
    assert not any(path.stat().st_size for path in tmp_path.rglob("*.part"))


def test_fetch_dinov3__writes_the_token_nowhere(hub, tmp_path, small, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    hub.add("facebook/dinov2-small", small, is_gated=True)
    hub.grant(TOKEN, "facebook/dinov2-small")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    folder = fetch_dinov3(tmp_path / "d", "dinov2-small")
    assert validate_dinov3(folder)
    assert {request.token for request in hub.asked if request.host == "127.0.0.1"} == {
        f"Bearer {TOKEN}"
    }
    assert not any(request.token for request in hub.asked if request.host == "localhost")
    assert TOKEN not in caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert folder / RECORD in files
    assert not any(TOKEN.encode() in path.read_bytes() for path in files)


def test_fetch_dinov3__another_family_changes_nothing(hub, tmp_path, small):
    hub.add("facebook/dinov2-small", small)
    fetch_dinov3(tmp_path / "d", "dinov2-small")
    hub.add("org/bert", small | {"config.json": b'{"model_type": "bert"}'})
    with raising(InvalidCheckpointError, key="model_type", reason="unsupported"):
        fetch_dinov3(tmp_path / "d", "org/bert")
    assert validate_dinov3(tmp_path / "d")
    assert json.loads((tmp_path / "d" / RECORD).read_bytes())["repo"] == "facebook/dinov2-small"
    assert not (tmp_path / ".d.fetching").exists()


def copy(small: dict[str, Path], folder: Path) -> Path:
    folder.mkdir()
    for name, path in small.items():
        shutil.copy(path, folder / name)
    return folder


def test_validate_dinov3__without_a_record(small, tmp_path, caplog):
    assert validate_dinov3(str(copy(small, tmp_path / "d")))
    assert caplog.text == ""
    assert not validate_dinov3(tmp_path / "nowhere")
    assert "there is no checkpoint directory" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("config.json", b"{", "config.json is not JSON"),
        ("preprocessor_config.json", b"\xff", "preprocessor_config.json is not JSON"),
        ("config.json", None, "config.json is missing"),
        (WEIGHTS, None, "model.safetensors is missing"),
        (WEIGHTS, b"\x00\x01", "not a whole safetensors file"),
        (WEIGHTS, b"\x02" + b"\x00" * 7 + b"{}more", "is not a whole safetensors file"),
    ],
)
def test_validate_dinov3__broken(small, tmp_path, caplog, name, content, text):
    folder = copy(small, tmp_path / "d")
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    assert not validate_dinov3(folder)
    assert text in caplog.text


@pytest.mark.parametrize("kind", ["truncated", "removed"])
def test_validate_dinov3__detects_truncation_without_a_record(small, tmp_path, kind):
    folder = copy(small, tmp_path / "d")
    damage(folder / WEIGHTS, kind)
    assert not validate_dinov3(folder)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("hidden_size", 768, "the weights have (384, 3, 14, 14)"),
        ("patch_size", 16, "describes patch embedding (384, 3, 16, 16)"),
        ("num_hidden_layers", 12, "describes 12 layers, but the weights have 1"),
        (
            "num_register_tokens",
            4,
            "describes register tokens (1, 4, 384), but the weights have none",
        ),
        ("model_type", "vit", "has model_type='vit'"),
        ("num_attention_heads", 7, "384"),
        ("mlp_ratio", 2, "the weights have (384, 384)"),
        ("image_size", 224, "1370"),
    ],
)
def test_validate_dinov3__contradicting_shapes(small, tmp_path, caplog, field, value, text):
    folder = copy(small, tmp_path / "d")
    config = json.loads((folder / "config.json").read_bytes()) | {field: value}
    (folder / "config.json").write_text(json.dumps(config))
    assert not validate_dinov3(folder)
    assert text in caplog.text


def test_validate_dinov3__missing_tensor(small, tmp_path, caplog):
    """transformers would fill it with random numbers."""
    folder = copy(small, tmp_path / "d")
    tensors = load_file(folder / WEIGHTS)
    name = next(name for name in tensors if "fc1.weight" in name)
    del tensors[name]
    save_file(tensors, folder / WEIGHTS)
    assert not validate_dinov3(folder)
    assert name in caplog.text


def test_validate_dinov3__missing_shard(tmp_path, caplog):
    folder = tmp_path / "d"
    write_one_layer("facebook/dinov2-large", folder)
    assert validate_dinov3(folder)
    next(folder.glob("model-*.safetensors")).unlink()
    assert not validate_dinov3(folder)
    assert "1 are missing" in caplog.text


@pytest.mark.parametrize(
    ("name", "reason", "text"),
    [
        ("", "", "give a folder"),
        (" ", "", "give a folder"),
        ("~nosuchuser/x", "path", "there is no such user"),
        ("a\0b", "path", "zero byte"),
        ("a\ud800b", "path", "characters that no file name has"),
        ("x" * 300, "path", "too long"),
        ("x/" * 3000, "path", "too long"),
        ("loop", "path", "no checkpoint directory 'loop'"),
        ("loop/x", "path", "no checkpoint directory"),
    ],
)
def test_validate_dinov3__invalid_folders(tmp_path, caplog, name, reason, text):
    (tmp_path / "loop").symlink_to("loop")
    assert not validate_dinov3(name)
    assert text in caplog.text
    with raising(ConfigError, reason=reason):
        fetch_dinov3(name)


def test_validate_dinov3__folder_without_permission(small, caplog):
    if os.geteuid() != 0:
        pytest.skip("becoming somebody else needs root")
    place = Path(tempfile.mkdtemp(prefix="somebody-"))
    try:
        place.chmod(0o755)
        folder = copy(small, place / "d")
        for path in folder.iterdir():
            path.chmod(0o644)
        # Whatever is imported on the way is imported now: nobody may not read it, and Python
        # remembers for ever that an encoding was not to be had.
        assert validate_dinov3(folder)
        os.seteuid(65534)
        try:
            assert validate_dinov3(folder)
            for closed in (folder / WEIGHTS, folder / "config.json", folder, place):
                os.seteuid(0)
                mode = closed.stat().st_mode
                closed.chmod(0)
                os.seteuid(65534)
                caplog.clear()
                assert not validate_dinov3(folder)
                assert "not valid: " in caplog.text
                os.seteuid(0)
                closed.chmod(mode)
        finally:
            os.seteuid(0)
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize(
    "text",
    [
        '{"repo": "a/b", "commit": "c", "files": [{"name": "x", "bytes": Infinity, "digest": "0"}]}',
        "[" * 100_000,
        '{"files": ' * 5000,
        "\ufeff{}",
    ],
)
def test_validate_dinov3__invalid_record(small, tmp_path, text):
    folder = copy(small, tmp_path / "d")
    (folder / RECORD).write_text(text)
    assert validate_dinov3(folder)  # like a folder without a record


def test_validate_dinov3__a_billion_layers_need_no_memory(small, tmp_path):
    folder = copy(small, tmp_path / "d")
    for layers in (10**6, 10**9):
        changed_config = json.loads((folder / "config.json").read_bytes()) | {
            "num_hidden_layers": layers
        }
        (folder / "config.json").write_text(json.dumps(changed_config))
        assert not validate_dinov3(folder)


def config(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "sub" / "config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_fetcher_config__paths_are_relative_to_the_file(tmp_path, monkeypatch):
    settings = {
        "paths": {"dataset_root": "photos"},
        "train": {"dino_root": "models/d", "dino_model": "dinov3-vits16"},
    }
    path = config(tmp_path, settings)
    config_read = FetcherConfig.read(path)
    assert config_read == FetcherConfig(tmp_path / "sub" / "models" / "d", "dinov3-vits16")
    monkeypatch.chdir(path.parent)
    assert FetcherConfig.read(Path("config.json")) == config_read
    assert FetcherConfig.read(config(tmp_path, {"train": {"dino_root": "/d"}})) == FetcherConfig(
        Path("/d"), DEFAULT_TEACHER
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FetcherConfig.read(config(tmp_path, {"train": {"dino_root": "~/d"}})).dino_root == (
        tmp_path / "d"
    )


@pytest.mark.parametrize(
    ("content", "setting", "reason"),
    [
        ("{", "config", "json"),
        ("[" * 100_000, "config", "json"),
        ([], "train.dino_root", "type"),
        ({"train": []}, "train.dino_root", "type"),
        ({"train": {"dino_root": 7}}, "train.dino_root", "type"),
        ({"train": {"dino_root": ""}}, "train.dino_root", "type"),
        ({"train": {"dino_root": " "}}, "train.dino_root", "type"),
        ({"train": {"dino_root": "~nosuchuser"}}, "train.dino_root", "path"),
        ({"train": {"dino_root": "a\0"}}, "train.dino_root", "path"),
        ({"train": {"dino_root": "\ud800"}}, "train.dino_root", "path"),
        ('{"train": {"dino_root": ' + "[" * 900 + "]" * 900 + "}}", "train.dino_root", "type"),
        ({"train": {"dino_root": "d", "dino_model": 7}}, "train.dino_model", "type"),
    ],
)
def test_fetcher_config__invalid_content(tmp_path, content, setting, reason):
    path = config(tmp_path, content)
    with raising(ConfigError, setting=setting, reason=reason, match=str(path)):
        FetcherConfig.read(path)


def test_fetcher_config__missing_file(tmp_path):
    for path in (tmp_path / "no.json", tmp_path):
        with raising(ConfigError, setting="config", value=str(path), reason="unreadable"):
            FetcherConfig.read(path)


def test_lazy_names():
    assert dino_assets.fetch_dinov3 is fetch_dinov3
    assert dino_assets.validate_dinov3 is validate_dinov3
    assert {"fetch_dinov3", "validate_dinov3"} <= set(dir(dino_assets))
    with pytest.raises(AttributeError, match="no attribute 'fetch_dinov4'"):
        _ = dino_assets.fetch_dinov4


@pytest.mark.parametrize(
    ("line", "heavy"),
    [
        ("import dino_assets", ["torch", "transformers", "huggingface_hub", "dagster", "numpy"]),
        ("from dino_assets import fetch_dinov3, validate_dinov3", ["torch", "dagster"]),
    ],
)
def test_imports__stay_light(line, heavy):
    code = f"import sys; {line}; print([n for n in {heavy} if n in sys.modules])"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"

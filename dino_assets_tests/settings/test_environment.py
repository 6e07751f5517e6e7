"""Settings from the environment and `.env`, and which value is used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dino_assets.errors import ConfigError
from dino_assets.settings.environment import (
    DEFAULT_MODEL,
    dagster_home,
    environment_with,
    find_root,
    is_in_environment,
    load_settings,
    normalise_endpoint,
    resolve_storage,
)
from dino_assets_tests.worlds.raising import raising

AZURE = "AccountName=acc;AccountKey=c2VjcmV0LWtleQ==;EndpointSuffix=core.windows.net"


Variables = dict[str, str]


# --- defaults and precedence --------------------------------------------------------------


def test_load_settings__defaults(tmp_path: Path):
    settings = load_settings(tmp_path)
    assert (settings.root, settings.model, settings.inbox, settings.device) == (
        tmp_path, "facebook/dinov2-base", "inbox", "auto",
    )  # fmt: skip
    assert (settings.storage.url, settings.storage.root, settings.storage.endpoint) == (
        "data", tmp_path, None,
    )  # fmt: skip
    assert DEFAULT_MODEL == "facebook/dinov2-base"


@pytest.mark.parametrize(
    ("variable", "field", "value"),
    [
        ("DINO_MODEL_ID", "model", "facebook/dinov2-giant"),
        ("DINO_INBOX", "inbox", "/mnt/cards"),
        ("DINO_DEVICE", "device", "cuda"),
    ],
)
def test_load_settings__plain_variables(given, variable: str, field: str, value: str):
    assert getattr(load_settings(given(**{variable: value})), field) == value


def test_load_settings__days_without_a_flight(given):
    assert load_settings(given()).flight_days == 30
    assert load_settings(given(DINO_FLIGHT_DAYS="7")).flight_days == 7
    with raising(ConfigError, setting="DINO_FLIGHT_DAYS", reason="value"):
        load_settings(given(DINO_FLIGHT_DAYS="0"))


def test_load_settings__environment_and_dotenv_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".env").write_text("DINO_INBOX=from-dotenv\n")
    monkeypatch.setenv("DINO_MODEL_ID", "from/environment")
    settings = load_settings(tmp_path)
    assert (settings.model, settings.inbox) == ("from/environment", "from-dotenv")


def test_load_settings__reads_the_projects_dotenv_from_a_subfolder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "dagster.yaml").touch()
    (tmp_path / ".env").write_text("DINO_INBOX=here\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / ".env").write_text("DINO_INBOX=elsewhere\n")
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert (load_settings().inbox, load_settings().root) == ("here", tmp_path)


@pytest.mark.parametrize(
    "variable",
    [
        "DINO_STORAGE",
        "DINO_MODEL_ID",
        "USE_MINIO",
        "MINIO_ENDPOINT",
        "MINIO_ACCESS_KEY",
        "EMBED_BUCKET",
    ],
)
def test_load_settings__empty_counts_as_unset(given, variable: str):
    root = given(**{variable: ""})
    assert load_settings(root).storage.url == "data"
    assert load_settings(root).model == DEFAULT_MODEL


def test_load_settings__empty_in_the_environment_does_not_override_dotenv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".env").write_text("DINO_INBOX=from-dotenv\n")
    monkeypatch.setenv("DINO_INBOX", "")
    assert load_settings(tmp_path).inbox == "from-dotenv"


def test_load_settings__dotenv_with_foreign_lines(tmp_path: Path):
    (tmp_path / ".env").write_text("# note\nexport DINO_INBOX='a b' # c\nOTHER=1\ndino_inbox=no\n")
    assert load_settings(tmp_path).inbox == "a b"


# --- S3 -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variables",
    [
        {"USE_MINIO": "true"},
        {"USE_MINIO": "1"},
        {"MINIO_ENDPOINT": "localhost:9000"},
        {"MINIO_ACCESS_KEY": "minioadmin"},
        {"MINIO_SECRET_KEY": "minioadmin"},
        {"MINIO_REGION": "us-east-1"},
    ],
)
def test_load_settings__any_minio_variable_selects_s3(given, variables: Variables):
    storage = load_settings(given(**variables)).storage
    assert (storage.url, storage.endpoint) == ("minio://embeds", "http://localhost:9000")
    assert (storage.access_key, storage.secret_key) == ("minioadmin", "minioadmin")
    assert storage.region == "us-east-1"


def test_load_settings__all_minio_variables(given):
    root = given(
        MINIO_ENDPOINT="https://s3.example.org/",
        MINIO_ACCESS_KEY="an-access-key",
        MINIO_SECRET_KEY="a-secret-key",
        MINIO_REGION="eu-west-1",
        EMBED_BUCKET="tiles",
    )
    storage = load_settings(root).storage
    assert (storage.url, storage.endpoint) == ("minio://tiles", "https://s3.example.org")
    assert (storage.access_key, storage.secret_key) == ("an-access-key", "a-secret-key")
    assert storage.region == "eu-west-1"


def test_load_settings__bucket_name_alone_selects_the_local_store(given):
    assert load_settings(given(EMBED_BUCKET="tiles")).storage.url == "data"


@pytest.mark.parametrize(
    ("endpoint", "normal"),
    [
        ("localhost:9000", "http://localhost:9000"),
        ("http://localhost:9000", "http://localhost:9000"),
        ("https://s3.example.org/", "https://s3.example.org"),
        ("10.0.0.7:9000/", "http://10.0.0.7:9000"),
    ],
)
def test_normalise_endpoint__with_and_without_scheme(endpoint: str, normal: str):
    assert normalise_endpoint(endpoint) == normal


def test_load_settings__s3_url_with_minio_variables_goes_to_their_server(given):
    root = given(DINO_STORAGE="s3://lake/x", MINIO_ENDPOINT="store:9000")
    storage = load_settings(root).storage
    assert (storage.url, storage.endpoint) == ("s3://lake/x", "http://store:9000")
    assert storage.access_key == "minioadmin"


def test_load_settings__s3_url_takes_the_aws_variables(given):
    root = given(
        DINO_STORAGE="s3://lake",
        AWS_ACCESS_KEY_ID="an-access-key",
        AWS_SECRET_ACCESS_KEY="a-secret-key",
        AWS_SESSION_TOKEN="a-token",
        AWS_DEFAULT_REGION="eu-central-1",
        AWS_ENDPOINT_URL="https://r2.example.org",
        AWS_PROFILE="lab",
    )
    storage = load_settings(root).storage
    assert (storage.access_key, storage.secret_key) == ("an-access-key", "a-secret-key")
    assert (storage.session_token, storage.region) == ("a-token", "eu-central-1")
    assert (storage.endpoint, storage.profile) == ("https://r2.example.org", "lab")


def test_load_settings__plain_s3_gets_no_default_password(given):
    storage = load_settings(given(DINO_STORAGE="s3://lake")).storage
    assert (storage.access_key, storage.secret_key, storage.endpoint) == (None, None, None)


# --- Azure, and which address is used -----------------------------------------------------


def test_load_settings__use_minio_false_selects_azure(given):
    root = given(USE_MINIO="false", AZURE_STORAGE_CONNECTION_STRING=AZURE, EMBED_BUCKET="tiles")
    storage = load_settings(root).storage
    assert (storage.url, storage.azure_connection_string) == ("az://tiles", AZURE)
    assert storage.access_key is None


def test_load_settings__azure_needs_its_connection_string(given):
    with raising(ConfigError, reason="credentials"):
        load_settings(given(USE_MINIO="false"))


@pytest.mark.parametrize("variable", ["MINIO_ENDPOINT", "MINIO_SECRET_KEY"])
def test_load_settings__refuses_use_minio_false_with_minio_variables(given, variable: str):
    values = {"USE_MINIO": "false", variable: "sesame", "AZURE_STORAGE_CONNECTION_STRING": AZURE}
    with raising(ConfigError, reason="contradiction", hides="sesame"):
        load_settings(given(**values))


@pytest.mark.parametrize(
    "variables", [{"USE_MINIO": "true"}, {"USE_MINIO": "false"}, {"MINIO_ENDPOINT": "x"}]
)
def test_load_settings__dino_storage_overrides_the_other_variables(given, variables: Variables):
    storage = load_settings(given(DINO_STORAGE="/mnt/results", **variables)).storage
    assert (storage.url, storage.endpoint, storage.access_key) == ("/mnt/results", None, None)


def test_load_settings__connection_string_alone_selects_the_local_store(given):
    storage = load_settings(given(AZURE_STORAGE_CONNECTION_STRING=AZURE)).storage
    assert (storage.url, storage.azure_connection_string) == ("data", None)


def test_resolve_storage__address_overrides_the_configured_one(given):
    root = given(DINO_STORAGE="results", MINIO_ENDPOINT="store:9000")
    assert resolve_storage("minio://cards/june", root=root).endpoint == "http://store:9000"
    assert resolve_storage("elsewhere", root=root).url == "elsewhere"
    assert resolve_storage(None, root=root).url == "results"


@pytest.mark.parametrize("url", ["memory://", "memory://x"])
def test_load_settings__refuses_memory(given, url: str):
    with raising(ConfigError, reason="memory"):
        load_settings(given(DINO_STORAGE=url))


# --- invalid values, and secrets ----------------------------------------------------------


def test_load_settings__not_a_boolean(given):
    with raising(ConfigError, setting="USE_MINIO", reason="value"):
        load_settings(given(USE_MINIO="maybe"))


def test_load_settings__dotenv_is_not_utf8(tmp_path: Path):
    (tmp_path / ".env").write_bytes(b"MINIO_SECRET_KEY=sesame\nDINO_INBOX=caf\xe9\n")
    with raising(ConfigError, reason="encoding") as caught:
        load_settings(tmp_path)
    assert caught.value.__cause__ is None  # the decoder's error contains the whole file
    assert caught.value.__suppress_context__


def test_load_settings__repr_shows_no_secrets(given):
    secrets = {
        "MINIO_ACCESS_KEY": "sesame-1",
        "MINIO_SECRET_KEY": "sesame-2",
        "AWS_ACCESS_KEY_ID": "sesame-3",
        "AWS_SECRET_ACCESS_KEY": "sesame-4",
        "AWS_SESSION_TOKEN": "sesame-5",
        "AZURE_STORAGE_CONNECTION_STRING": "sesame-6",
    }
    root = given(**secrets)
    for url in ("minio://embeds", "s3://embeds", "az://embeds", "data"):
        assert "sesame" not in repr(resolve_storage(url, root=root))
        assert "sesame" not in str(load_settings(root))


def test_load_settings__validation_errors_show_no_secrets(given):
    with raising(ConfigError, hides="sesame") as caught:
        load_settings(given(MINIO_SECRET_KEY="sesame", USE_MINIO="sesame"))
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"MINIO_ENDPOINT": "http://sesame:sesame@host:9000"}, "endpoint"),
        ({"MINIO_ENDPOINT": "sesame:sesame@host:9000"}, "endpoint"),
        ({"MINIO_ENDPOINT": "http://host:9000?sesame"}, "endpoint"),
        ({"DINO_STORAGE": "s3://lake", "AWS_ENDPOINT_URL": "http://a:sesame@host"}, "endpoint"),
        ({"DINO_STORAGE": "s3://sesame:sesame@bucket/x"}, "credentials"),
        ({"DINO_STORAGE": "az://cont?sig=sesame"}, "credentials"),
        ({"DINO_STORAGE": "https://a.net/c?sig=sesame"}, "credentials"),
        ({"DINO_INBOX": "s3://sesame:sesame@bucket/in"}, "credentials"),
    ],
)
def test_load_settings__refuses_secrets_in_addresses_without_showing_them(
    given, values, reason: str
):
    with raising(ConfigError, reason=reason, hides="sesame") as caught:
        load_settings(given(AZURE_STORAGE_CONNECTION_STRING=AZURE, **values))
    assert caught.value.__context__ is None


def test_resolve_storage__refuses_secrets_in_addresses_without_showing_them(tmp_path: Path):
    with raising(ConfigError, reason="credentials", hides="sesame"):
        resolve_storage("s3://sesame:sesame@cards/x", root=tmp_path)


@pytest.mark.parametrize("text", ["pa${x}sesame", "'pa${x}sesame'", '"pa${x:-1}sesame"'])
def test_load_settings__refuses_interpolation_in_dotenv(tmp_path: Path, text: str):
    # `dagster dev` loads .env, too, and would use `pasesame`.
    (tmp_path / ".env").write_text(f"OTHER=1\nMINIO_SECRET_KEY={text}\nAWS_DEFAULT_REGION=${{x}}\n")
    names = "MINIO_SECRET_KEY, AWS_DEFAULT_REGION"
    with raising(ConfigError, setting=names, reason="interpolation", hides="sesame"):
        load_settings(tmp_path)


def test_load_settings__dotenv_with_harmless_dollar_signs(tmp_path: Path):
    (tmp_path / ".env").write_text("# ${x}\nOTHER=${x}\nMINIO_SECRET_KEY='$pa$x{s}'\n")
    assert load_settings(tmp_path).storage.secret_key == "$pa$x{s}"


# --- folders and the process environment --------------------------------------------------


def test_find_root__nearest_parent_with_dagster_yaml(tmp_path: Path):
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    assert find_root(folder) == folder
    (tmp_path / "dagster.yaml").touch()
    assert find_root(folder) == tmp_path
    (tmp_path / "a" / "dagster.yaml").touch()
    assert find_root(folder) == tmp_path / "a"
    (folder / "dagster.yaml").mkdir()  # a folder with that name does not count
    assert find_root(folder) == tmp_path / "a"


def test_find_root__dagster_home_only_without_dagster_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    assert find_root(tmp_path) == dagster_home() == tmp_path / "home"
    (tmp_path / "dagster.yaml").touch()
    assert find_root(tmp_path) == tmp_path


def test_dagster_home__empty_counts_as_unset(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DAGSTER_HOME", "")
    assert dagster_home() is None


def test_is_in_environment__dotenv_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / ".env").write_text("MINIO_ACCESS_KEY=x\n")
    assert not is_in_environment("MINIO_ACCESS_KEY")
    monkeypatch.setenv("MINIO_ACCESS_KEY", "")
    assert not is_in_environment("MINIO_ACCESS_KEY")
    monkeypatch.setenv("MINIO_ACCESS_KEY", "x")
    assert is_in_environment("MINIO_ACCESS_KEY")


def test_environment_with__does_not_change_the_process_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DINO_INBOX", "a")
    environment = environment_with(DINO_INBOX="b", DAGSTER_HOME="h")
    assert (environment["DINO_INBOX"], environment["DAGSTER_HOME"]) == ("b", "h")
    assert os.environ["DINO_INBOX"] == "a"
    assert "PATH" in environment


def test_load_settings__refuses_dotenv_that_contradicts_the_environment(tmp_path, monkeypatch):
    """In Dagster's commands .env overrides the environment, elsewhere it is the reverse."""
    (tmp_path / ".env").write_text("DINO_MODEL_ID=models/demo\nOTHER=1\n")
    monkeypatch.setenv("OTHER", "2")
    monkeypatch.setenv("DINO_MODEL_ID", "models/demo")
    assert load_settings(tmp_path).model == "models/demo"
    monkeypatch.setenv("DINO_MODEL_ID", "facebook/dinov2-base")
    for value in ("models/demo", ""):
        (tmp_path / ".env").write_text(f"DINO_MODEL_ID={value}\n")
        with raising(ConfigError, reason="disagreement") as caught:
            load_settings(tmp_path)
        # The message shows both values and where each comes from.
        for text in ("facebook/dinov2-base", value or "empty", str(tmp_path / ".env")):
            assert text in str(caught.value)


@pytest.mark.parametrize(
    ("name", "here", "there"),
    [
        ("MINIO_SECRET_KEY", "hush-one", "hush-two"),
        ("HF_TOKEN", "hf_hush", "hf_other"),
        ("HF_ENDPOINT", "https://me:hush@one.example", "https://me:hush@two.example"),
    ],
)
def test_load_settings__contradiction_shows_no_secret(tmp_path, monkeypatch, name, here, there):
    (tmp_path / ".env").write_text(f"{name}={there}\n")
    monkeypatch.setenv(name, here)
    with raising(ConfigError, hides="hush", reason="disagreement", setting=name) as caught:
        load_settings(tmp_path)
    assert "hush" not in str(caught.value.value)
    assert there not in str(caught.value)


def test_load_settings__refuses_an_export_that_dagster_overwrote(tmp_path):
    """Inside Dagster's commands, values of .env have replaced exported ones in the environment."""
    (tmp_path / ".env").write_text("DINO_MODEL_ID=models/demo\n")
    script = """
import os
os.environ["DINO_MODEL_ID"] = "models/demo"  # as dagster does
from dino_assets.settings.environment import load_settings
load_settings()
"""
    for model, code in (("models/demo", 0), ("facebook/dinov2-base", 1)):
        process = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "DINO_MODEL_ID": model},
        )
        assert process.returncode == code, process.stderr
        assert ("'facebook/dinov2-base' in the environment" in process.stderr) == bool(code)


# --- roots of lists -----------------------------------------------------------------------


def test_load_settings__image_roots(given, tmp_path: Path):
    folders = os.pathsep.join(
        ["/mnt/photos", " archive ", "", "../far", "/mnt/photos", "~/pictures"]
    )
    assert load_settings(given(DINO_IMAGE_ROOTS=folders)).image_roots == (
        Path("/mnt/photos"),
        tmp_path / "archive",
        tmp_path / ".." / "far",
        Path.home() / "pictures",
    )


@pytest.mark.parametrize("value", ["", os.pathsep])
def test_load_settings__no_image_roots(given, value: str):
    assert load_settings(given(DINO_IMAGE_ROOTS=value)).image_roots == ()


def test_load_settings__image_roots_of_an_unknown_user(given):
    with raising(ConfigError, setting="DINO_IMAGE_ROOTS", reason="path"):
        load_settings(given(DINO_IMAGE_ROOTS="~nobody-of-this-name/x"))

"""Folder of the demo: a separate project with its store, instance, inbox, model and results.

No ``.env`` names this folder. So the demo does not touch a person's own work, and the person's settings do
not change the demo.
"""

from importlib.resources import files
from pathlib import Path

from dino_assets.errors import ConfigError
from dino_assets.settings.environment import DEFAULT_STORAGE, environment_with
from dino_assets.settings.records import Settings, StorageSettings

FOLDER = "demo"
MODEL, INBOX, OUT = "models/demo", "inbox", "out"
INSTANCE = "dagster.yaml"
_FILES = (INSTANCE, "workspace.yaml")


def settings_of_demo(settings: Settings) -> Settings:
    """Make the demo's settings. Only the root folder and the device come from the person's ``settings``."""
    root = settings.root if is_demo(settings.root) else settings.root / FOLDER
    return Settings(
        root=root,
        storage=StorageSettings(url=DEFAULT_STORAGE, root=root),
        model=MODEL,
        inbox=INBOX,
        device=settings.device,
    )


def environment_of_demo(demo: Settings) -> dict[str, str]:
    """Make the environment for the demo's processes, independent of this process's settings.

    Empty variables count as unset, and ``DINO_STORAGE`` overrides all others that name a store.
    """
    return environment_with(
        DAGSTER_HOME=str(demo.root),
        DINO_STORAGE=demo.storage.url,
        DINO_MODEL_ID=demo.model,
        DINO_MODEL_REVISION="",
        DINO_INBOX=demo.inbox,
        DINO_IMAGE_ROOTS="",
        DINO_DEVICE=demo.device,
    )


def is_demo(folder: Path) -> bool:
    """Check whether a folder is the demo's, by the first line of its ``dagster.yaml``."""
    file = folder / INSTANCE
    mark = _read(INSTANCE).partition("\n")[0]
    return file.is_file() and file.read_text(errors="replace").startswith(mark)


def make_demo_folder(demo: Settings) -> None:
    """Make the demo's folder in a project's folder, unless it exists.

    Raises:
        ConfigError: the parent is not a project's folder, or the folder holds other files.
    """
    root = demo.root
    if not is_demo(root):
        if not (root.parent / INSTANCE).is_file():
            raise ConfigError(
                f"there is no {INSTANCE} in {str(root.parent)!r}. Run this in the project's folder.",
                setting="root",
                value=str(root.parent),
                reason="no-instance",
            )
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise ConfigError(
                f"{str(root)!r} holds files that the demo did not write. Move them away: the demo needs a "
                "folder of this name for its files.",
                setting="folder",
                value=str(root),
                reason="occupied",
            )
    root.mkdir(exist_ok=True)
    for name in _FILES:  # the first one marks the folder as the demo's
        if not (root / name).is_file() or (root / name).read_text() != _read(name):
            (root / name).write_text(_read(name))


def _read(name: str) -> str:
    return (files("dino_assets.demo") / "project" / name).read_text(encoding="utf-8")

"""Check of the current folder, so that no command makes a new store outside of a project."""

from dino_assets.errors import ConfigError
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path


def check_project(settings: Settings) -> None:
    """Check that the store's folder exists already, or would be made in a project's folder.

    A bucket and a folder with an absolute path are not checked.

    Raises:
        ConfigError: there is neither a project nor a store here.
    """
    address = settings.storage.url
    folder = settings.root / address
    is_here = "://" not in address and not expand_path(address).is_absolute()
    if is_here and not folder.is_dir() and not (settings.root / "dagster.yaml").is_file():
        raise ConfigError(
            f"there is no project in {str(settings.root)!r}: neither a dagster.yaml nor a folder "
            f"{address!r}. Run this in the project's folder, or set DINO_STORAGE.",
            setting="DINO_STORAGE",
            value=address,
            reason="no-project",
        )

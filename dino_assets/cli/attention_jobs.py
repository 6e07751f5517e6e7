"""Jobs of the command ``attention``: which photographs each file shows. Reading of ``--debias``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dino_assets.errors import ConfigError
from dino_assets.settings.urls import expand_path

if TYPE_CHECKING:
    from dino_assets.api.patch_references import Debias

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class AttentionJob:
    """One or more photographs, and the file that will show them."""

    images: tuple[str, ...]
    target: Path

    @property
    def name(self) -> str:
        """The photograph, or the number of photographs, for a line of output."""
        return self.images[0] if len(self.images) == 1 else f"{len(self.images)} photographs"


def plan_jobs(
    images: Sequence[str], output: str, *, ending: str, joins: bool
) -> list[AttentionJob]:
    """Plan one file per photograph or, with ``joins``, one file for all photographs.

    If ``output`` is a folder, each file is named after its photograph, followed by ``ending``. If
    photographs in different folders have the same name, the names of these folders are put in front.

    Raises:
        ConfigError: the output is one file, but there are several photographs.
    """
    target = expand_path(output)
    is_folder = target.is_dir() or output.endswith("/") or not target.suffix
    if joins and len(images) > 1:
        return [AttentionJob(tuple(images), target / f"all{ending}" if is_folder else target)]
    if is_folder:
        names = _name_apart(images)
        return [
            AttentionJob((image,), target / f"{name}{ending}")
            for image, name in zip(images, names, strict=True)
        ]
    if len(images) > 1:
        raise ConfigError(
            f"{output!r} is one file, but there are {len(images)} photographs: name a folder instead, "
            "with a slash at the end",
            setting="output",
            value=output,
        )
    return [AttentionJob((images[0],), target)]


def _name_apart(images: Sequence[str]) -> list[str]:
    """Make unique names for photographs: equal names get their folders in front, equal paths get numbers."""
    paths = [expand_path(image).absolute() for image in images]
    names = [path.name for path in paths]
    for depth in range(2, max(len(path.parts) for path in paths)):
        if len(set(names)) == len(names):
            break
        names = [
            "-".join(path.parts[-depth:]) if names.count(name) > 1 else name
            for path, name in zip(paths, names, strict=True)
        ]
    return [
        name if names.index(name) == at else f"{name}-{names[:at].count(name) + 1}"
        for at, name in enumerate(names)
    ]


def find_references(debias: str | None) -> "Debias | None":
    """Read the value of ``--debias``; return its word (``noise``, ``blank``), its folder's pictures, or None.

    Raises:
        ConfigError: the value is neither of these words, nor a folder with pictures.
    """
    if debias is None or debias == "noise" or debias == "blank":
        return debias
    folder = expand_path(debias)
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    pictures = [
        path
        for path in files
        if path.suffix.lower() in _ENDINGS and not path.name.startswith(".") and path.is_file()
    ]
    if not pictures:
        raise ConfigError(
            f"--debias is {debias!r}; expected 'noise', 'blank' or a folder with photographs",
            setting="debias",
            value=debias,
        )
    return pictures

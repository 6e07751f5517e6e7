"""Settings of a labels version; a command reads them without numpy."""

from dataclasses import dataclass

from dino_assets.settings.described import described


@dataclass(frozen=True)
class VersionSettings:
    """What a user says about a labels version; part of its id."""

    title: str = described("Labels", "Title of the data, such as Smoke over ridges")
    licence: str = described("", "Licence of the data, such as CC-BY-4.0")
    creator: str = described("", "Person or team that publishes the labels")
    url: str = described("", "Address at which the labels are published")

"""What a person reads above the findings of a kind, and what to do about them."""

from dino_assets.images.report.findings import Kind

ADVICE: dict[Kind, tuple[str, str]] = {
    "quarantined": (
        "Files that cannot be used",
        "Copy them from the card again; what stays broken is left out and costs nothing.",
    ),
    "wrong-year": (
        "Dates that cannot be right",
        "Set the camera's clock before the next flight. Do not split these pictures by date.",
    ),
    "no-time": (
        "No time of capture",
        "Were they edited or exported? Take the originals: sorting by time and hand-over need it.",
    ),
    "no-gps": (
        "No position",
        "They can be labelled, but not put on a map. Check GPS lock before take-off.",
    ),
    "no-place": (
        "Position known, ground not",
        "They can be labelled; their tiles get no place on the ground, and no scale.",
    ),
    "far": (
        "Far from the rest",
        "Do they belong to another drop? More than 20 km from the middle of this one: if not, the receiver "
        "was wrong, and so is their place on the map.",
    ),
    "turned": (
        "Turned after they were taken",
        "Nothing to do: photographs that overlap prove how they were turned, and their places are mended. "
        "Their pixels stay as they are in the file.",
    ),
    "edited": (
        "Changed after they were taken",
        "Take the originals from the card. One that was turned or cropped in a viewer keeps the angles of "
        "before: its labels are right, the places of its tiles may not be. Where no overlapping photograph "
        "settles it, its place_quality begins with edited.",
    ),
    "blurred": (
        "Softer than the rest",
        "Look at them at full size: blurred ones are not worth a label. Fly slower, or with a shorter "
        "exposure. One of calm water, sand, snow or fog is soft, too; several of these are not listed.",
    ),
    "dark": (
        "Too dark",
        "Look whether anything can be told apart. Taken in shadow, at dusk, or with the lens covered?",
    ),
    "bright": (
        "Too bright",
        "Look whether anything can be told apart. White areas hold no detail to label.",
    ),
    "duplicate": (
        "The same file twice",
        "Nothing to do: it is embedded once. Was a card copied twice?",
    ),
    "near-duplicate": (
        "Pictures that look the same",
        "Label one of each group: every picture is listed with the first one that it looks like, on the "
        "same ground. The selection spreads its choice and seldom takes two.",
    ),
    "gap": (
        "Numbers missing in a series",
        "Were files deleted, or is a folder of the card missing? Look before you erase the card.",
    ),
    "roll-over": (
        "The counter began anew",
        "Nothing to do: names that repeat in other folders are kept apart.",
    ),
    "thermal": (
        "Thermal pictures",
        "Left out of the work on colour pictures; their colours are a palette, not the ground's.",
    ),
}

"""Titles and advice for each kind of finding in a drop's report."""

from dino_assets.images.report.findings import Kind

ADVICE: dict[Kind, tuple[str, str]] = {
    "quarantined": (
        "Files that cannot be used",
        "Copy them from the card again. Files that stay broken are left out, without further cost.",
    ),
    "wrong-year": (
        "Dates that cannot be right",
        "Set the camera's clock before the next flight. Do not split these pictures by date.",
    ),
    "no-time": (
        "No time of capture",
        "Were they edited or exported? Use the originals: sorting by time needs it.",
    ),
    "no-gps": (
        "No position",
        "They can be labelled, but not put on a map. Check GPS lock before take-off.",
    ),
    "no-place": (
        "Position known, ground not",
        "They can be labelled. Their tiles have no place on the ground and no scale.",
    ),
    "far": (
        "Far from the rest",
        "They are more than 20 km from the middle of this drop. Do they belong to another drop? If not, the "
        "receiver was wrong, and so is their place on the map.",
    ),
    "turned": (
        "Turned after they were taken",
        "Nothing to do: overlapping photographs prove how they were turned, and their places are corrected. "
        "The pixels in the file are not changed.",
    ),
    "edited": (
        "Changed after they were taken",
        "Use the originals from the card. A viewer that turns or crops a photograph keeps its old angles: its "
        "labels are right, but the places of its tiles may be wrong. If no overlapping photograph proves the "
        "turn, its place_quality begins with edited.",
    ),
    "blurred": (
        "Softer than the rest",
        "Look at them at full size: blurred ones are not worth a label. Fly slower, or with a shorter "
        "exposure. A single picture of calm water, sand, snow or fog is soft, too; several in a row are not "
        "listed.",
    ),
    "dark": (
        "Too dark",
        "Check whether anything can be recognised. Taken in shadow, at dusk, or with the lens covered?",
    ),
    "bright": (
        "Too bright",
        "Check whether anything can be recognised. White areas have no detail to label.",
    ),
    "duplicate": (
        "The same file twice",
        "Nothing to do: the file is embedded once. Was a card copied twice?",
    ),
    "near-duplicate": (
        "Pictures that look the same",
        "Label one of each group: every picture is listed with the first similar one of the same ground. The "
        "selection spreads its choice and rarely takes two of a group.",
    ),
    "gap": (
        "Numbers missing in a series",
        "Were files deleted, or is a folder of the card missing? Check before you erase the card.",
    ),
    "roll-over": (
        "The counter started again",
        "Nothing to do: equal names in different folders stay separate.",
    ),
    "thermal": (
        "Thermal pictures",
        "They are cut into tiles only on request: their colours are a palette, not the ground's.",
    ),
}

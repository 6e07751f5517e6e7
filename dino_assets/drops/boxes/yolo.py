"""YOLO folders: a text file per picture, with a line ``class cx cy w h [score]`` per box."""

from collections.abc import Iterable, Mapping, Sequence

from dino_assets.drops.boxes.records import BoxList, SeenPicture

_NAMES = ("data.yaml", "data.yml", "classes.txt")


def is_names_file(name: str) -> bool:
    """Check whether a file of a YOLO folder has the names of the classes, and no boxes."""
    return name.lower() in _NAMES or name.lower() in ("obj.names", "classes.names")


def parse_names(name: str, text: str) -> dict[str, str]:
    """Parse the names of the classes by number, from ``data.yaml`` or a list with a name per line.

    Names in YAML are read as they are written: to a YAML program, ``no`` is false and ``007`` is 7.

    Raises:
        ValueError: the text is not YAML.
    """
    if not name.lower().endswith((".yaml", ".yml")):
        lines = (line.strip() for line in text.splitlines())
        return {str(number): line for number, line in enumerate(lines) if line}
    import yaml

    try:
        body = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - makes texts only
    except (yaml.YAMLError, RecursionError) as err:
        raise ValueError(str(err)) from err
    names = body.get("names") if isinstance(body, Mapping) else None
    if isinstance(names, Mapping):
        numbered = [(str(number), each) for number, each in names.items()]
    elif isinstance(names, Sequence) and not isinstance(names, str):
        numbered = [(str(number), each) for number, each in enumerate(names)]
    else:
        return {}
    return {number: each for number, each in numbered if isinstance(each, str)}


def parse_yolo(
    labels: Iterable[tuple[str, str | None]],
    names: Mapping[str, str],
    *,
    into: BoxList | None = None,
) -> BoxList:
    """Parse label files, each given by its path without suffix and its text (None: it is not UTF-8).

    The boxes are added to ``into``.
    """
    boxes = BoxList(is_relative=True) if into is None else into
    for stem, text in labels:
        boxes.pictures += 1
        if text is None:
            boxes.faults.add("not-text", f"{stem}.txt")
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                _add_line(boxes, SeenPicture(stem), line.split(), names, f"{stem}.txt:{number}")
    return boxes


def _add_line(
    boxes: BoxList, picture: SeenPicture, words: list[str], names: Mapping[str, str], where: str
) -> None:
    try:
        numbers = [float(word) for word in words[1:]]
    except ValueError:
        numbers = []
    if len(numbers) not in (4, 5):  # more numbers are the outline of a segment
        boxes.faults.add("not-a-box", where)
        return
    center_x, center_y, width, height = numbers[:4]
    category = words[0]
    before = len(boxes.boxes)
    boxes.add(
        picture,
        (center_x - width / 2, center_y - height / 2, width, height),
        box_class=names.get(category, category),
        score=numbers[4] if len(numbers) == 5 else None,
        where=where,
    )
    if len(boxes.boxes) > before and category not in names:
        boxes.faults.add("unknown-category", f"class {category}")

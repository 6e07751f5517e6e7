"""What the tests of folders share."""

import json
from pathlib import Path
from typing import Any


def contents(folder: Path) -> dict[str, bytes]:
    """Without the record of what they were."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


def change(path: Path, **values: object) -> None:
    document = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(document | values))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())

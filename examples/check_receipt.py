"""Check the receipt of a round without dino_assets: Python's own library and pyarrow only.

    python check_receipt.py receipt.json STORE [--photos DROP=FOLDER …]

STORE is the store's folder, or a copy. The first link that does not hold is named; the exit code is 1.
"""

import argparse
import hashlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

NUMBERS = {"halffloat": "e", "float": "f"}


def expect(is_so: bool, link: str, what: str) -> None:
    """End the program if something is not so."""
    if not is_so:
        sys.exit(f"BROKEN {link}: {what}")


def sha256_of(data: bytes) -> str:
    """Hash bytes."""
    return hashlib.sha256(data).hexdigest()


def hash_json(value: object) -> str:
    """Hash a JSON value that is written without spaces."""
    return sha256_of(json.dumps(value, separators=(",", ":")).encode())


def check_file(path: Path, sha256: str, link: str) -> None:
    """Compare a file with its hash."""
    expect(path.is_file(), link, f"{path} is missing")
    expect(sha256_of(path.read_bytes()) == sha256, link, f"{path} has other bytes")


def check_weights(store: Path, sha256: str) -> None:
    """Hash the stored files of the weights."""
    manifest = json.loads((store / "manifests/weights/_/_.json").read_text())
    files = [part for part in manifest["parts"] if part["name"].endswith(".safetensors")]
    for file in files:
        check_file(store / file["key"], file["sha256"], "weights")
    lines = sorted(f"{file['name']}\0{file['sha256']}\n" for file in files)
    together = sha256_of("".join(lines).encode())  # of several files
    is_stored = sha256 in [together, *(file["sha256"] for file in files)]
    expect(is_stored, "weights", "the store has other weights")


def check_row(store: Path, receipt: Any, tile: Any, asset: str) -> dict[str, Any]:
    """Find the row of a tile in a Parquet file; compare its ids."""
    place = tile["tile" if asset == "tiles" else "embedding"]
    parts = [part for part, *_ in receipt["drops"][tile["drop"]][asset]]
    expect(place["part"] in parts, asset, f"{place['part']} is no file of the drop")
    path = store / "parts" / asset / tile["drop"] / f"{place['part']}.parquet"
    check_file(path, place["part"], asset)
    table = pq.read_table(path)
    row = {name: table[name][place["row"]] for name in table.column_names}
    ids = row["tile_id"].as_py(), row["image_id"].as_py()
    expect(ids == (tile["tile_id"], tile["image_sha256"]), asset, f"another row: {ids}")
    return row


def main() -> None:
    """Check every link of a receipt."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("receipt", "store"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--photos", action="append", default=[], metavar="DROP=FOLDER")
    options = parser.parse_args()
    folders = dict(each.split("=", 1) for each in options.photos)
    receipt = json.loads(options.receipt.read_text())
    settings = dict(sorted(receipt["preprocessing"].items()))
    expect(hash_json(settings)[:16] == receipt["space"], "preprocessing", "another space")
    check_weights(options.store, settings["weights_sha256"])
    for drop, files in receipt["drops"].items():
        for name, content in ((drop, files["embeddings"]), (f"tiles/{drop}", files["tiles"])):
            is_same = hash_json(content) == receipt["inputs"].get(name, hash_json(content))
            expect(is_same, "inputs", f"{name} has another hash")
    for tile in receipt["tiles"]:
        row = check_row(options.store, receipt, tile, "tiles")
        expect([row[name].as_py() for name in "xywh"] == tile["window"], "tiles", "other window")
        expect(row["path"].as_py() == tile["path"], "tiles", "another photograph")
        vector = check_row(options.store, receipt, tile, "embeddings")[receipt["config"]["column"]]
        code = f"<{len(vector)}{NUMBERS[str(vector.type.value_type)]}"
        numbers = struct.pack(code, *(float(number) for number in vector.as_py()))
        expect(sha256_of(numbers) == tile["vector_sha256"], "embeddings", "another vector")
        if tile["drop"] in folders:
            photo = Path(folders[tile["drop"]], tile["path"])
            check_file(photo, tile["image_sha256"], "photographs")
    print(f"{receipt['round']}: {len(receipt['tiles'])} tiles, and every link holds")


if __name__ == "__main__":
    main()

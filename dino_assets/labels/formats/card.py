"""Card of a labels version: README.md with the header that the Hugging Face Hub reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CARD = "README.md"
# Licences that the Hub knows by these words; another one has a name of its own.
_KNOWN_LICENCES = {
    "apache-2.0", "cc", "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "mit",
    "odbl", "odc-by", "pddl", "unlicense",
}  # fmt: skip


@dataclass(frozen=True)
class CardFacts:
    """What the card says: counts by class, level and drop, licence, and the receipt's hash."""

    title: str
    licence: str
    version: str
    published: str
    classes: Mapping[str, int]
    levels: Mapping[str, int]
    drops: Mapping[str, int]
    without_picture: int
    conflicts: int
    parquet: str
    columns: Mapping[str, tuple[str, str]]


def write_card(facts: CardFacts) -> bytes:
    """Write the card."""
    import yaml

    word = facts.licence.strip().lower()
    is_known = word in _KNOWN_LICENCES
    head: dict[str, Any] = (
        {"license": word} if is_known else {"license": "other", "license_name": facts.licence}
    )
    head |= {
        "pretty_name": facts.title,
        "task_categories": ["image-classification"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": facts.parquet}],
            }
        ],
    }
    header = yaml.safe_dump(head, allow_unicode=True, sort_keys=False)
    total = sum(facts.classes.values())
    notes = [
        f"- {facts.conflicts} targets on which people disagree have no label here."
        if facts.conflicts
        else "",
        f"- {facts.without_picture} labels have no picture, because their photographs could not be read."
        if facts.without_picture
        else "",
    ]
    text = f"""\
---
{header}---

# {facts.title}

{total} labels of aerial photographs, made with dino-assets. Licence: {facts.licence}.

Version `{facts.version}`, last label of {facts.published}. The version is the beginning of the hash of
`receipt.json`, which lists the hashes of all answers. The names of the people who labelled are not included.

{_table("class", facts.classes)}
{_table("level", facts.levels)}
{_table("drop", facts.drops)}
{chr(10).join(filter(None, notes))}

## Files

- `{facts.parquet}`: a row per label, with its picture.
- `crops/`: the same pictures as JPEG files, with the photograph's position in EXIF.
- `croissant.json`: this description for machines.
- `receipt.json`: what the labels were made of.

{_columns(facts.columns)}
To load it with Python:

    from datasets import load_dataset
    labels = load_dataset("FOLDER", split="train")
"""
    return text.encode()


def _table(what: str, counts: Mapping[str, int]) -> str:
    rows = "".join(f"| {_escape(name)} | {count} |\n" for name, count in counts.items())
    return f"| {what} | labels |\n|---|---:|\n{rows}"


def _columns(columns: Mapping[str, tuple[str, str]]) -> str:
    rows = "".join(f"| `{name}` | {meaning} |\n" for name, (_, meaning) in columns.items())
    return f"| column | meaning |\n|---|---|\n{rows}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")

"""Croissant: a description of a labels version for machines (croissant.json)."""

import json
from dataclasses import dataclass
from typing import Any

CROISSANT = "croissant.json"
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES = {
    "image": "sc:ImageObject",
    "int": "sc:Integer",
    "bool": "sc:Boolean",
    "time": "sc:DateTime",
}


@dataclass(frozen=True)
class DatasetFacts:
    """What a description says about a labels version.

    ``columns`` maps each column of the Parquet file to its kind and its meaning. ``published`` is the day of
    the last label, because the day of the export would change the bytes.
    """

    title: str
    description: str
    licence: str
    version: str
    published: str
    creator: str
    url: str
    parquet: str
    parquet_sha256: str
    parquet_bytes: int
    columns: dict[str, tuple[str, str]]


def encode_croissant(facts: DatasetFacts) -> bytes:
    """Encode the description as JSON-LD, which Croissant 1.0 defines."""
    fields = []
    for name, (kind, meaning) in facts.columns.items():
        source: dict[str, Any] = {
            "fileObject": {"@id": "labels-parquet"},
            "extract": {"column": name},
        }
        if kind == "image":
            source["transform"] = {"jsonPath": "bytes"}
        fields.append({
            "@type": "cr:Field",
            "@id": f"labels/{name}",
            "name": name,
            "description": meaning,
            "dataType": _TYPES.get(kind, "sc:Text"),
            "source": source,
        })  # fmt: skip
    body: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": facts.title,
        "description": facts.description,
        "license": facts.licence,
        "version": facts.version,
        "datePublished": facts.published,
        "citeAs": f"{facts.title}, version {facts.version}, {facts.published}",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "labels-parquet",
                "name": "labels-parquet",
                "contentUrl": facts.parquet,
                "contentSize": f"{facts.parquet_bytes} B",
                "encodingFormat": "application/x-parquet",
                "sha256": facts.parquet_sha256,
            }
        ],
        "recordSet": [
            {"@type": "cr:RecordSet", "@id": "labels", "name": "labels", "field": fields}
        ],
    }
    if facts.creator:
        body["creator"] = {"@type": "sc:Person", "name": facts.creator}
    if facts.url:
        body["url"] = facts.url
    return json.dumps(body, ensure_ascii=False, indent=1).encode() + b"\n"

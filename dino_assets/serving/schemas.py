"""OpenAPI schemas of the service's requests and answers."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Health(BaseModel):
    """The process runs and answers. `/ready` says whether it can embed pictures."""

    status: Literal["ok"]
    model: str
    device: str = Field(
        description="the configured device (often auto) while the model is being loaded"
    )
    storage: str = Field(description="local, minio, s3 or azure")

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "status": "ok",
                "model": "facebook/dinov2-base",
                "device": "cpu",
                "storage": "minio",
            }
        }
    )


class Ready(BaseModel):
    """The service accepts uploads."""

    status: Literal["ready"]
    model: str
    engine: str


class Metadata(BaseModel):
    """The uploaded picture and its embedding in short."""

    filename: str = Field(description="without folders")
    original_size: tuple[int, int] = Field(description="width and height, upright")
    num_tiles: int
    model: str
    embedding_shape: list[int]


class Embedded(BaseModel):
    """The stored embedding: address, shape, id, options."""

    embedding_uri: str
    shape: list[int] = Field(description="(tiles, patches, dims), or (tiles, dims)")
    num_tiles: int
    metadata: Metadata
    id: str = Field(description="the same for the same file, model and options")
    tokens: Literal["patches", "mean", "cls"]
    dtype: Literal["fp16", "fp32"]
    expires: str = Field(description="the first day on which the embedding cannot be read any more")
    caveat: str | None = Field(None, description="present only if the model's weights are random")

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "embedding_uri": "minio://embeds/embed_0f3c1c7d1c1f4c1f9a5b7e2d3c4b5a69.npz",
                "shape": [1, 1369, 768],
                "num_tiles": 1,
                "metadata": {
                    "filename": "sample.jpg",
                    "original_size": [640, 480],
                    "num_tiles": 1,
                    "model": "facebook/dinov2-base",
                    "embedding_shape": [1, 1369, 768],
                },
                "id": "0f3c1c7d1c1f4c1f9a5b7e2d3c4b5a69",
                "tokens": "patches",
                "dtype": "fp16",
                "expires": "2027-02-28",
            }
        }
    )


def _option(words: list[str], meaning: str) -> dict[str, Any]:
    return {"type": "string", "enum": words, "default": words[0], "description": meaning}


OPTIONS = {
    "tokens": _option(
        ["patches", "mean", "cls"],
        "content of `embeddings`: every patch's vector, their mean, or the CLS vector of each tile",
    ),
    "dtype": _option(["fp16", "fp32"], "type of the numbers in the file"),
}
UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "JPEG, PNG, TIFF, WebP, BMP of any resolution, with a filename",
                        },
                        **OPTIONS,
                    },
                }
            }
        },
    },
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in OPTIONS.items()
    ],
}
EMBEDDING_ID: dict[str, Any] = {
    "name": "embedding_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}


def _header(name: str, example: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "example": example}  # fmt: skip


READING: dict[str, Any] = {
    "parameters": [
        EMBEDDING_ID,
        _header("Range", "bytes=0-65535"),
        _header("If-None-Match", '"0f3c1c7d"'),
        _header("If-Range", '"0f3c1c7d"'),
    ]
}
NPZ: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
FILE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The `.npz`: cls, mean, windows, tile_ids, embeddings",
        "content": {"application/zip": NPZ},
    },
    206: {"description": "A range of the file", "content": {"application/zip": NPZ}},
    304: {"description": "The client's copy is current"},
}
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}

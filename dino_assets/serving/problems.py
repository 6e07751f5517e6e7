"""Error answers of the service (RFC 9457 problems): one table of slugs, statuses and texts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """A kind of problem: HTTP status, title, and an example of its detail text."""

    status: int
    title: str
    example: str


KINDS = {
    "malformed-body": Kind(
        400,
        "The body is not the multipart form that its header says",
        "the multipart form ends in the middle of a part; "
        "send it as `curl -F file=@photo.jpg` does",
    ),
    "key-needed": Kind(
        401,
        "An API key is needed",
        "the request has no API key, or an unknown one; send `Authorization: Bearer KEY`",
    ),
    "scope-lacking": Kind(
        403,
        "The key does not allow this",
        "the key 'camera-7' has the scopes embed, read; delete is needed",
    ),
    "this-machine-only": Kind(
        403,
        "Without API keys the service answers this machine only",
        "no API keys are configured, so only this machine may send requests. Set DINO_API_KEYS, or "
        "DINO_SERVE_OPEN=true if everybody who reaches the port may use the service",
    ),
    "foreign-page": Kind(
        403,
        "Web pages of other origins may not call the service",
        "a web page of 'https://example.org' sent the request, but DINO_CORS_ORIGINS does not list "
        "this origin; add it there to allow the page",
    ),
    "no-such-page": Kind(
        404, "There is nothing at this address", "the service has no address '/embedd'"
    ),
    "no-embedding": Kind(
        404,
        "There is no such embedding",
        "no embedding has the id 'abc123'; it may have been deleted",
    ),
    "method-not-allowed": Kind(
        405, "This address does not accept this method", "'/embed' accepts POST"
    ),
    "body-timeout": Kind(
        408,
        "The body did not arrive in time",
        "4,096 bytes arrived, then nothing for 30 s; send the whole file again",
    ),
    "expired": Kind(
        410,
        "The embedding has expired",
        "the embedding expired on 2026-11-29; upload the picture again",
    ),
    "body-too-large": Kind(
        413,
        "The upload is too large",
        "the upload has more than 64,000,000 bytes; send a smaller file, or raise DINO_UPLOAD_MB",
    ),
    "result-too-large": Kind(
        413,
        "The embedding would be too large",
        "2,600 tiles of 2,102,784 bytes are 5,467,238,400 bytes; at most 1,073,741,824 are written. "
        "These options fit: tokens=mean dtype=fp16 (3,993,600 bytes)",
    ),
    "not-a-form": Kind(
        415,
        "The body has to be multipart/form-data",
        "the content type is 'application/json', expected multipart/form-data; "
        "send the file as `curl -F file=@photo.jpg` does",
    ),
    "range-not-satisfiable": Kind(
        416, "The range starts after the end of the file", "the file has 2,108,440 bytes"
    ),
    "no-file": Kind(
        422,
        "The form has no file",
        "the form has no part 'file' with a filename; send `curl -F file=@photo.jpg`",
    ),
    "unknown-field": Kind(
        422,
        "The form has an unknown field or more than one file",
        "the form has two files; send one picture per request",
    ),
    "unknown-option": Kind(
        422, "An option has an unknown value", "tokens is 'all'; use patches, mean, cls"
    ),
    "unusable-picture": Kind(
        422,
        "The file is not a usable picture",
        "not-an-image: no whole header of JPEG, PNG, BMP, TIFF, WEBP, HEIC, DNG",
    ),
    "internal-error": Kind(
        500,
        "The service has failed",
        "an unexpected error; the service's log describes it under this request_id",
    ),
    "inference-failed": Kind(
        500,
        "The model could not compute this picture",
        "the model gave numbers outside the range of fp16; send dtype=fp32",
    ),
    "busy": Kind(
        503,
        "Too much work is waiting",
        "about 74 s of work are waiting; try again in 14 s",
    ),
    "not-ready": Kind(
        503,
        "The service is not ready",
        "the model is being loaded and checked",
    ),
    "shutting-down": Kind(
        503, "The service is being stopped", "try again later, or use another instance"
    ),
    "disk-full": Kind(
        503,
        "The service's disk has too little space for the work",
        "the embedding needs 620 MB in addition to the work in progress; free some space",
    ),
    "store-unavailable": Kind(
        503,
        "The store does not answer",
        "a request to the store failed; `dino-assets doctor` says why",
    ),
    "store-refused": Kind(
        503,
        "The store refuses the service",
        "the bucket does not exist; create it with `dino-assets doctor --create-bucket`",
    ),
    "store-full": Kind(503, "The store has no space left", "free some space in the store"),
    "damaged": Kind(
        500,
        "The stored embedding differs from what was written",
        "the file or its sidecar changed in the store; delete the embedding, and upload the picture again",
    ),
}
# Seconds after which a client may try again.
RETRY_AFTER_S = {
    "busy": 5,
    "not-ready": 5,
    "shutting-down": 5,
    "store-unavailable": 10,
    "disk-full": 60,
    "store-full": 60,
    "store-refused": 60,
}


class Problem(Exception):
    """An error answer to a request; ``more`` are further JSON members.

    Without ``detail``, the answer has the example text of the slug's kind.
    """

    def __init__(
        self,
        slug: str,
        detail: str = "",
        *,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        self.slug = slug
        self.kind = KINDS[slug]
        self.detail = detail or self.kind.example
        self.retry_after_s = retry_after_s or RETRY_AFTER_S.get(slug)
        self.headers = dict(headers or {})
        self.more = more
        super().__init__(f"{slug}: {self.detail}")

    def as_members(self, request_id: str = "") -> dict[str, Any]:
        """Return the members of the JSON answer."""
        about = {"request_id": request_id} if request_id else {}
        return {**describe(self.slug, self.detail), **self.more, **about}

    def as_headers(self) -> dict[str, str]:
        """Return the headers of the answer."""
        wait = {"Retry-After": str(self.retry_after_s)} if self.retry_after_s else {}
        asks = {"WWW-Authenticate": "Bearer"} if self.kind.status == 401 else {}
        return {**asks, **wait, **self.headers}


def describe(slug: str, detail: str) -> dict[str, Any]:
    """Return the JSON members that every problem has."""
    kind = KINDS[slug]
    return {
        "type": f"urn:dino-assets:problem:{slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "slug": slug,
    }


def document(*slugs: str) -> dict[int | str, dict[str, Any]]:
    """Make the OpenAPI responses of some slugs, each with an example."""
    responses: dict[int | str, dict[str, Any]] = {}
    for slug in slugs:
        kind = KINDS[slug]
        schema = {"$ref": "#/components/schemas/Problem"}
        response = responses.setdefault(
            kind.status,
            {
                "description": kind.title,
                "content": {MEDIA_TYPE: {"schema": schema, "examples": {}}},
            },
        )
        example = {"summary": kind.title, "value": describe(slug, kind.example)}
        response["content"][MEDIA_TYPE]["examples"][slug] = example
        if len(response["content"][MEDIA_TYPE]["examples"]) > 1:
            response["description"] = "One of several problems; `slug` says which"
        if slug in RETRY_AFTER_S:
            response["headers"] = {
                "Retry-After": {"description": "seconds", "schema": {"type": "integer"}}
            }
    return responses


SCHEMA = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. `slug` names the kind; it never changes.",
    "required": ["type", "title", "status", "detail", "slug"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "slug": {"type": "string", "enum": sorted(KINDS)},
        "request_id": {"type": "string"},
    },
}

"""Errors of the service as RFC 9457 problems: a slug, a status, a sentence; all of them in one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """One kind of problem: its status, its title, and a detail as it may read."""

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
        "no key was sent, or one that is not known here; send `Authorization: Bearer KEY`",
    ),
    "scope-lacking": Kind(
        403, "The key does not allow this", "the key 'camera-7' has embed, read; delete is needed"
    ),
    "this-machine-only": Kind(
        403,
        "Without API keys the service answers this machine only",
        "no keys are configured, so only this machine may ask. Set DINO_API_KEYS, or "
        "DINO_SERVE_OPEN=true where everybody who reaches the port may use it",
    ),
    "foreign-page": Kind(
        403,
        "Web pages of other origins may not call the service",
        "the request comes from a page of 'https://example.org'; name it in DINO_CORS_ORIGINS",
    ),
    "no-such-page": Kind(404, "There is nothing at this address", "there is no '/embedd' here"),
    "no-embedding": Kind(
        404,
        "There is no such embedding",
        "no embedding has the id 'abc123'; it may have been deleted",
    ),
    "method-not-allowed": Kind(
        405, "This address does not take this method", "'/embed' takes POST"
    ),
    "body-timeout": Kind(
        408,
        "The body did not arrive in time",
        "4,096 bytes arrived, then nothing for 30 s; send the whole file again",
    ),
    "expired": Kind(
        410,
        "The embedding is past its retention",
        "it expired on 2026-11-29; upload the picture again to make it anew",
    ),
    "body-too-large": Kind(
        413,
        "The upload is too large",
        "the body has more than 64,000,000 bytes (DINO_UPLOAD_MB); send a smaller file",
    ),
    "result-too-large": Kind(
        413,
        "The embedding would be too large",
        "2,600 tiles of 1,369 patches in fp16 are 5.5 GB, at most 1 GiB is written. "
        "These fit: tokens=mean (8 MB), tokens=cls (8 MB)",
    ),
    "not-a-form": Kind(
        415,
        "The body has to be multipart/form-data",
        "the content type is 'application/json'; send `curl -F file=@photo.jpg`",
    ),
    "range-not-satisfiable": Kind(
        416, "The range lies behind the end of the file", "the file has 2,108,440 bytes"
    ),
    "no-file": Kind(
        422,
        "The form has no file",
        "the form has no part 'file' with a filename; send `curl -F file=@photo.jpg`",
    ),
    "unknown-field": Kind(
        422,
        "The form has a field or file too many",
        "there are two files; one picture is one request",
    ),
    "unknown-option": Kind(
        422, "An option has a value that it cannot have", "tokens is 'all'; use patches, mean, cls"
    ),
    "unusable-picture": Kind(
        422,
        "The file is not a usable picture",
        "not-an-image: no whole header of JPEG, PNG, BMP, TIFF, WEBP, HEIC, DNG",
    ),
    "internal-error": Kind(
        500,
        "The service has failed",
        "the log has more under this request_id",
    ),
    "inference-failed": Kind(
        500,
        "The model could not compute this picture",
        "the model gave numbers that fp16 cannot hold; dtype=fp32 holds them",
    ),
    "busy": Kind(
        503,
        "There is more work waiting than the service takes on",
        "about 74 s of work wait; try again in 14 s",
    ),
    "not-ready": Kind(
        503,
        "The service is not ready",
        "the model is being loaded and checked",
    ),
    "shutting-down": Kind(503, "The service is being stopped", "try again, elsewhere or later"),
    "disk-full": Kind(
        503,
        "This machine's disk has no room for the work",
        "the embedding needs 620 MB beside the work in progress; free some space",
    ),
    "store-unavailable": Kind(
        503,
        "The store does not answer",
        "the store does not answer as it should; `dino-assets doctor` says more",
    ),
    "store-refused": Kind(
        503,
        "The store refuses the service",
        "the bucket does not exist; `dino-assets doctor --create-bucket` makes it",
    ),
    "store-full": Kind(503, "The store has no space left", "free some space in the store"),
    "damaged": Kind(
        500,
        "The stored embedding is not what was written",
        "its bytes changed in the store; delete it, and upload the picture again",
    ),
}
# Worth another try without anybody's doing; the others of 503 wait for a person.
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
    """A request that is not answered as asked; ``more`` are further members of the answer."""

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
        """The problem as JSON members."""
        about = {"request_id": request_id} if request_id else {}
        return {**describe(self.slug, self.detail), **self.more, **about}

    def as_headers(self) -> dict[str, str]:
        """What goes with it as headers."""
        wait = {"Retry-After": str(self.retry_after_s)} if self.retry_after_s else {}
        asks = {"WWW-Authenticate": "Bearer"} if self.kind.status == 401 else {}
        return {**asks, **wait, **self.headers}


def describe(slug: str, detail: str) -> dict[str, Any]:
    """The members that every problem has."""
    kind = KINDS[slug]
    return {
        "type": f"urn:dino-assets:problem:{slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "slug": slug,
    }


def document(*slugs: str) -> dict[int | str, dict[str, Any]]:
    """Responses for OpenAPI, an example for each slug."""
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

"""Records of stored embeddings: sidecars, audit records, object keys, answers of `/embed`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from dino_assets.serving.requests.planning import ServedModel, UploadPlan
from dino_assets.store.objects import ObjectStore

Action = Literal["extract", "read", "delete"]


@dataclass(frozen=True)
class Asker:
    """The caller of a request: the API key's name (empty without keys) and the request's id."""

    name: str
    request_id: str


@dataclass(frozen=True)
class Sidecar:
    """The record beside an embedding file; without it the embedding does not exist."""

    id: str
    uri: str
    file_sha256: str
    file_bytes: int
    created: str  # ISO 8601, UTC
    expires: str  # from this day on (UTC) it cannot be read
    request_id: str
    asker: str
    image_sha256: str
    about: Mapping[str, Any]  # the answer of `/embed`, including the file's name

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> "Sidecar":
        """Make a sidecar from its unsealed JSON."""
        return cls(**{name: body[name] for name in cls.__dataclass_fields__})

    def to_audit(self, action: Action, asker: Asker, now: datetime) -> dict[str, Any]:
        """Make the audit record of an action.

        The name of the uploaded file is left out, because it may contain personal data.
        """
        about = {key: value for key, value in self.about.items() if key != "metadata"}
        return {
            "action": action,
            "embedding_id": self.id,
            "embedding_uri": self.uri,
            "time": spell_time(now),
            "request_id": asker.request_id,
            "by": asker.name or "anybody",
            "image_sha256": self.image_sha256,
            "created": self.created,
            "expires": self.expires,
            "about": about,
        }


def file_key(embedding_id: str) -> str:
    """Return the object key of the embedding file, as the published API defines it."""
    return f"embed_{embedding_id}.npz"


def sidecar_key(embedding_id: str) -> str:
    """Return the object key of the sidecar."""
    return f"embed_{embedding_id}.json"


def audit_key(embedding_id: str, action: Action, request_id: str, when: str) -> str:
    """Return the object key of an audit record: ``audit/``, then the day, so that a day can be listed."""
    return f"audit/{when[:10]}/{embedding_id}-{action}-{request_id}.json"


def find_uri(store: ObjectStore, embedding_id: str) -> str:
    """Return an embedding's address: ``minio://embeds/embed_….npz``, or a path in the store's folder."""
    return f"{store.url.rstrip('/')}/{file_key(embedding_id)}"


def answer(plan: UploadPlan, model: ServedModel, *, uri: str, filename: str) -> dict[str, Any]:
    """Make the answer of `/embed`: first the members of the published API, then further members.

    All values can be derived from the upload and the model. So a repeated upload of a picture is answered
    without reading its stored vectors.
    """
    shape = list(plan.shape)
    caveat = {"caveat": model.checkpoint.caveat} if model.checkpoint.caveat else {}
    return {
        "embedding_uri": uri,
        "shape": shape,
        "num_tiles": plan.tiles,
        "metadata": {
            "filename": filename,
            "original_size": list(plan.size),
            "num_tiles": plan.tiles,
            "model": model.name,
            "embedding_shape": shape,
        },
        "id": plan.id,
        **asdict(plan.options),
        **caveat,
    }


def expire(created: datetime, retention_days: int) -> date:
    """Return the first day on which an embedding cannot be read any more."""
    return (created + timedelta(days=retention_days)).date() + timedelta(days=1)


def spell_time(when: datetime) -> str:
    """Format a time for records: UTC, milliseconds."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

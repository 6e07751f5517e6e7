"""What is known of a stored embedding, and of who did what with it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from dino_assets.serving.requests.planning import ServedModel, UploadPlan
from dino_assets.store.objects import ObjectStore

Action = Literal["extract", "read", "delete"]


@dataclass(frozen=True)
class Asker:
    """Who asks: the name of the key (nothing without keys), and under which number."""

    name: str
    request_id: str


@dataclass(frozen=True)
class Sidecar:
    """What stands beside an embedding; it exists when the embedding does."""

    id: str
    uri: str
    file_sha256: str
    file_bytes: int
    created: str  # ISO 8601, UTC
    expires: str  # the day after whose beginning it is not given out any more
    request_id: str
    asker: str
    image_sha256: str
    about: Mapping[str, Any]  # what the answer said, the file's name included

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> "Sidecar":
        """Read one as it was sealed."""
        return cls(**{name: body[name] for name in cls.__dataclass_fields__})

    def to_audit(self, action: Action, asker: Asker, now: datetime) -> dict[str, Any]:
        """A record of what was done with it. The file's name is left out: it may be a person's."""
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
    """Where the file lies, as the documents spell it."""
    return f"embed_{embedding_id}.npz"


def sidecar_key(embedding_id: str) -> str:
    """Where its sidecar lies."""
    return f"embed_{embedding_id}.json"


def audit_key(embedding_id: str, action: Action, request_id: str, when: str) -> str:
    """Where a record of an action lies: by day, so that a day can be listed."""
    return f"audit/{when[:10]}/{embedding_id}-{action}-{request_id}.json"


def find_uri(store: ObjectStore, embedding_id: str) -> str:
    """The address of an embedding: ``minio://embeds/embed_….npz``, or below the store's folder."""
    return f"{store.url.rstrip('/')}/{file_key(embedding_id)}"


def answer(plan: UploadPlan, model: ServedModel, *, uri: str, filename: str) -> dict[str, Any]:
    """The documents' answer, and further keys after theirs.

    All of it follows from the upload, so that a repeated one is answered without reading anything.
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
    """The first day on which an embedding is not given out any more."""
    return (created + timedelta(days=retention_days)).date() + timedelta(days=1)


def spell_time(when: datetime) -> str:
    """A time for records: UTC, to the millisecond."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""Error answers of the studio (RFC 9457 problems)."""

from starlette.responses import JSONResponse

from dino_assets.errors import (
    ConfigError,
    DinoAssetsError,
    DiskFullError,
    InvalidVectorsError,
    NotCommittedError,
    SourceError,
    StoreError,
    UnusableImageError,
    public_name,
)
from dino_assets.serving.problems import MEDIA_TYPE


class StudioProblem(Exception):
    """A request that cannot be answered: HTTP status, stable slug, and a sentence for the person."""

    def __init__(self, status: int, slug: str, detail: str) -> None:
        self.status = status
        self.slug = slug
        self.detail = detail
        super().__init__(f"{slug}: {detail}")


def find_problem(err: DinoAssetsError) -> StudioProblem:
    """Find the answer to an error of this package: the status says whether trying again can help."""
    status = 500
    if isinstance(err, (ConfigError, InvalidVectorsError)):
        status = 422
    elif isinstance(err, (NotCommittedError, SourceError, UnusableImageError)):
        status = 404
    elif isinstance(err, (StoreError, DiskFullError)):
        status = 503
    return StudioProblem(status, public_name(err), str(err))


def answer_problem(problem: StudioProblem) -> JSONResponse:
    """Make the HTTP answer of a problem."""
    members = {
        "type": f"urn:dino-assets:problem:{problem.slug}",
        "title": problem.slug.replace("-", " "),
        "status": problem.status,
        "detail": problem.detail,
        "slug": problem.slug,
    }
    return JSONResponse(members, problem.status, media_type=MEDIA_TYPE)

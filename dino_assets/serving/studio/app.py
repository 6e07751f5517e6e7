"""The studio's web application."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dino_assets.errors import DinoAssetsError
from dino_assets.serving.studio.access import StudioAccess
from dino_assets.serving.studio.problems import StudioProblem, answer_problem, find_problem
from dino_assets.serving.studio.routes import make_routes
from dino_assets.serving.studio.studio import Studio


def make_studio_app(studio: Studio, *, token: str, port: int) -> Any:
    """Make the application; it answers only requests with the token, to ``port`` of this machine."""

    @contextlib.asynccontextmanager
    async def run(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            studio.pictures.close()

    app = Starlette(
        routes=make_routes(studio),
        lifespan=run,
        exception_handlers={
            StudioProblem: _answer_studio_problem,
            DinoAssetsError: _answer_error,
            HTTPException: _answer_http,
            Exception: _answer_fault,
        },
    )
    return StudioAccess(app, token=token, port=port)


def _answer_studio_problem(request: Request, err: Exception) -> Response:
    assert isinstance(err, StudioProblem)
    return answer_problem(err)


def _answer_error(request: Request, err: Exception) -> Response:
    assert isinstance(err, DinoAssetsError)
    return answer_problem(find_problem(err))


def _answer_http(request: Request, err: Exception) -> Response:
    assert isinstance(err, HTTPException)
    slug = {404: "no-such-page", 405: "method-not-allowed"}.get(err.status_code, "refused")
    return answer_problem(StudioProblem(err.status_code, slug, err.detail))


def _answer_fault(request: Request, err: Exception) -> Response:
    """Answer after a fault of this program, which is logged, so that the page has a sentence to show."""
    detail = f"the studio failed ({type(err).__name__}); the terminal in which it runs says where"
    return answer_problem(StudioProblem(500, "fault", detail))

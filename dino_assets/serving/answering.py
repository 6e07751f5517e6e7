"""Functions that all HTTP routes share: access, error answers (problems), streaming, byte ranges."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dino_assets.errors import (
    CorruptObjectError,
    DeviceMemoryError,
    DiskFullError,
    InvalidVectorsError,
    ObjectNotFoundError,
    StoreAccessError,
    StoreError,
    StoreFullError,
    UnusableImageError,
)
from dino_assets.serving.keeping.records import Asker
from dino_assets.serving.lifespan import Running
from dino_assets.serving.observing import ABOUT, SCOPE_ID, describe_error
from dino_assets.serving.problems import MEDIA_TYPE, Problem
from dino_assets.serving.requests.access import find_asker
from dino_assets.serving.requests.bodies import ClientGoneError
from dino_assets.serving.requests.planning import refuse_picture
from dino_assets.serving.service import Service

T = TypeVar("T")
CLIENT_GONE = 499  # nginx's status for a client that has left; it appears in the log only


def running_of(request: Request) -> Running:
    """Return the state that the service keeps for its routes."""
    running: Running = request.app.state.running
    return running


def admit_asker(request: Request, scope: str) -> Asker:
    """Check that the caller of a request has the permission ``scope``; return the caller.

    Raises:
        Problem: key-needed, scope-lacking, this-machine-only, foreign-page.
    """
    client = request.client.host if request.client else ""
    settings = running_of(request).settings.serving
    name = find_asker(request.headers, client=client, scope=scope, settings=settings)
    if name:
        note(request, key=name)
    return Asker(name, request.scope[SCOPE_ID])


def note(request: Request, **about: Any) -> None:
    """Add facts to the request's log line."""
    request.scope[ABOUT].update(about)


async def work_for(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Run ``work``, and cancel it if the client closes the connection.

    Raises:
        ClientGoneError: the client closed the connection.
    """
    task = asyncio.ensure_future(work)
    # The body has been read, so the next ASGI message can only say that the client has left.
    leaving = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return await task
    finally:
        for each in (task, leaving):
            if not each.done():
                each.cancel()


def to_problem(err: Exception) -> Problem:
    """Convert an error to a problem (an error answer); leave out details that clients must not read."""
    doctor = "`dino-assets doctor` says why"
    if isinstance(err, Problem):
        return err
    if isinstance(err, UnusableImageError):
        return refuse_picture(err)
    if isinstance(err, InvalidVectorsError):
        return Problem("inference-failed", str(err))
    if isinstance(err, DeviceMemoryError):
        return Problem("inference-failed", "the device has too little memory for one tile")
    if isinstance(err, DiskFullError):
        return Problem("disk-full", str(err))
    if isinstance(err, CorruptObjectError):
        return Problem("damaged")
    if isinstance(err, ObjectNotFoundError):  # deleted after its sidecar was read
        return Problem("no-embedding", "the embedding was deleted; upload the picture again")
    if isinstance(err, StoreFullError):
        return Problem("store-full", "the store has no space left; free some space in it")
    if isinstance(err, StoreAccessError):
        return Problem("store-refused", f"the store refused the credentials; {doctor}")
    if isinstance(err, StoreError) and err.reason == "no-bucket":
        return Problem("store-refused")
    if isinstance(err, StoreError):
        return Problem("store-unavailable", f"a request to the store failed; {doctor}")
    return Problem("internal-error")


async def answer_error(request: Request, err: Exception) -> Response:
    """Make the answer to an error: a problem, or an empty answer with status 499 if the client has left."""
    if isinstance(err, ClientGoneError):
        note(request, slug="client-gone")
        return Response(status_code=CLIENT_GONE)
    problem = to_problem(err)
    note(request, slug=problem.slug)
    if problem.slug == "internal-error":
        note(request, error=describe_error(err))
    elif not isinstance(err, Problem):
        note(request, error=type(err).__name__)
    return JSONResponse(
        problem.as_members(request.scope[SCOPE_ID]),
        status_code=problem.kind.status,
        media_type=MEDIA_TYPE,
        headers=problem.as_headers(),
    )


async def answer_http_error(request: Request, err: Exception) -> Response:
    """Answer a request that FastAPI itself refuses: an unknown address or method."""
    assert isinstance(err, HTTPException)
    path = request.url.path[:100]
    if err.status_code == 405:
        allowed = (err.headers or {}).get("Allow", "")
        detail = f"{path!r} accepts {allowed or 'another method'}"
        return await answer_error(
            request, Problem("method-not-allowed", detail, headers=err.headers)
        )
    return await answer_error(
        request, Problem("no-such-page", f"the service has no address {path!r}")
    )


async def stream_pieces(
    service: Service, first: bytes, rest: Iterator[bytes]
) -> AsyncIterator[bytes]:
    """Yield the pieces of a file; a store thread reads each one when it is needed."""
    piece = first
    while piece:
        yield piece
        piece = await service.run_in_store(next, rest, b"")


def find_range(header: str, size: int) -> tuple[int, int] | None:
    """Read start and length from a ``Range`` header; None if the whole file is to be sent.

    Raises:
        Problem: range-not-satisfiable.
    """
    unit, _, spec = header.partition("=")
    first, dash, last = spec.strip().partition("-")
    numbers = [each.strip() for each in (first, last)]
    is_range = unit.strip().lower() == "bytes" and dash and any(numbers)
    if not is_range or not all(
        not each or (each.isdecimal() and each.isascii()) for each in numbers
    ):
        return None  # several ranges, another unit, bad syntax: RFC 9110 allows the whole file
    if numbers[0]:
        start = int(numbers[0])
        end = min(int(numbers[1]), size - 1) if numbers[1] else size - 1
        if numbers[1] and int(numbers[1]) < start:
            return None
    else:
        start, end = max(0, size - int(numbers[1])), size - 1
    if start >= size or start > end:
        raise Problem(
            "range-not-satisfiable",
            f"the file has {size:,} bytes",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end - start + 1

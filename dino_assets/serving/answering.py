"""From requests to answers: what the routes have in common."""

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
CLIENT_GONE = 499  # nginx's number; nobody receives it, the log has it


def running_of(request: Request) -> Running:
    """What the service runs with."""
    running: Running = request.app.state.running
    return running


def admit_asker(request: Request, scope: str) -> Asker:
    """Say who asks, and refuse whoever may not.

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
    """Have the request's line say more."""
    request.scope[ABOUT].update(about)


async def work_for(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do some work as long as its client waits.

    Raises:
        ClientGoneError: it does not any more; the work was cancelled.
    """
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(request.receive())  # after the body: only that it is gone
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
    """The problem for an error of ours; what a client must not read stays in the log."""
    doctor = "`dino-assets doctor` says more"
    if isinstance(err, Problem):
        return err
    if isinstance(err, UnusableImageError):
        return refuse_picture(err)
    if isinstance(err, InvalidVectorsError):
        return Problem("inference-failed", str(err))
    if isinstance(err, DeviceMemoryError):
        return Problem("inference-failed", "the device has no room for a single tile")
    if isinstance(err, DiskFullError):
        return Problem("disk-full", str(err))
    if isinstance(err, CorruptObjectError):
        return Problem("damaged")
    if isinstance(err, ObjectNotFoundError):  # between its sidecar and its file it was deleted
        return Problem("no-embedding", "the embedding is gone; upload the picture again")
    if isinstance(err, StoreFullError):
        return Problem("store-full", "the store has no space left; free some")
    if isinstance(err, StoreAccessError):
        return Problem("store-refused", f"the store refuses the credentials; {doctor}")
    if isinstance(err, StoreError) and err.reason == "no-bucket":
        return Problem("store-refused")
    if isinstance(err, StoreError):
        return Problem("store-unavailable", f"the store does not answer as it should; {doctor}")
    return Problem("internal-error")


async def answer_error(request: Request, err: Exception) -> Response:
    """Answer an error as a problem."""
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
    """Answer what the framework refuses."""
    assert isinstance(err, HTTPException)
    path = request.url.path[:100]
    if err.status_code == 405:
        allowed = (err.headers or {}).get("Allow", "")
        detail = f"{path!r} takes {allowed or 'another method'}"
        return await answer_error(
            request, Problem("method-not-allowed", detail, headers=err.headers)
        )
    return await answer_error(request, Problem("no-such-page", f"there is no {path!r} here"))


async def stream_pieces(
    service: Service, first: bytes, rest: Iterator[bytes]
) -> AsyncIterator[bytes]:
    """Pieces of a file, each read from the store in one of its threads."""
    piece = first
    while piece:
        yield piece
        piece = await service.run_in_store(next, rest, b"")


def find_range(header: str, size: int) -> tuple[int, int] | None:
    """Start and length of a range; None where the whole file is to be sent.

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
        return None  # several ranges, another unit, nonsense: RFC 9110 lets us send the whole
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

"""HTTP routes of the embedding service: ``uvicorn dino_assets.serving.app:app``.

Pictures are uploaded as files; the service never opens a URL from a request.
"""

import asyncio
import re
import time
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from dino_assets.errors import DinoAssetsError
from dino_assets.serving import schemas
from dino_assets.serving.answering import (
    admit_asker,
    answer_error,
    answer_http_error,
    find_range,
    note,
    running_of,
    stream_pieces,
    work_for,
)
from dino_assets.serving.lifespan import run_lifespan
from dino_assets.serving.metrics import Metrics
from dino_assets.serving.observing import Observing
from dino_assets.serving.problems import SCHEMA, Problem, document
from dino_assets.serving.requests.bodies import ClientGoneError, read_form
from dino_assets.serving.requests.cross_origin import CrossOrigin
from dino_assets.serving.requests.options import read_options

__all__ = ["app", "make_app"]

ACCESS = ("key-needed", "scope-lacking", "this-machine-only", "foreign-page")
STORE = ("store-unavailable", "store-refused", "store-full", "not-ready", "shutting-down")
EMBED = (
    *ACCESS, *STORE, "malformed-body", "body-timeout", "body-too-large", "result-too-large",
    "not-a-form", "no-file", "unknown-field", "unknown-option", "unusable-picture", "busy",
    "disk-full", "inference-failed", "internal-error",
)  # fmt: skip
_FIRST_LOOK_S = 2.0
_ID = re.compile(r"[0-9a-f]{32}")


def make_app(**options: Any) -> FastAPI:
    """Make the application; ``options`` are arguments of ``lifespan.run_lifespan``."""
    metrics = Metrics()
    made = FastAPI(
        title="dino_assets",
        description="Embeddings of photographs by DINOv2 and DINOv3.",
        version=version("dino-assets"),
        lifespan=partial(run_lifespan, metrics=metrics, **options),
        redirect_slashes=False,
        docs_url=None,  # FastAPI's pages load scripts from other servers
        redoc_url=None,
        middleware=[Middleware(Observing, metrics=metrics), Middleware(CrossOrigin)],
    )
    for kind in (Problem, DinoAssetsError, ClientGoneError):
        made.add_exception_handler(kind, answer_error)
    made.add_exception_handler(HTTPException, answer_http_error)
    add_routes(made)
    describe = made.openapi
    made.openapi = lambda: _complete(describe())  # type: ignore[method-assign]
    return made


def add_routes(made: FastAPI) -> None:
    """Add all routes to the application."""
    made.get("/health", response_model=schemas.Health)(health)
    made.get("/ready", response_model=schemas.Ready, responses=document("not-ready"))(ready)
    made.get("/metrics", response_class=Response, responses=_METRICS)(metrics_page)
    made.post(
        "/embed",
        response_model=schemas.Embedded,
        response_model_exclude_none=True,
        responses=document(*EMBED),
        openapi_extra=schemas.UPLOAD,
    )(embed)
    path = "/embeddings/{embedding_id}"
    about = ("no-embedding", "damaged", "internal-error", *ACCESS, *STORE)
    reading = document("expired", "range-not-satisfiable", *about)
    made.get(
        path,
        response_class=Response,
        responses={**schemas.FILE_RESPONSES, **reading},
        openapi_extra=schemas.READING,
    )(read_embedding)
    made.head(path, include_in_schema=False)(read_embedding)
    made.delete(
        path,
        status_code=204,
        response_class=Response,
        responses=document(*about),
        openapi_extra={"parameters": [schemas.EMBEDDING_ID]},
    )(delete_embedding)


async def health(request: Request) -> Response:
    """Report that the process runs, with its model, device and storage."""
    running = running_of(request)
    service = running.opening.service
    device = service.device if service else running.settings.device
    facts = running.facts
    return JSONResponse(
        {
            "status": "ok",
            "model": facts["model"],
            "device": device,
            "storage": facts["storage"],
        }
    )


async def ready(request: Request) -> Response:
    """Report whether uploads are accepted: the model is checked, the store answers, no inference hangs."""
    running = running_of(request)
    deadline = time.monotonic() + _FIRST_LOOK_S
    while (reason := running.explain_unready()) is None and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    if reason or reason is None:
        raise Problem("not-ready", reason or "the store has not answered yet")
    service = running.opening.take()
    return JSONResponse(
        {"status": "ready", "model": service.model.name, "engine": service.engine_name}
    )


async def metrics_page(request: Request) -> Response:
    """Return metrics for Prometheus."""
    running = running_of(request)
    text = running.metrics.render(running.opening.service, is_ready=running.explain_unready() == "")
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def embed(request: Request) -> Response:
    """Embed an uploaded picture and store the embedding; equal uploads have the same address."""
    running = running_of(request)
    asker = admit_asker(request, "embed")
    service = running.opening.take()
    service.admission.check()
    declared = request.headers.get("content-length", "")
    with running.room.hold() as upload:
        await read_form(
            request.receive,
            content_type=request.headers.get("content-type", ""),
            declared_bytes=int(declared) if declared.isdecimal() else None,
            limits=running.limits,
            upload=upload,
            check_open=running.opening.check_open,
        )
        running.metrics.upload_bytes.inc(len(upload.data))
        note(request, filename=upload.form.filename, upload_bytes=len(upload.data))
        options = read_options(request.query_params, upload.form.fields)
        plan = await service.plan(upload.data, options)
        note(request, id=plan.id, original_size=plan.size, shape=plan.shape, tiles=plan.tiles)
        answer, is_new = await work_for(request, service.embed(upload, plan, asker=asker))
    how = "computed" if is_new else "reused"
    running.metrics.embeddings.labels(how).inc()
    note(request, how=how)
    return JSONResponse(answer)


async def read_embedding(request: Request) -> Response:
    """Return the file of a stored embedding; ranges and ETags are supported."""
    asker = admit_asker(request, "read")
    service = running_of(request).opening.take()
    sidecar = await service.run_in_store(service.embeddings.open, _id_of(request))
    size, etag = sidecar.file_bytes, f'"{sidecar.file_sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "X-Embedding-Expires": sidecar.expires,
        "Content-Disposition": f'attachment; filename="embed_{sidecar.id}.npz"',
    }
    etags = request.headers.get("if-none-match", "").split(",")
    if {each.strip().removeprefix("W/") for each in etags} & {etag, "*"}:
        return Response(status_code=304, headers=headers)
    part = None
    if request.headers.get("if-range", etag) == etag:
        part = find_range(request.headers.get("range", ""), size)
    start, length = part or (0, size)
    if part:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    headers["Content-Length"] = str(length)
    status = 206 if part else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type="application/zip")
    await service.run_in_store(service.embeddings.record_read, sidecar, asker)
    pieces = service.embeddings.read(sidecar, start=start, length=length)
    # Read before the answer starts: an error here still becomes a problem.
    first = await service.run_in_store(next, pieces)
    return StreamingResponse(
        stream_pieces(service, first, pieces),
        status_code=status,
        headers=headers,
        media_type="application/zip",
    )


async def delete_embedding(request: Request) -> Response:
    """Delete a stored embedding; its audit records stay."""
    asker = admit_asker(request, "delete")
    service = running_of(request).opening.take()
    await service.run_in_store(service.embeddings.delete, _id_of(request), asker)
    return Response(status_code=204)


def _id_of(request: Request) -> str:
    embedding_id = str(request.path_params["embedding_id"])
    if not _ID.fullmatch(embedding_id):
        raise Problem(
            "no-embedding", f"{embedding_id[:80]!r} is not an id; expected 32 hexadecimal digits"
        )
    note(request, id=embedding_id)
    return embedding_id


_METRICS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Metrics"}
}


def _complete(described: dict[str, Any]) -> dict[str, Any]:
    """Add the schema of problems and the ways to send an API key to the OpenAPI description."""
    components = described.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = SCHEMA
    components["securitySchemes"] = schemas.SECURITY_SCHEMES
    described["security"] = [{}, *({name: []} for name in schemas.SECURITY_SCHEMES)]
    return described


app = make_app()

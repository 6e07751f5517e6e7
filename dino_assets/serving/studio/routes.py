"""Addresses of the studio: the page's files, its data, and the answers that it stores."""

from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dino_assets.serving.studio import flights, heat, maps, overview, queues
from dino_assets.serving.studio.bodies import read_json, read_names
from dino_assets.serving.studio.posted import make_answers
from dino_assets.serving.studio.problems import StudioProblem
from dino_assets.serving.studio.stored_files import serve_file
from dino_assets.serving.studio.studio import Studio
from dino_assets.serving.studio.suggesting import order_by_likeness, order_by_uncertainty
from dino_assets.serving.studio.tile_lookup import TileName

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_STATIC = {
    file.name: file
    for file in files("dino_assets.serving.studio").joinpath("static").iterdir()
    if file.name[file.name.rfind(".") :] in _TYPES
}
# A picture never changes: its address holds the hash of the photograph.
_LASTING = {"Cache-Control": "private, max-age=31536000, immutable"}


def make_routes(studio: Studio) -> list[Route]:
    """Make the routes of a studio."""
    writers = {
        "/api/answers": _post_answers,
        "/api/queue": _post_queue,
        "/api/order": _post_order,
        "/api/map/tiles": _post_map_tiles,
    }
    readers = {
        "/api/state": _get_state,
        "/api/queue": _get_queue,
        "/api/own": _get_own,
        "/api/conflicts": _get_conflicts,
        "/api/rounds": _get_rounds,
        "/api/drops": _get_drops,
        "/api/map": _get_map,
        "/api/map/points": _get_points,
        "/api/flights/{drop}": _get_flight,
        "/pictures/{kind}/{drop}/{tile_id}": _get_picture,
        "/heat/{space}/{file:path}": _get_heat_map,
        "/files/{asset}/{space}/{drop}/{name:path}": _get_file,
    }
    routes = [Route("/", _get_page), Route("/static/{name}", _get_static)]
    routes += [Route(path, _reading(studio, read)) for path, read in readers.items()]
    routes += [
        Route(path, _writing(studio, write), methods=["POST"]) for path, write in writers.items()
    ]
    return routes


def _reading(
    studio: Studio, read: Callable[[Studio, Request], Response]
) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        return read(studio, request)

    return answer


def _writing(studio: Studio, write: Callable[[Studio, Any], Response]) -> Callable[..., Any]:
    async def answer(request: Request) -> Response:
        return await run_in_threadpool(write, studio, await read_json(request))

    return answer


def _get_page(request: Request) -> Response:
    return _read_static("index.html")


def _get_static(request: Request) -> Response:
    return _read_static(request.path_params["name"])


def _read_static(name: str) -> Response:
    file = _STATIC.get(name)
    if file is None:
        raise StudioProblem(404, "no-such-file", f"the studio has no file {name[:100]!r}")
    kind = _TYPES[name[name.rfind(".") :]]
    return Response(file.read_bytes(), media_type=kind, headers={"Cache-Control": "no-cache"})


def _get_state(studio: Studio, request: Request) -> Response:
    studio.book.refresh()
    return JSONResponse(studio.describe_state(request.query_params.get("by", "")))


def _get_queue(studio: Studio, request: Request) -> Response:
    query = request.query_params
    space = studio.choose_space(query.get("space"))
    if space is None:
        raise StudioProblem(404, "nothing-embedded", "no tile is embedded yet: run a flight first")
    if round_name := query.get("round"):
        queue = queues.open_round(studio.lookup, space, round_name)
    else:
        like = TileName(query.get("drop", ""), query.get("like", ""))
        count = _read_number(query.get("count", "50"))
        queue = queues.open_search(studio.lookup, space, like, count=count)
    return _describe(studio, queue, query.get("by", ""))


def _post_queue(studio: Studio, body: Any) -> Response:
    names = read_names(body)
    space = studio.choose_space(body.get("space"))
    queue = queues.open_tiles(studio.lookup, names, space)
    return _describe(studio, queue, str(body.get("by", "")))


def _describe(studio: Studio, queue: queues.TileQueue, by: str) -> Response:
    studio.book.refresh()
    studio.pictures.warm(queue.tiles)
    return JSONResponse(queues.describe_queue(queue, studio.lookup, studio.book, by=by))


def _get_own(studio: Studio, request: Request) -> Response:
    by, drop, tile_id = (request.query_params.get(name, "") for name in ("by", "drop", "tile_id"))
    (tile,) = studio.lookup.find([TileName(drop, tile_id)])
    return JSONResponse(queues.describe_own_of_tile(studio.book, tile, by=by))


def _post_order(studio: Studio, body: Any) -> Response:
    ids = [name.tile_id for name in read_names(body)]
    space = studio.choose_space(body.get("space"))
    like = body.get("like")
    if like is None:
        order = order_by_uncertainty(studio.lookup, space, ids)
        if order is None:
            detail = (
                "there is no trained probe yet: label some tiles, then `dino-assets probe train`"
            )
            raise StudioProblem(409, "no-probe", detail)
    elif space is None:
        raise StudioProblem(404, "nothing-embedded", "no tile is embedded yet")
    else:
        order = order_by_likeness(studio.lookup, space, ids, like=str(like))
    return JSONResponse({"order": order})


def _post_answers(studio: Studio, body: Any) -> Response:
    answers = make_answers(body, studio.lookup, studio.book, now=datetime.now(UTC))
    stored = studio.book.put(answers)
    pace = studio.book.measure_pace(stored[0].by)
    return JSONResponse({
        "saved": [answer.answer_id for answer in stored],
        "seconds_per_answer": pace.seconds,
        "measured": pace.measured,
    })  # fmt: skip


def _get_conflicts(studio: Studio, request: Request) -> Response:
    studio.book.refresh()
    return JSONResponse(overview.describe_conflicts(studio.lookup, studio.book))


def _get_rounds(studio: Studio, request: Request) -> Response:
    studio.book.refresh()
    by = request.query_params.get("by", "")
    return JSONResponse(overview.describe_rounds(studio.store, studio.lookup, studio.book, by=by))


def _get_drops(studio: Studio, request: Request) -> Response:
    return JSONResponse(overview.describe_all_drops(studio.store))


def _open_map(studio: Studio, space: str | None) -> maps.StudioMap:
    chosen = studio.choose_space(space)
    if chosen is None:
        raise StudioProblem(404, "no-map", "there is no map yet: `dino-assets run` makes it")
    return maps.open_map(studio.lookup, chosen)


def _get_map(studio: Studio, request: Request) -> Response:
    studio.book.refresh()
    opened = _open_map(studio, request.query_params.get("space"))
    return JSONResponse(maps.describe_map(opened, studio.book))


def _get_points(studio: Studio, request: Request) -> Response:
    opened = _open_map(studio, request.query_params.get("space"))
    data = maps.encode_points(opened, studio.book)
    return Response(data, media_type="application/octet-stream")


def _post_map_tiles(studio: Studio, body: Any) -> Response:
    if not isinstance(body, dict) or not isinstance(body.get("rows"), list):
        raise StudioProblem(422, "unexpected-body", "expected an object with the list `rows`")
    names = _open_map(studio, body.get("space")).list_tiles(body["rows"])
    return JSONResponse([list(name) for name in names])


def _get_flight(studio: Studio, request: Request) -> Response:
    studio.book.refresh()
    drop = flights.check_drop(studio.lookup, request.path_params["drop"])
    return JSONResponse(flights.describe_flight(studio.store, studio.lookup, studio.book, drop))


def _get_picture(studio: Studio, request: Request) -> Response:
    kind, drop, tile_id = (request.path_params[name] for name in ("kind", "drop", "tile_id"))
    name = TileName(drop, tile_id)
    if kind == "thumb":
        data = studio.lookup.read_thumb(name, lambda: studio.spaces)
        return Response(data, media_type="image/webp", headers=_LASTING)
    if kind not in ("tile", "around"):
        raise StudioProblem(
            404, "no-such-picture", f"kind is {kind!r:.100}; expected tile, around or thumb"
        )
    (tile,) = studio.lookup.find([name])
    data = studio.pictures.read(tile, kind)
    return Response(data, media_type="image/jpeg", headers=_LASTING)


def _get_heat_map(studio: Studio, request: Request) -> Response:
    space, file = request.path_params["space"], request.path_params["file"]
    data = heat.draw_heat_map(studio.store, studio.lookup, space, file)
    return Response(data, media_type="image/png", headers={"Cache-Control": "no-cache"})


def _get_file(studio: Studio, request: Request) -> Response:
    asset, space, drop, name = (
        request.path_params[each] for each in ("asset", "space", "drop", "name")
    )
    space = None if space == "_" else studio.choose_space(space)
    return serve_file(studio.lookup, asset, space, None if drop == "_" else drop, name)


def _read_number(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise StudioProblem(422, "unexpected-count", f"count is {text!r}; expected a whole number")
    return int(text)

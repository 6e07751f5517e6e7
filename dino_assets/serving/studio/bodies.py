"""Bodies of requests: JSON of a bounded size, and the tiles that it names."""

import json
from typing import Any

from starlette.requests import Request

from dino_assets.serving.studio.problems import StudioProblem
from dino_assets.serving.studio.tile_lookup import TileName

MAX_BODY_BYTES = 8 * 2**20


async def read_json(request: Request) -> Any:
    """Read the JSON of a request.

    Raises:
        StudioProblem: it is too large, or no JSON.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise StudioProblem(
                413, "body-too-large", f"the body has more than {MAX_BODY_BYTES:,} bytes"
            )
    try:
        value = json.loads(bytes(body))
        if b"\\u" in body:  # half of a pair of code units could not be stored, nor searched for
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as err:
        raise StudioProblem(400, "not-json", f"the body is not JSON: {err}") from err
    return value


def read_names(body: Any) -> list[TileName]:
    """Read the tiles that a body names.

    Raises:
        StudioProblem: the body is not as expected; 422.
    """
    tiles = body.get("tiles") if isinstance(body, dict) else None
    if not isinstance(tiles, list) or not all(
        isinstance(each, list) and len(each) == 2 and all(isinstance(word, str) for word in each)
        for each in tiles
    ):
        raise StudioProblem(
            422, "unexpected-body", "expected an object with `tiles`, a list of [drop, tile id]"
        )
    return [TileName(drop, tile_id) for drop, tile_id in tiles]

"""Dagster's web server with an additional route for the committed files of the store.

``python -m dino_assets.defs.web_server dev`` is ``dagster dev`` with this web server; without ``dev`` it is
``dagster-webserver``. Files are read from the store, so a link is the same on a disk and on S3, and it never
expires.
"""

import hashlib
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dino_assets.defs.dagster_internals.servers import run_dev, run_web_server
from dino_assets.defs.file_links import CONTENT_TYPES, PICTURE_SUFFIXES, ROOT, find_key
from dino_assets.defs.output_metadata import find_program
from dino_assets.drawing.thumbnails import draw_thumbnail
from dino_assets.errors import ObjectNotFoundError, StoreError
from dino_assets.settings.environment import load_settings
from dino_assets.store.objects import ObjectStore, open_store

SMALL_PX = 400  # width of a value in the UI
MAX_SMALL_BYTES = 2**20
MAX_BYTES = 128 * 2**20  # a file is read whole to verify its hash; pages are some MB
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Pages contain file names that other people chose. So they run in an origin of their own, separate from
    # the UI and without network access.
    "Content-Security-Policy": (
        "sandbox allow-scripts allow-popups; default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    ),
}


def make_route(open_files: Callable[[], ObjectStore]) -> Route:
    """Make the route that serves committed files by their hash: GET and HEAD only, no lists of files."""

    def serve(request: Request) -> Response:
        # The raw path: an escaped character is never part of a valid key.
        path = request.scope["raw_path"].decode("ascii", "replace").removeprefix(f"{ROOT}/")
        key = find_key(*path.split("/"))
        if key is None:
            return _refuse(404, "This is not a link to a committed file.")
        return serve_part(open_files(), key, is_small="small" in request.query_params)

    return Route(f"{ROOT}/{{path:path}}", serve, methods=["GET"])


def serve_part(store: ObjectStore, key: str, *, is_small: bool = False) -> Response:
    """Answer with the committed file at ``key`` if its hash is right; ``is_small`` reduces a picture."""
    name = PurePosixPath(key)
    try:
        if store.head(key).bytes > MAX_BYTES:
            return _refuse(
                413,
                f"The file is too large to be shown here. Write it to a folder with {_spell('export')}.",
            )
        data = store.get(key)
    except ObjectNotFoundError:
        return _refuse(
            404,
            "The file is no longer in the store: its output was made again. Open the link of the latest "
            "materialisation.",
        )
    except StoreError as err:
        return _refuse(503, str(err))
    if hashlib.sha256(data).hexdigest() != name.stem:
        return _refuse(
            410,
            f"The file is damaged: its hash is not the committed one. Run {_spell('verify', '--repair')}.",
        )
    cached = {"Cache-Control": "private, max-age=31536000, immutable"}
    suffix = name.suffix
    if is_small and suffix in PICTURE_SUFFIXES:
        data, suffix = draw_thumbnail(data, max_bytes=MAX_SMALL_BYTES, max_px=SMALL_PX), ".png"
    return Response(data, headers=HEADERS | cached, media_type=CONTENT_TYPES[suffix])


def _spell(*words: str) -> str:
    return f"`{shlex.join([*find_program(), *words])}`"


def _refuse(status: int, sentence: str) -> Response:
    return PlainTextResponse(
        sentence + "\n", status, headers=HEADERS | {"Cache-Control": "no-store"}
    )


def main(arguments: Sequence[str]) -> None:
    """Run ``dagster dev`` if the first argument is ``dev``, otherwise only Dagster's web server."""
    if arguments[:1] == ["dev"]:
        run_dev(arguments[1:], web_server=__spec__.name)
    else:
        run_web_server(arguments, [make_route(lambda: open_store(load_settings().storage))])


if __name__ == "__main__":
    main(sys.argv[1:])

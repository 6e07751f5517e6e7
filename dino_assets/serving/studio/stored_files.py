"""Stored pictures and reports that the studio shows."""

from pathlib import PurePosixPath

from starlette.responses import Response

from dino_assets.serving.studio.problems import StudioProblem
from dino_assets.serving.studio.tile_lookup import TileLookup
from dino_assets.store.commits.parts import read_part

_ASSETS = ("images", "projections", "selections", "probes", "heat_maps", "learning_curve")
_IN_SPACE = frozenset(_ASSETS) - {"images"}
_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".html": "text/html; charset=utf-8"}
# A report holds file names that other people chose. So it runs in an origin of its own, without the network.
_SANDBOX = (
    "sandbox allow-scripts allow-popups; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'"
)


def serve_file(
    lookup: TileLookup, asset: str, space: str | None, drop: str | None, name: str
) -> Response:
    """Answer with a picture or page that is stored with an output, after a check of its hash.

    Raises:
        StudioProblem: there is no such file, or it is neither a picture nor a page; 404.
        NotCommittedError: the output does not exist.
        CorruptObjectError: the file is damaged.
    """
    kind = _TYPES.get(PurePosixPath(name).suffix)
    if asset not in _ASSETS or kind is None or (space is not None) != (asset in _IN_SPACE):
        raise StudioProblem(404, "no-such-file", f"{asset} has no file {name!r} to show")
    table = lookup.open(asset, space)
    part = next((part for part in table.manifest(drop).parts if part.name == name), None)
    if part is None:
        raise StudioProblem(404, "no-such-file", f"{asset} has no file {name!r}. Reload the page.")
    headers = {"Cache-Control": "no-cache"}
    if kind.startswith("text/html"):
        headers["Content-Security-Policy"] = _SANDBOX
    return Response(read_part(table.store, part), media_type=kind, headers=headers)

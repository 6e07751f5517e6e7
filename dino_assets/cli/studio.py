"""The command ``studio``: the local page for labelling tiles and looking at results."""

import argparse
import socket
import sys
import textwrap
import webbrowser

from dino_assets.cli.registering import open_store_here
from dino_assets.cli.terminal import say
from dino_assets.cli.web_ui import check_port
from dino_assets.settings.records import Settings

HOST = "127.0.0.1"
PORT = 8020
_HELP = """
    Open the studio: label the tiles of a round, a search or the map, and look at flights, rounds and drops.

    The page is served to this machine only. Its address holds a secret, so keep it to yourself. An answer
    that the page shows as saved is in the store. To end the studio, press Ctrl-C.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``studio``."""
    studio = commands.add_parser(
        "studio",
        help="label tiles, and look at maps, flights, rounds and drops, in the browser",
        description=textwrap.dedent(_HELP),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    studio.add_argument(
        "--port",
        type=int,
        default=PORT,
        help=f"port to listen on; 0: any free port (default: {PORT})",
    )
    studio.add_argument(
        "--browser",
        action="store_true",
        help="open the address in this machine's browser (default: only print it)",
    )
    studio.set_defaults(run=_run)


def _run(options: argparse.Namespace, settings: Settings) -> int:
    import uvicorn

    from dino_assets.serving.studio.access import make_token
    from dino_assets.serving.studio.app import make_studio_app
    from dino_assets.serving.studio.studio import open_studio
    from dino_assets.settings.environment import find_cache

    store = open_store_here(settings)
    check_port(HOST, options.port, subject="the studio")
    studio = open_studio(store, root=settings.root, cache=find_cache(settings.root))
    token = make_token()
    with socket.create_server((HOST, options.port)) as listener:
        port = listener.getsockname()[1]
        app = make_studio_app(studio, token=token, port=port)
        address = f"http://{HOST}:{port}/?token={token}"
        say(f"Studio: {address}")
        sys.stdout.flush()
        # Ended connections of an open page must not delay the end: what is saved is in the store.
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
        if options.browser:
            webbrowser.open(address)
        uvicorn.Server(config).run(sockets=[listener])
    return 0

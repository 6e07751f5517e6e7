"""The command ``serve``: the embedding service."""

import argparse
import contextlib
import ipaddress
import signal
import socket
import sys
import textwrap
from collections.abc import Iterator
from types import FrameType

from dino_assets.cli.terminal import say, showing_progress
from dino_assets.cli.web_ui import check_port
from dino_assets.errors import ConfigError, MissingExtraError
from dino_assets.settings.project import check_project
from dino_assets.settings.records import Settings

_HELP = """
    Serve embeddings by HTTP: upload a photograph, get the address of its embedding in the store.

    The model is set by DINO_MODEL_ID, the store by DINO_STORAGE (or MINIO_…, AWS_…, AZURE_…), as for all
    commands. The model is fetched and checked first. POST /embed works once GET /ready answers 200.
"""
_EXAMPLES = """
    examples:
      dino-assets serve
      curl -F file=@photo.jpg http://127.0.0.1:8000/embed
      curl -F file=@photo.jpg -F tokens=mean -F dtype=fp32 http://127.0.0.1:8000/embed
      curl -O http://127.0.0.1:8000/embeddings/ID        gets the .npz file; DELETE removes it

    with keys, for other machines (a key has 16 characters or more):
      DINO_API_KEYS=camera-7:KEY:embed+read,admin:KEY:embed+read+delete dino-assets serve --host 0.0.0.0
      curl -H 'Authorization: Bearer KEY' -F file=@photo.jpg http://HOST:8000/embed

    Other addresses: /health, /ready, /metrics (Prometheus), /openapi.json. For uvicorn's own options run
    `uvicorn dino_assets.serving.app:app`, which serves the same.

    exit code: 0 stopped by SIGTERM, after all accepted uploads were answered; 1 an error before the
    service started; 2 wrong usage; 130 interrupted
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``serve``."""
    serve = commands.add_parser(
        "serve",
        help="serve embeddings by HTTP",
        description=textwrap.dedent(_HELP),
        epilog=textwrap.dedent(_EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; if other machines can reach it, keys or --open are needed "
        "(default: 127.0.0.1)",
    )
    serve.add_argument(
        "--port", type=int, default=8000, help="port to listen on; 0: any free port (default: 8000)"
    )
    serve.add_argument(
        "--open",
        action="store_true",
        help="allow everybody who reaches the port to use it without a key (default: no)",
    )
    serve.set_defaults(run=_serve)


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """End with exit code 0 on SIGTERM, also before the web server installs its own handler.

    The first process of a container ignores signals that it does not handle.
    """

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(0)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@_ending_on_sigterm()
def _serve(options: argparse.Namespace, settings: Settings) -> int:
    try:
        import uvicorn

        from dino_assets.serving.app import make_app
        from dino_assets.serving.computing.engines import locate_model, name_model
        from dino_assets.serving.lifespan import open_serving_store
    except ImportError as err:
        raise MissingExtraError("The embedding service", extra="serve") from err
    check_project(settings)
    serving = settings.serving
    if not (serving.keys or serving.is_open or options.open or _is_own(options.host)):
        raise ConfigError(
            f"--host {options.host} can be reached from other machines, but no API keys are configured. Set "
            "DINO_API_KEYS (`dino-assets serve --help` shows how). To allow everybody who reaches the port, "
            "use --open or DINO_SERVE_OPEN=true instead.",
            setting="host",
            value=options.host,
        )
    check_port(options.host, options.port, subject="the service")
    with showing_progress(name_model(settings)) as progress:
        # Before the server starts, so that an error ends the command. Later, the server would run without a
        # model.
        locate_model(settings, open_serving_store(settings.storage), progress=progress)
    app = make_app(is_open=options.open or None)
    config = uvicorn.Config(app, log_level="warning", http="httptools")
    with _listen(options.host, options.port) as listener:
        port = listener.getsockname()[1]
        say(f"Serving {name_model(settings)}, storing in {settings.storage.url}. Try:")
        key = "-H 'Authorization: Bearer KEY' " if serving.keys else ""
        say(f"  curl {key}-F file=@photo.jpg http://{_spell(options.host)}:{port}/embed")
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family, backlog=2048)


def _is_own(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _spell(host: str) -> str:
    """Write an address for clients; for a server that listens on all addresses, the local one."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host

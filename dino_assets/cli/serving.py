"""The embedding service from the command line."""

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
    Serve embeddings by HTTP: a photograph in, the address of its embedding in the store out.

    The model is DINO_MODEL_ID, the store DINO_STORAGE (or MINIO_…, AWS_…, AZURE_…), as for every
    other command. It is fetched and checked first; POST /embed answers once GET /ready says 200.
"""
_EXAMPLES = """
    examples:
      dino-assets serve
      curl -F file=@photo.jpg http://127.0.0.1:8000/embed
      curl -F file=@photo.jpg -F tokens=mean -F dtype=fp32 http://127.0.0.1:8000/embed
      curl -O http://127.0.0.1:8000/embeddings/ID        the .npz; DELETE removes it

    with keys, for other machines (a key has 16 characters or more):
      DINO_API_KEYS=camera-7:KEY:embed+read,admin:KEY:embed+read+delete dino-assets serve --host 0.0.0.0
      curl -H 'Authorization: Bearer KEY' -F file=@photo.jpg http://HOST:8000/embed

    Other addresses: /health, /ready, /metrics (Prometheus), /openapi.json. The same as
    `uvicorn dino_assets.serving.app:app`, which takes what this command has no option for.

    exit code: 0 stopped by SIGTERM, after everything accepted was answered; 1 an error before it
    served; 2 wrong usage; 130 interrupted
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``serve``."""
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
        help="where to listen; others than this machine's own addresses need keys, or --open "
        "(default: 127.0.0.1)",
    )
    serve.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    serve.add_argument(
        "--open",
        action="store_true",
        help="everybody who reaches the port may use it without a key (default: no)",
    )
    serve.set_defaults(run=_serve)


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """End with 0 on SIGTERM, also before the web server has a handler of its own.

    A container's first process is not ended by a signal that it does not handle.
    """

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
            f"--host {options.host} lets other machines in, and no API keys are configured. Set "
            "DINO_API_KEYS (`dino-assets serve --help` shows how), or say --open (or set "
            "DINO_SERVE_OPEN=true) where everybody who reaches the port may use it.",
            setting="host",
            value=options.host,
        )
    check_port(options.host, options.port, subject="the service")
    with showing_progress(name_model(settings)) as progress:
        # Here, where an error ends the command: the server would go on without a model.
        locate_model(settings, open_serving_store(settings.storage), progress=progress)
    app = make_app(is_open=options.open or None)
    config = uvicorn.Config(app, log_level="warning", http="httptools")
    with _listen(options.host, options.port) as listener:
        port = listener.getsockname()[1]
        say(f"Serving {name_model(settings)}, storing in {settings.storage.url}. In a moment:")
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
    """An address to ask at: a server that listens everywhere is asked by its own name."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host

"""Start of Dagster's development server and web server, with additional routes."""

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import dagster as dg


def run_dev(arguments: Sequence[str], *, web_server: str) -> None:
    """Run ``dagster dev`` with the module ``web_server`` as its web server.

    In the command that starts the web server, only the module's name is replaced.
    """
    dev: Any = import_module("dagster._cli.dev")

    start = dev.open_ipc_subprocess

    def start_with_web_server(command: list[str], **options: Any) -> Any:
        words = [web_server if word == "dagster_webserver" else word for word in command]
        return start(words, **options)

    dev.open_ipc_subprocess = start_with_web_server
    # The warning recommends `dg dev`. A person who opens the UI with our command cannot follow this advice.
    warnings.simplefilter("ignore", dg.SupersessionWarning)
    dev.dev_command.main(list(arguments), prog_name="dagster dev")


def run_web_server(arguments: Sequence[str], routes: Sequence[Any]) -> None:
    """Run Dagster's web server with additional routes, which come before its own."""
    cli: Any = import_module("dagster_webserver.cli")

    make_app = cli.create_app_from_workspace_process_context

    def make_app_with_routes(*arguments: Any, **options: Any) -> Any:
        app = make_app(*arguments, **options)
        app.router.routes[:0] = routes
        return app

    cli.create_app_from_workspace_process_context = make_app_with_routes
    cli.dagster_webserver.main(
        list(arguments), prog_name="dagster-webserver", auto_envvar_prefix="DAGSTER_WEBSERVER"
    )

"""Commands for the set-up: ``demo``, ``doctor``, ``ui``."""

import argparse
from dataclasses import asdict

from dino_assets.cli.flags import add_json
from dino_assets.cli.terminal import name_command, say, write_json
from dino_assets.settings.project import check_project
from dino_assets.settings.records import Settings


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands ``demo``, ``doctor`` and ``ui``."""
    demo = commands.add_parser(
        "demo", help="try everything: process two drawn flights with a small model"
    )
    demo.add_argument("--ui", action="store_true", help="then open the Dagster UI for the demo")
    demo.add_argument("--verbose", action="store_true", help="also show the runs' logs")
    _add_address(demo)
    demo.set_defaults(run=_demo)

    doctor = commands.add_parser(
        "doctor", help="check this set-up, and print what is wrong and what to do"
    )
    doctor.add_argument(
        "--create-bucket", action="store_true", help="create the store's bucket if it is missing"
    )
    add_json(doctor)
    doctor.set_defaults(run=_doctor, says_unknown=True)

    ui = commands.add_parser("ui", help="open the Dagster UI for this folder")
    _add_address(ui)
    ui.set_defaults(run=_ui)


def _add_address(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on. There is no login: everybody who reaches it sees and can start "
        "everything (default: 127.0.0.1, this machine only)",
    )
    command.add_argument("--port", type=int, default=3000, help="port to listen on (default: 3000)")


def _demo(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.demo.place import is_demo, settings_of_demo

    check_project(settings)
    demo = settings_of_demo(settings)
    if not options.ui or not is_demo(demo.root):
        from dino_assets.demo.running import run_demo
        from dino_assets.demo.summary import find_ui

        ui = find_ui(options.host, options.port, is_opened_next=options.ui)
        command = name_command()
        if not run_demo(settings, say, command=command, ui=ui, is_verbose=options.verbose):
            return 1
    return _demo_ui(options, demo) if options.ui else 0


def _demo_ui(options: argparse.Namespace, demo: Settings) -> int:
    from dino_assets.cli.web_ui import serve
    from dino_assets.defs.instance import open_instance
    from dino_assets.demo.place import environment_of_demo

    with open_instance(demo.root, home=demo.root):
        pass  # creates the databases under a lock, as in `_ui`
    environment = environment_of_demo(demo) | _own_address(options)
    return serve(demo.root, options.host, options.port, environment=environment)


def _own_address(options: argparse.Namespace) -> dict[str, str]:
    """Return the environment variable with the UI's address, which alerts of failed runs link to."""
    return {"DINO_UI_URL": f"http://{options.host}:{options.port}"}


def _doctor(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.doctor import examine

    worst = 0
    findings = examine(settings, may_create_bucket=options.create_bucket)
    if options.json:
        verdicts = list(findings)
        write_json([asdict(each) for each in verdicts])
        return int(not all(each.passed for each in verdicts))
    for finding in findings:
        word = "FAIL" if not finding.passed else "WARN" if finding.warns else "ok"
        say(f"{word:<4} {finding.subject:<11} {finding.sentence}")
        worst |= not finding.passed
    return worst


def _ui(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.cli.web_ui import serve
    from dino_assets.defs.instance import instance_home, open_instance
    from dino_assets.settings.environment import environment_with

    with open_instance(settings.root):
        pass  # creates the databases under a lock: `dagster dev` starts several processes at once
    home = str(instance_home(settings.root))
    environment = environment_with(DAGSTER_HOME=home)
    if settings.ui_url == Settings.ui_url:  # DINO_UI_URL is not set
        environment |= _own_address(options)
    return serve(settings.root, options.host, options.port, environment=environment)

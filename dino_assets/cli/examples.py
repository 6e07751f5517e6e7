"""Examples in the help of commands."""

import argparse
from collections.abc import Iterator

# The other commands have examples in their own modules, with longer texts.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "status": ("status", "status --json"),
    "demo": ("demo", "demo --ui"),
    "doctor": ("doctor", "doctor --create-bucket", "doctor --json"),
    "ui": ("ui", "ui --port 3001"),
    "run": (
        "run my-flight --from /media/sd-card",
        "run my-flight ridge",
        "run my-flight --select tiles,embeddings",
        "run --select curate",
    ),
    "fetch": ("fetch --model dinov3-vitl16 --to dinov3", "fetch --config config.json"),
    "import": ("import dinov3_vits16_pretrain.pth", "import path/to/folder --to models/mine"),
    "samples checkpoint": ("samples checkpoint models/tiny",),
    "drops register": (
        "drops register my-flight --from /media/sd-card --tag fire",
        "drops register archive --from s3://bucket/prefix",
        "drops register traps --from /media/sd-card --boxes megadetector.json --least-score 0.2",
    ),
    "drops list": ("drops list", "drops list --json"),
    "drops tag": ("drops tag my-flight fire 2026", "drops tag my-flight fire --remove ridge"),
    "drops retire": ("drops retire my-flight",),
    "drops restore": ("drops restore my-flight",),
    "drops report": ("drops report my-flight", "drops report my-flight --json"),
    "select": (
        "select --round 2 --budget 50",
        "select --round 2 --tag fire --strategy fps",
        "select --share smoke=20 --share explore=20 --example smoke=photo.jpg:1200,800,512,512",
        "select embeddings.npz -n 50 --to chosen.csv",
    ),
    "studio": ("studio", "studio --browser --port 8021"),
    "rounds": ("rounds", "rounds --json"),
    "labels export": (
        "labels export round-0001 --to out/round-1 --class smoke --class cloud",
        "labels export 1 --to out/round-1 --format label-studio --image-url s3://bucket/images",
    ),
    "labels import": (
        "labels import annotations.xml --by team-a",
        "labels import out/sorted --by anna --json",
    ),
    "labels status": ("labels status", "labels status --json"),
    "labels freeze": ("labels freeze --to out/smoke-labels --licence CC-BY-4.0",),
    "find": (
        "find photo.jpg:1200,800,512,512 -k 20 --sheet out/similar.jpg",
        "find smoke.npy --not cloud.npy --drop my-flight --json",
    ),
    "like": (
        "like smoke1.jpg smoke2.jpg photo.jpg:1200,800,512,512 --name smoke --sheet out/smoke.jpg",
        "like smoke1.jpg smoke2.jpg smoke3.jpg --not cloud.jpg --name smoke",
        "like --name smoke --json",
        "like --list --json",
        "like --remove smoke",
    ),
    "heat-map": (
        "heat-map my-flight --to out/heat",
        "heat-map my-flight ridge --of smoke --to out/heat --json",
    ),
    "probe train": (
        "probe train",
        "probe train --split flight --seed 1",
        "probe train --kind linear --json",
    ),
    "probe predict": ("probe predict my-flight", "probe predict --npz predictions.npz"),
    "duplicates": (
        "duplicates --to duplicates.csv --sheet out/duplicates.jpg",
        "duplicates --cosine 0.95 --drop my-flight --json",
    ),
    "curve": ("curve", "curve --seeds 20 --drop my-flight --json"),
    "slices": ("slices", "slices --json"),
    "tiles preview": ("tiles preview photo.jpg", "tiles preview photo.jpg --tile-m 20"),
    "footprints": (
        "footprints images my-flight --to images.gpkg",
        "footprints selections round-0001 --to round.geojson",
    ),
    "export-model": (
        "export-model dinov2-base --to out/dinov2-base",
        "export-model dinov2-base --to out/dinov2-base --triton out/repository",
    ),
    "parts": ("parts tiles my-flight", "parts embeddings my-flight --json"),
    "export": (
        "export images my-flight --to out/flight",
        "export selections round-0001 --to out/round",
    ),
    "verify": ("verify", "verify --repair", "verify round-0001 --recompute"),
    "collect": ("collect --dry-run", "collect"),
    "completion": ("completion bash > ~/.local/share/bash-completion/completions/dino-assets",),
}


def add_examples(parser: argparse.ArgumentParser) -> None:
    """Add the examples to the help of every command below a parser."""
    for command in list_commands(parser):
        name = command.prog.removeprefix(f"{parser.prog} ")
        if name in EXAMPLES:
            lines = [f"  {parser.prog} {each}" for each in EXAMPLES[name]]
            command.epilog = "\n".join(filter(None, [command.epilog, "examples:", *lines]))
            command.formatter_class = _HelpFormatter


def list_commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """List the parsers of all commands that can be run."""
    groups = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    for group in groups:
        for command in group.choices.values():
            yield from list_commands(command)
    if not groups:
        yield parser


class _HelpFormatter(argparse.HelpFormatter):
    """Help formatter that wraps a description and leaves the lines of examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "examples:" in text or "\n" in text:
            return "\n".join(f"{indent}{line}" for line in text.splitlines())
        return super()._fill_text(text, width, indent)

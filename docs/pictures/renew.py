"""Drawing of the documentation's pictures from the demo, by ``make pictures``.

It needs Chromium and the results of ``make demo``.
"""

import contextlib
import io
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

PICTURES = Path(__file__).parent
DEMO = PICTURES.parent.parent / "demo"
MOST_BYTES = 300_000
COLOURS = 128  # of a screenshot's palette
PATIENCE_S = 60


def main() -> None:
    """Draw all pictures into this folder."""
    if not (DEMO / "out" / "round-map.html").is_file():
        sys.exit("There is no demo yet: run `make demo` first.")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        command = [sys.executable, "-m", "dino_assets.cli", "export", "images", "river-burn"]
        subprocess.run([*command, "--to", str(report)], cwd=DEMO, check=True)
        round_map = (DEMO / "out" / "round-map.html").as_uri()
        photograph(round_map, "round-map.png", width=1280, height=760, wait_s=5)
        photograph(
            (report / "report.html").as_uri(), "drop-report.png", width=1100, height=1150, wait_s=5
        )
        with serving_demo() as address:
            graph = f"{address}/asset-groups?expanded=global@global:ingest,global@global:curate"
            photograph(graph, "dagster-lineage.png", width=1500, height=560, wait_s=25)
    save_small(Image.open(DEMO / "out" / "contact-sheet.jpg"), PICTURES / "contact-sheet.jpg")
    with tempfile.TemporaryDirectory() as folder:
        photograph_studio(Path(folder))


def photograph_studio(folder: Path) -> None:
    """Save two pages of the studio, in a copy of the demo: labels are no part of it."""
    sys.path.insert(0, str(PICTURES.parent.parent))  # the tests' browser presses keys
    from dino_assets_tests.serving.studio.in_browser import (
        browsing_studio,
        go_to,
        make_classes,
        open_studio_page,
        press_often,
    )
    from dino_assets_tests.worlds.studio import StudioProject, running_studio

    shutil.copytree(DEMO, folder / "demo")
    project = StudioProject(folder / "demo", "")
    with (
        running_studio(project) as studio,
        browsing_studio(folder, size=(1280, 820)) as page,
    ):
        open_studio_page(page, studio)
        make_classes(page)
        press_often(page, "1", "2", "x")
        page.wait_for(
            "document.body.dataset.unsaved === '0' && document.body.dataset.place === '6'"
        )
        page.wait_for("document.body.dataset.shown")
        save_small(Image.open(io.BytesIO(page.photograph())), PICTURES / "studio-label.jpg")
        go_to(page, "map")
        page.ask("document.querySelector('#map-canvas').focus()")
        corner = ["ArrowLeft"] * 6 + ["ArrowUp"] * 6
        press_often(page, *corner, "Enter", *["ArrowRight"] * 12, *["ArrowDown"] * 12, "Enter")
        page.wait_for("document.querySelectorAll('.sample img').length === 12")
        page.ask("Promise.all([...document.images].map(image => image.decode()))")
        picture = Image.open(io.BytesIO(page.photograph())).convert("RGB")
        small = picture.quantize(COLOURS, dither=Image.Dither.NONE)
        small.save(PICTURES / "studio-map.png", optimize=True)


def photograph(address: str, name: str, *, width: int, height: int, wait_s: int) -> None:
    """Save a screenshot of a page in Chromium as a PNG with few colours."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        subprocess.run(
            [
                shutil.which("chromium")
                or shutil.which("google-chrome")
                or sys.exit("Chromium was not found. Install it, then run `make pictures`."),
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
                *(f"--user-data-dir={folder}/profile", f"--window-size={width},{height}"),
                *(f"--virtual-time-budget={wait_s * 1000}", "--hide-scrollbars"),
                *(f"--screenshot={shot}", address),
            ],
            check=True,
            stderr=subprocess.DEVNULL,
            timeout=10 * PATIENCE_S,
        )
        picture = Image.open(shot).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        picture.save(PICTURES / name, optimize=True)


def save_small(picture: Image.Image, path: Path) -> None:
    """Save a picture as a JPEG of at most ``MOST_BYTES``, in the best quality that fits."""
    picture = picture.convert("RGB")
    picture.thumbnail((1100, 1100))
    for quality in range(85, 20, -5):
        picture.save(path, quality=quality, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            break


@contextlib.contextmanager
def serving_demo() -> Iterator[str]:
    """Serve the demo's Dagster UI while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "dino_assets.cli", "ui", "--port", str(port)],
        cwd=DEMO,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 3 * PATIENCE_S
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/server_info", timeout=5).close()
                break
            if time.monotonic() > deadline:
                sys.exit(
                    f"The demo's UI did not answer within {3 * PATIENCE_S} s. Run `make demo-ui`."
                )
            time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


if __name__ == "__main__":
    main()

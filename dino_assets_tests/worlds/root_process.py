"""A fetch into a folder, in a process of its own.

``python -m … '{"model": …, "root": …, "into": …, "die_at": bytes, "die": "before the exchange"}'``
"""

import json
import os
import signal
import sys
from pathlib import Path

from dino_assets.store.folders import exchange_names
from dino_assets.weights.hub.filling import Watch
from dino_assets_tests.worlds.finding import find_checkpoint


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(order: dict) -> None:
    die_at = order.get("die_at")

    def exchange(new: Path, folder: Path) -> bool:
        if order.get("die") == "before the exchange":
            die()
        exchange_names(new, folder)
        if order.get("die") == "after the exchange":
            die()
        return True

    def progress(done: int, total: int) -> None:
        if die_at is not None and done >= die_at:
            die()

    places = {"root": Path(order["root"]), "into": Path(order["into"])}
    watch = Watch(progress)
    print(find_checkpoint(order["model"], **places, watch=watch, exchange=exchange))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

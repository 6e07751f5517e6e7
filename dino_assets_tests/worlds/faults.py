"""What a machine refuses now and then, refused at will."""

import shutil
from pathlib import Path

import pytest


def let_fail(patch: pytest.MonkeyPatch, holder: object, name: str, err: BaseException) -> None:
    """Have a function of the standard library raise."""

    def fail(*_: object, **__: object) -> None:
        raise err

    patch.setattr(holder, name, fail)


def report_free(patch: pytest.MonkeyPatch, disk: Path, free_bytes: int) -> None:
    """Have a disk say that it has so much room."""
    total, used, _ = shutil.disk_usage(disk)
    usage = type(shutil.disk_usage(disk))(total, used, free_bytes)
    patch.setattr(shutil, "disk_usage", lambda _: usage)

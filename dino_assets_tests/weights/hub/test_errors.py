"""Hub errors: logs show the documented names."""

import traceback

import pytest

from dino_assets import errors as ours
from dino_assets.errors import name_publicly
from dino_assets.weights.hub import errors as hub_errors

ERROR_CLASSES = [
    kind
    for kind in vars(hub_errors).values()
    if isinstance(kind, type) and issubclass(kind, ours.DinoAssetsError)
]


def test_errors__every_hub_error_has_a_class():
    assert len(ERROR_CLASSES) == 6


@pytest.mark.parametrize("kind", ERROR_CLASSES, ids=lambda kind: f"{kind.__mro__[2].__name__}")
def test_errors__a_log_shows_the_documented_name(kind: type[ours.DinoAssetsError]):
    (line,) = traceback.format_exception_only(kind, kind.__new__(kind))
    shown_name = line.partition(":")[0].strip().rpartition(".")[2]
    assert shown_name == name_publicly(kind)
    assert f"{shown_name} " in f"{ours.__doc__} ".replace("\n", " ")

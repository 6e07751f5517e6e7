"""Explanations made from the errors that Dagster stores."""

import errno

import pytest
from dagster._utils.error import SerializableErrorInfo, serializable_error_info_from_exc_info

from dino_assets.defs.failures import advise, explain_error
from dino_assets.errors import ConfigError, DropsFailedError, SourceError
from dino_assets.weights.hub.errors import LocalEntryNotFoundError


def keep(err: Exception, *, below: Exception | None = None) -> SerializableErrorInfo:
    """Make an error as Dagster stores it."""
    with pytest.raises(type(err)) as caught:
        raise err from below
    return serializable_error_info_from_exc_info((caught.type, caught.value, caught.tb))


def failed(**errors: Exception) -> DropsFailedError:
    lines = "\n".join(f"  {drop}: {type(err).__name__}: {err}" for drop, err in errors.items())
    return DropsFailedError(f"images: some drops failed:\n{lines}", failures=errors)


def test_explain_error__own_error_before_its_causes():
    error = keep(RuntimeError("step"), below=SourceError("the card is gone."))
    assert explain_error(error, drop="a") == "SourceError: the card is gone."
    error = keep(ConfigError("no such device."), below=ValueError("cuda"))
    assert explain_error(error, drop=None) == "ConfigError: no such device."


def test_explain_error__public_class_name():
    error = keep(LocalEntryNotFoundError("out of reach."))
    assert explain_error(error, drop=None) == "LocalEntryNotFoundError: out of reach."


def test_explain_error__only_the_drop_of_the_run():
    error = keep(failed(a=SourceError("the card is gone.")))
    assert explain_error(error, drop="a") == "SourceError: the card is gone."
    error = keep(failed(**{"a.b": OSError(errno.ENOSPC, "No space left on device")}))
    assert explain_error(error, drop="a.b").endswith("free some space and run again.")
    error = keep(failed(a=ConfigError("x"), b=ConfigError("y")))
    assert "  b: ConfigError: y" in explain_error(error, drop=None)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("[Errno 28] No space left on device: 'x'", "free some space"),
        ("(sqlite3.OperationalError) database or disk is full", "free some space"),
        ("[Errno 13] Permission denied: 'x'", "permissions"),
        ("attempt to write a readonly database", "permissions"),
        ("list index out of range", "--debug"),
    ],
)
def test_advise__errors_of_other_libraries(text: str, advice: str):
    sentence = advise("SomeError", f"{text}\n[SQL: INSERT …]")
    assert sentence.startswith(f"SomeError: {text}. ")
    assert advice in sentence
    assert "\n" not in sentence

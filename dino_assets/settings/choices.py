"""Checks of settings: words from a list of choices, numbers within limits."""

from dino_assets.errors import ConfigError


def check_word(name: str, value: str, choices: tuple[str, ...], *, subject: str = "") -> None:
    """Check that a setting is one of the choices; messages put ``subject`` before the setting's name.

    Raises:
        ConfigError: the value is not one of the choices.
    """
    if value not in choices:
        raise ConfigError(
            f"{subject}{name} is {value!r}; use one of {', '.join(choices)}",
            setting=name,
            value=value,
        )


def check_range(
    name: str,
    value: float,
    *,
    least: float | None = None,
    most: float | None = None,
    meaning: str = "",
) -> None:
    """Check that a number is at least ``least`` and at most ``most``; None stands for no limit.

    The message of the error shows ``meaning``.

    Raises:
        ConfigError: the number is outside its limits, or NaN.
    """
    # With NaN every comparison is False.
    if (least is None or value >= least) and (most is None or value <= most):
        return
    if most is None:
        limits = f"{least:.10g} or more"
    else:
        limits = f"at most {most:.10g}" if least is None else f"{least:.10g} to {most:.10g}"
    about = f" ({meaning})" if meaning else ""
    raise ConfigError(f"{name}={value}: expected {limits}{about}", setting=name, value=value)

"""Words that a person may choose from, and limits of numbers."""

from dino_assets.errors import ConfigError


def check_word(name: str, value: str, choices: tuple[str, ...], *, subject: str = "") -> None:
    """Refuse a word that is not among the choices; the message begins with ``subject``.

    Raises:
        ConfigError: it is not.
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
    """Refuse a number outside its limits, NaN included.

    Raises:
        ConfigError: it is.
    """
    # NaN is neither above nor below anything.
    if (least is None or value >= least) and (most is None or value <= most):
        return
    limits = f"{least:.10g} or more" if most is None else f"{least:.10g} to {most:.10g}"
    about = f" ({meaning})" if meaning else ""
    raise ConfigError(f"{name}={value}: expected {limits}{about}", setting=name, value=value)

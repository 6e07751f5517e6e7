"""Words that a person may choose from, and limits of numbers."""

from dino_assets.errors import ConfigError


def check_word(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a word that is not one of those known.

    Raises:
        ConfigError: it is not.
    """
    if value not in known:
        raise ConfigError(
            f"{name} is {value!r}; use one of {', '.join(known)}", setting=name, value=value
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

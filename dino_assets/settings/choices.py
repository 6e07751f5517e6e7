"""Words that a person may choose from."""

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

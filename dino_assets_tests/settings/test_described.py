"""Records of settings: checks, flags, config of an asset, recipes."""

import argparse
from dataclasses import dataclass, replace
from typing import Literal

import pytest

from dino_assets.cli.flags import add_flags
from dino_assets.defs.config import config_of, values_of
from dino_assets.errors import ConfigError
from dino_assets.settings.described import (
    Lists,
    Numbers,
    check_settings,
    described,
    from_recipe,
    list_settings,
    make_record,
    to_recipe,
)
from dino_assets_tests.worlds.raising import raising


@dataclass(frozen=True)
class Bread:
    """Two kinds of limits, a word, and a name with ``n_``."""

    n_loaves: int = described(2, "How many", least=1)
    salt: float = described(0.5, "Share of salt", least=0, most=1)
    flour: Literal["rye", "wheat"] = described("rye", "Which flour")


@pytest.mark.parametrize(
    "values",
    [{"n_loaves": 0}, {"salt": 1.5}, {"salt": -0.1}, {"salt": float("nan")}, {"flour": "oat"}],
)
def test_check_settings__refuses_values_outside_the_limits(values: dict):
    ((name, value),) = values.items()
    with raising(ConfigError, setting=name, value=value):
        check_settings(Bread(**values))


def test_check_settings__message_names_the_limits():
    with pytest.raises(ConfigError, match=r"^salt=1.5: expected 0 to 1 \(Share of salt\)$"):
        check_settings(Bread(salt=1.5))


@pytest.mark.parametrize("values", [{}, {"n_loaves": 10**9}, {"salt": 0}, {"salt": 1}])
def test_check_settings__accepts_values_within_the_limits(values: dict):
    check_settings(Bread(**values))


def test_list_settings__meaning_lists_the_words():
    assert [setting.flag for setting in list_settings(Bread)] == ["--loaves", "--salt", "--flour"]
    *_, flour = list_settings(Bread)
    assert (flour.type, flour.default, flour.meaning) == (str, "rye", "Which flour: rye, wheat.")
    assert flour.words == ("rye", "wheat")


def test_add_flags__parses_only_given_flags():
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    add_flags(parser, Bread)
    assert vars(parser.parse_args(["--loaves", "3", "--flour", "wheat"])) == {
        "n_loaves": 3,
        "flour": "wheat",
    }
    assert vars(parser.parse_args([])) == {}


def test_config_of__fields_of_the_record_and_further_ones():
    class Config(config_of(Bread)):
        oven: int = 1

    config = Config(salt=0.25)
    assert Bread(**values_of(config, Bread)) == Bread(salt=0.25)
    assert config.oven == 1
    assert Config.model_fields["salt"].description == "Share of salt."


@dataclass(frozen=True)
class Basket:
    """Settings with an optional list."""

    size: int = described(1, "How large", least=1)
    fruits: tuple[str, ...] = described((), "Which fruits")


def test_make_record__lists_from_flags_config_and_recipe():
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    add_flags(parser, Basket)
    arguments = vars(parser.parse_args(["--fruit", "plum", "--fruit", "fig", "--fruit", "fig"]))
    basket = make_record(Basket, arguments)
    assert basket == Basket(fruits=("fig", "plum"))

    class Config(config_of(Basket)):
        pass

    assert make_record(Basket, values_of(Config(fruits=["plum", "fig"]), Basket)) == basket
    assert make_record(Basket, values_of(Config(), Basket)) == Basket()
    assert to_recipe(basket) == {"size": 1, "fruits": ["fig", "plum"]}
    assert from_recipe(Basket(), to_recipe(basket)) == basket


def test_to_recipe__leaves_out_empty_lists():
    assert to_recipe(Basket()) == {"size": 1}
    basket = Basket(size=3, fruits=("fig",))
    assert from_recipe(basket, {"other": 7}) == Basket(size=3)


@dataclass(frozen=True)
class Larder:
    """Settings with mappings."""

    jars: Numbers = described((), "How many of each")
    labels: Lists = described((), "What is on each")


def test_make_record__mappings_from_flags_config_and_recipe():
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    add_flags(parser, Larder)
    words = ["--jar", "plum=3", "--jar", "fig=1", "--label", "fig=b=c", "--label", "fig=a"]
    larder = make_record(Larder, vars(parser.parse_args(words)))
    assert larder == Larder(jars=(("fig", 1), ("plum", 3)), labels=(("fig", ("a", "b=c")),))
    assert hash(larder) == hash(replace(larder))

    class Config(config_of(Larder)):
        pass

    config = Config(jars={"plum": 3, "fig": 1}, labels={"fig": ["b=c", "a"]})
    assert make_record(Larder, values_of(config, Larder)) == larder
    assert make_record(Larder, values_of(Config(), Larder)) == Larder()
    recipe = {"jars": {"fig": 1, "plum": 3}, "labels": {"fig": ["a", "b=c"]}}
    assert to_recipe(larder) == recipe
    assert from_recipe(Larder(), recipe) == larder
    assert to_recipe(Larder()) == {}
    assert from_recipe(larder, {}) == Larder()
    check_settings(larder)


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        ({"jars": ["plum"]}, "jars"),
        ({"jars": ["=3"]}, "jars"),
        ({"jars": ["plum=-3"]}, "jars"),
        ({"jars": ["plum=3", "plum=3"]}, "jars"),
        ({"labels": ["plum="]}, "labels"),
    ],
)
def test_make_record__refuses_words_that_are_no_pairs(words: dict, setting: str):
    with raising(ConfigError, setting=setting):
        make_record(Larder, words)


@dataclass(frozen=True)
class Oven:
    """Settings with a permission."""

    heat: int = described(200, "How hot")
    burn: bool = described(False, "Go on when it smokes", is_permission=True)


def test_to_recipe__leaves_out_permissions():
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    add_flags(parser, Oven)
    assert vars(parser.parse_args(["--burn"])) == {"burn": True}
    assert vars(parser.parse_args([])) == {}

    class Config(config_of(Oven)):
        pass

    assert make_record(Oven, values_of(Config(burn=True), Oven)) == Oven(burn=True)
    assert to_recipe(Oven(burn=True)) == to_recipe(Oven()) == {"heat": 200}
    assert from_recipe(Oven(burn=True), {"heat": 90}) == Oven(heat=90, burn=True)

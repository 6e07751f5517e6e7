import math

import pytest

from dino_assets.errors import ConfigError
from dino_assets.settings.choices import check_range


@pytest.mark.parametrize(
    ("limits", "value"),
    [
        ({"least": 1}, 0),
        ({"most": 5}, 6),
        ({"least": 1, "most": 5}, 6),
        ({"least": 1, "most": 5}, math.nan),
        ({"most": 5}, math.nan),
    ],
)
def test_check_range__names_the_setting_and_every_limit(limits, value):
    with pytest.raises(ConfigError) as caught:
        check_range("width", value, **limits)
    assert caught.value.setting == "width"
    for limit in limits.values():
        assert str(limit) in str(caught.value).partition("expected")[2]


@pytest.mark.parametrize("limits", [{"least": 1}, {"most": 5}, {"least": 3, "most": 3}, {}])
def test_check_range__limits_are_included(limits):
    check_range("width", 3, **limits)

"""Wrong words on the command line: usage of the right command, and suggestions."""

import pytest

from dino_assets.cli import fetcher_main, main


@pytest.mark.parametrize(
    ("command", "prog", "suggestion"),
    [
        (["select", "--bugdet", "3"], "dino-assets select", "--budget"),
        (["select", "--bugdet=3"], "dino-assets select", "--budget"),
        (["drops", "list", "--jsno"], "dino-assets drops list", "--json"),
        (["run", "a", "--form", "card"], "dino-assets run", "--from"),
        (["slect"], "dino-assets", "select"),
        (["drops", "lsit"], "dino-assets drops", "list"),
        (["footprints", "image", "a", "--to", "a.gpkg"], "dino-assets footprints", "images"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_main__misspelled_word_has_a_suggestion(capsys, command, prog, suggestion):
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 2
    usage, *_, error = capsys.readouterr().err.splitlines()
    assert usage.startswith(f"usage: {prog} [")
    assert error.startswith(f"{prog}: error: ")
    assert f"(did you mean {suggestion}?)" in error


def test_main__unknown_word_without_suggestion(capsys):
    with pytest.raises(SystemExit):
        main(["collect", "--zzz", "x"])
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "dino-assets collect: error: unrecognized arguments: --zzz x"


def test_fetcher_main__misspelled_flag(capsys):
    with pytest.raises(SystemExit):
        fetcher_main(["--mdoel", "dinov3-vitl16"])
    assert "dinov3-fetcher: error: " in (printed := capsys.readouterr().err)
    assert "(did you mean --model?)" in printed

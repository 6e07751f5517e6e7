"""Wrong words on the command line: the command that they are about, and what was probably meant."""

import pytest

from dino_assets.cli import fetcher_main, main


@pytest.mark.parametrize(
    ("command", "prog", "meant"),
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
def test_main__a_wrong_word(capsys, command, prog, meant):
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    usage, *_, error = capsys.readouterr().err.splitlines()
    assert usage.startswith(f"usage: {prog} [")
    assert error.startswith(f"{prog}: error: ")
    assert f"(did you mean {meant}?)" in error


def test_main__a_word_like_no_other(capsys):
    with pytest.raises(SystemExit):
        main(["verify", "--zzz", "x"])
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "dino-assets verify: error: unrecognized arguments: --zzz x"


def test_fetcher_main__a_wrong_flag(capsys):
    with pytest.raises(SystemExit):
        fetcher_main(["--mdoel", "dinov3-vitl16"])
    assert "dinov3-fetcher: error: " in (said := capsys.readouterr().err)
    assert "(did you mean --model?)" in said

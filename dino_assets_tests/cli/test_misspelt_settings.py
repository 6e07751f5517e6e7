"""Misspelled settings have no effect; every command warns of them once."""

from dino_assets.cli import main

MEANT = "did you mean DINO_STORAGE?"


def test_main__warns_of_a_misspelt_setting(project, capsys, monkeypatch):
    assert main(["drops", "list"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("DINO_STORGE", "elsewhere")
    assert main(["drops", "list"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count(MEANT) == len(printed.err.splitlines()) == 1
    assert MEANT not in printed.out


def test_doctor__warns_of_a_misspelt_setting(project, trained_dir, capsys, monkeypatch):
    monkeypatch.setenv("DINO_MODEL_ID", str(trained_dir))
    (project / ".env").write_text("DINO_STORGE=elsewhere\n")
    assert main(["doctor"]) == 0
    printed = capsys.readouterr()
    (line,) = [line for line in printed.out.splitlines() if line.startswith("WARN")]
    assert line.split()[1] == "settings"
    assert MEANT in line
    assert printed.err == ""

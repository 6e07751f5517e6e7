"""A misspelt setting has no effect; every command says so once."""

from dino_assets.cli import main

MEANT = "did you mean DINO_STORAGE?"


def test_main__warns_of_a_misspelt_setting(project, capsys, monkeypatch):
    assert main(["drops", "list"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("DINO_STORGE", "elsewhere")
    assert main(["drops", "list"]) == 0
    said = capsys.readouterr()
    assert said.err.count(MEANT) == len(said.err.splitlines()) == 1
    assert MEANT not in said.out


def test_doctor__warns_of_a_misspelt_setting(project, trained_dir, capsys, monkeypatch):
    monkeypatch.setenv("DINO_MODEL_ID", str(trained_dir))
    (project / ".env").write_text("DINO_STORGE=elsewhere\n")
    assert main(["doctor"]) == 0
    said = capsys.readouterr()
    (line,) = [line for line in said.out.splitlines() if line.startswith("WARN")]
    assert line.split()[1] == "settings"
    assert MEANT in line
    assert said.err == ""

"""``drops list`` of drops that hold nothing."""

import json

from dino_assets.cli import main


def test_list_drops__one_that_holds_no_photographs(project, write_photo, capsys):
    write_photo(project / "card" / "DJI_0001.JPG")
    (project / "notes").mkdir()
    (project / "notes" / "README.md").write_text("flown in June")
    for name, folder in (("full", "card"), ("none", "notes")):
        assert main(["drops", "register", name, "--from", folder]) == 0
    capsys.readouterr()
    assert main(["drops", "list"]) == 0
    full, none, *advice = capsys.readouterr().out.splitlines()
    assert "holds no photographs" not in full
    assert none.endswith(" (holds no photographs)")
    assert advice[-1].endswith(" drops retire none")
    assert main(["drops", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert ("is_empty" in rows["full"], rows["none"]["is_empty"]) == (False, True)
    # One that was put away, or that got its photographs, is none.
    assert main(["drops", "retire", "none"]) == 0
    capsys.readouterr()
    assert main(["drops", "list"]) == 0
    assert "holds no photographs" not in capsys.readouterr().out
    assert main(["drops", "restore", "none"]) == 0
    write_photo(project / "notes" / "DJI_0001.JPG")
    capsys.readouterr()
    assert main(["drops", "list"]) == 0
    assert "holds no photographs" not in capsys.readouterr().out

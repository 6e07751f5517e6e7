"""``drops list`` with drops without photographs, without usable ones, and with new files."""

import json

from dino_assets.cli import main
from dino_assets.cli.terminal import name_command
from dino_assets.drops.registry import read_drop
from dino_assets.drops.sources.opening import open_source
from dino_assets.images.stage.drafting import draft_images
from dino_assets.settings.environment import load_settings
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import open_store
from dino_assets.tiles.grid import make_grid
from dino_assets.tiles.stage import draft_tiles
from dino_assets_tests.worlds.inboxes import drone_photo, fill_bytes


def test_list_drops__drop_without_photographs(project, write_photo, capsys):
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
    # Not for a retired drop, and not for a drop that has photographs now.
    assert main(["drops", "retire", "none"]) == 0
    capsys.readouterr()
    assert main(["drops", "list"]) == 0
    assert "holds no photographs" not in capsys.readouterr().out
    assert main(["drops", "restore", "none"]) == 0
    write_photo(project / "notes" / "DJI_0001.JPG")
    capsys.readouterr()
    assert main(["drops", "list"]) == 0
    assert "holds no photographs" not in capsys.readouterr().out


def test_list_drops__photographs_that_arrived_later(project, write_photo, capsys):
    write_photo(project / "card" / "DJI_0001.JPG", seed=1)
    assert main(["run", "a", "--from", "card", "--select", "images"]) == 0
    write_photo(project / "card" / "DJI_0002.JPG", seed=2)

    def show(*arguments: str) -> list[str]:
        capsys.readouterr()
        assert main(["drops", *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    late_note = "1 photograph came since the drop was read, the first is 'DJI_0002.JPG'"
    _, reason, advice = show("list")
    assert reason.strip() == late_note
    command = advice.partition(f"{name_command()} ")[2]
    assert command == "drops register a"
    (row,) = json.loads("\n".join(show("list", "--json")))
    assert row["late"] == {"came": 1, "replaced": 0, "first": "DJI_0002.JPG"}
    # The card is not in the inbox: its own folder is listed.
    assert show("register", "a")[:2] == [
        f"a: registered, {project / 'card'}",
        f"not in the drop's images yet: {late_note}",
    ]
    _, _, advice = show("list")
    assert advice.partition(f"{name_command()} ")[2] == "run a"
    assert main(["run", "a", "--select", "images"]) == 0
    (line,) = show("list")
    assert " images 2  " in line
    (row,) = json.loads("\n".join(show("list", "--json")))
    assert "late" not in row
    (register, _) = show("register", "a")
    assert register.startswith("a: already registered")


def test_list_drops__drop_of_thermal_pictures_only(project, capsys):
    """No check fails, but `tiles` cannot be made: the list has to show why."""
    infrared_xmp = 'drone-dji:ImageSource="InfraredCamera" drone-dji:AbsoluteAltitude="+600.00"'
    plain_xmp = 'drone-dji:AbsoluteAltitude="+600.00"'
    photos = {"a.jpg": drone_photo(xmp=(plain_xmp, infrared_xmp))}
    fill_bytes(project / "hot", photos)
    fill_bytes(project / "both", photos | {"b.jpg": drone_photo(seed=1)})
    store = open_store(load_settings().storage)
    for name in ("both", "hot"):
        assert main(["drops", "register", name, "--from", name]) == 0
        drop = read_drop(store, name)
        commit(store, draft_images(drop, open_source(drop.source, root=project), threads=1))
    capsys.readouterr()
    assert main(["drops", "list"]) == 0
    both, hot, reason, _ = capsys.readouterr().out.splitlines()
    assert "failed" not in both
    assert hot.startswith("hot ")
    assert "tiles – (failed)" in hot
    assert "tiles failed: 1 of 1 pictures are thermal" in reason
    # Thermal pictures were asked for.
    grid = make_grid(512, patch_px=16)
    commit(store, draft_tiles(open_table(store, "images"), "hot", grid, with_thermal=True))
    assert main(["drops", "list"]) == 0
    assert "failed" not in capsys.readouterr().out

"""The test doubles of the package behave like the real classes."""

from pathlib import Path

from dino_assets.store.commits.writing import commit
from dino_assets.testing import RecordingWriter, memory_store, write_tiny_checkpoint
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets.weights.stage import draft_weights


def test_recording_writer__records_what_a_commit_writes(tmp_path: Path):
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    draft = draft_weights(folder, "tiny")
    writer = RecordingWriter()
    draft.produce(writer)
    manifest = commit(memory_store(), draft).manifest
    assert [file.name for file in writer.local_files] == [part.name for part in manifest.parts]
    assert writer.all_facts["dim"] == manifest.facts["dim"] == 16


def test_write_tiny_checkpoint__can_be_read(tmp_path: Path):
    checkpoint = read_checkpoint(write_tiny_checkpoint(tmp_path / "tiny"), model="tiny")
    assert (checkpoint.dim, checkpoint.layers, checkpoint.family) == (16, 2, "dinov3_vit")
    assert checkpoint.caveat  # random weights have a warning


def test_recording_writer__keeps_every_kind_of_item():
    import pyarrow as pa

    from dino_assets.store.commits.protocol import Part, Spent

    writer = RecordingWriter()
    batch = pa.record_batch({"n": [1]})
    writer.rows(batch)
    writer.part(Part("parts/x", "x", 1))
    writer.file("page.html", b"<p>")
    writer.facts({"a": 1})
    writer.facts({"a": 2, "b": 3})
    writer.spent(Spent(1.0))
    assert writer.batches == [batch]
    assert [part.key for part in writer.parts] == ["parts/x"]
    assert writer.files == {"page.html": b"<p>"}
    assert writer.all_facts == {"a": 2, "b": 3}
    assert writer.all_spent == [Spent(1.0)]

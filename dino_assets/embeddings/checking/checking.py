"""Model check: compares a model file with its checkpoint at several sizes and reports its faults."""

from collections.abc import Iterator
from pathlib import Path

from dino_assets.embeddings.checking.candidates import Candidate, InputForm
from dino_assets.embeddings.checking.examining import ModelExamination, Say
from dino_assets.embeddings.checking.explaining import Explanation
from dino_assets.embeddings.checking.faults import NamedFault
from dino_assets.embeddings.checking.reference import ReferenceModel
from dino_assets.embeddings.checking.report import ModelReport, SizeReport
from dino_assets.weights.input_size import read_input_size


def check_model(
    candidate: Candidate,
    folder: Path,
    reference: ReferenceModel,
    *,
    file: str,
    say: Say = lambda line: None,
) -> ModelReport:
    """Compare a model with the checkpoint in ``folder``, at the sizes that ``choose_sizes`` gives."""
    sizes: list[SizeReport] = []
    named: list[NamedFault] = []
    notes: list[str] = []
    first: Explanation | None = None
    for height, width in choose_sizes(candidate.form, folder, reference):
        at_size = ModelExamination(candidate, reference.at(height, width), height, width)
        for run in candidate.runs if first is None else candidate.runs[:1]:
            say(f"{height}×{width} px, {run.words}")
            finding = at_size.examine(run, pixels=first.feed if first else None, say=say)
            sizes += finding.sizes
            named += finding.faults
            notes += finding.notes
            first = first or finding.explanation
            if named:  # coarser numbers and other sizes would only repeat the fault
                break
        if named:
            break
    return ModelReport(
        file=file,
        kind=candidate.kind,
        reference=reference.checkpoint.label,
        takes=str(candidate.form),
        pixels=first.feed if first else "",
        outputs={name: each.words for name, each in (first.readings if first else {}).items()},
        sizes=tuple(sizes),
        faults=tuple(dict.fromkeys(named)),
        notes=tuple(dict.fromkeys(notes)),
    )


def choose_sizes(
    form: InputForm, folder: Path, reference: ReferenceModel
) -> Iterator[tuple[int, int]]:
    """Choose the sizes to check, as (height, width).

    A side that the file fixes is always used. A dynamic side takes three values: the checkpoint's input size,
    a size that is not square, and the tile of the checkpoint's family. Faults of positions show only at sizes
    other than the trained one. Swapped rows and columns show only in a picture that is not square.
    """
    checkpoint = reference.checkpoint
    patch = checkpoint.patch_px
    own_height, own_width = read_input_size(folder, checkpoint)
    usual = [
        (own_height, own_width),
        (own_height // 2 // patch * patch or patch, own_width + 2 * patch),
        (checkpoint.tile_px, checkpoint.tile_px),
    ]
    chosen = ((form.height or height, form.width or width) for height, width in usual)
    yield from dict.fromkeys(chosen)

"""Read exported labels with the programs' own libraries: ``python -m …bench.label_programs ROUND VERSION``.

ROUND is the folder of an exported round, VERSION that of a labels version. Prints what each library counted, as
JSON. The libraries need not be installed here; they may come by PYTHONPATH.
"""

import contextlib
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def read_coco(folder: Path) -> dict[str, Any]:
    from pycocotools.coco import COCO

    coco = COCO(str(folder / "annotations" / "instances_default.json"))
    classes = {each["id"]: each["name"] for each in coco.loadCats(coco.getCatIds())}
    names = Counter(classes[each["category_id"]] for each in coco.loadAnns(coco.getAnnIds()))
    return {"pictures": len(coco.getImgIds()), "labels": names}


def read_cvat(folder: Path) -> dict[str, Any]:
    """Datumaro is the library by which CVAT itself imports and exports."""
    import datumaro

    dataset = datumaro.Dataset.import_from(str(folder / "annotations.xml"), "cvat")
    classes = [each.name for each in dataset.categories()[datumaro.AnnotationType.label]]
    names = Counter(classes[each.label] for item in dataset for each in item.annotations)
    kinds = Counter(each.type.name for item in dataset for each in item.annotations)
    return {"pictures": len(dataset), "labels": names, "kinds": kinds}


def read_label_studio(folder: Path) -> dict[str, Any]:
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface((folder / "label-studio.xml").read_text())
    interface.validate()
    tasks = json.loads((folder / "label-studio.json").read_text())
    for task in tasks:
        for given in (*task.get("annotations", ()), *task.get("predictions", ())):
            assert interface.validate_prediction({"model_version": "", **given}) is True, given
    names = Counter(
        name
        for task in tasks
        for given in task.get("annotations", ())
        for each in given["result"]
        for name in each["value"].get("choices", []) + each["value"].get("rectanglelabels", [])
    )
    suggested = sum(bool(task.get("predictions")) for task in tasks)
    return {"pictures": len(tasks), "labels": names, "suggested": suggested}


def read_croissant(folder: Path) -> dict[str, Any]:
    import mlcroissant

    dataset = mlcroissant.Dataset(str(folder / "croissant.json"))
    (records,) = dataset.metadata.record_sets
    rows = list(dataset.records(records.uuid))
    column = next(name for name in rows[0] if name.endswith("class_name"))
    return {"labels": Counter(row[column].decode() for row in rows)}


def read_datasets(folder: Path) -> dict[str, Any]:
    from datasets import load_dataset

    rows = load_dataset(str(folder), cache_dir=str(folder.parent / "hf"))["train"]
    names = Counter(rows.features["label"].names[each] for each in rows["label"])
    return {"labels": names, "pictures": sum(each is not None for each in rows["image"])}


def main() -> None:
    exported, version = map(Path, sys.argv[1:])
    readers = {read_coco: exported, read_cvat: exported, read_label_studio: exported}
    readers |= {read_croissant: version, read_datasets: version}
    counts: dict[str, Any] = {}
    for read, folder in readers.items():
        with contextlib.redirect_stdout(sys.stderr):  # the libraries print, too
            counts[read.__name__.removeprefix("read_")] = read(folder)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()

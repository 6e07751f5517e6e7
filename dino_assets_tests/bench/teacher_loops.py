"""The child processes of the teacher's bench: the same loop over pictures, ours and plain transformers'."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from dino_assets.api.teacher import DinoV3Config, DinoV3Teacher
from dino_assets_tests.bench.encoder_resources import peak_mb
from dino_assets_tests.bench.encoder_workload import Timer, read_arguments

ROUNDS = 3
PICTURE = (480, 640)  # of the pictures that come in
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REGISTERS = 4
Ask = Callable[[torch.Tensor], torch.Tensor]
# Plain transformers first: it is what the others are divided by.
LOOPS = ("plain fp32", "plain bf16", "teacher fp32", "teacher bf16")


@dataclass(frozen=True)
class Size:
    """A published DINOv3, and how many pictures a call has at 224 and at 512 px."""

    dim: int
    layers: int
    heads: int
    batches: tuple[int, int]


SIZES = {
    "S": Size(384, 12, 6, (8, 2)),
    "B": Size(768, 12, 12, (8, 2)),
    "L": Size(1024, 24, 16, (4, 1)),
}


def find_or_write_checkpoint(folder: Path, size: Size) -> None:
    """Seeded random weights of the published shape."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    if (folder / "preprocessor_config.json").is_file():
        return
    torch.manual_seed(0)
    config = DINOv3ViTConfig(
        hidden_size=size.dim,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.dim,
        num_register_tokens=REGISTERS,
    )
    DINOv3ViTModel(config).save_pretrained(folder)
    processor = {"image_mean": MEAN, "image_std": STD, "size": {"height": 224, "width": 224}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def open_plain(folder: Path, side: int, dtype: torch.dtype) -> Ask:
    """What somebody writes who has transformers alone; gives the map in float32."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=dtype).eval().requires_grad_(False)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))

    @torch.no_grad()
    def ask(images: torch.Tensor) -> torch.Tensor:
        planes = functional.interpolate(
            images / 255, size=(side, side), mode="bilinear", align_corners=False, antialias=True
        )
        planes = ((planes - mean) / std).to(dtype)
        hidden = model(pixel_values=planes).last_hidden_state[:, 1 + REGISTERS :]
        return hidden.transpose(1, 2).unflatten(2, (side // 16, side // 16)).float()

    return ask


def open_loop(name: str, folder: Path, side: int) -> Ask:
    """One of ``LOOPS``."""
    kind, numerics = name.split()
    if kind == "plain":
        return open_plain(folder, side, {"fp32": torch.float32, "bf16": torch.bfloat16}[numerics])
    config = DinoV3Config(folder, side=side, dtype=numerics)  # type: ignore[arg-type]
    return DinoV3Teacher(config, "cpu").extract_feature_map


def draw_batch(count: int, *, seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *PICTURE), dtype=torch.uint8, generator=rng)


def compare_rates(folder: Path, given: dict) -> dict:
    """All loops in one process, in turn; CPU seconds of one thread count."""
    side, batch = given["side"], given["batch"]
    loops = {name: open_loop(name, folder, side) for name in LOOPS}
    cpu_s: dict[str, list[float]] = {name: [] for name in LOOPS}
    maps = {name: loop(draw_batch(batch, seed=0)) for name, loop in loops.items()}  # warms them up
    for number in range(ROUNDS):
        images = draw_batch(batch, seed=number)
        for name, loop in loops.items():
            with Timer() as timer:
                loop(images)
            cpu_s[name].append(timer.spent.cpu_s)
    cosine = functional.cosine_similarity(maps["teacher bf16"], maps["plain fp32"])
    return {
        "images_per_cpu_s": {n: round(batch / min(each), 2) for n, each in cpu_s.items()},
        "ratios": {
            name: round(float(np.median(np.divide(cpu_s[other], cpu_s[name]))), 2)
            for name, other in (
                ("teacher fp32", "plain fp32"),
                ("teacher bf16", "plain fp32"),
                ("plain bf16", "plain fp32"),
            )
        },
        "bf16_ratio": round(
            float(np.median(np.divide(cpu_s["plain bf16"], cpu_s["teacher bf16"]))), 2
        ),
        "apart": float((maps["teacher fp32"] - maps["plain fp32"]).abs().max()),
        "bf16_cosine": round(float(cosine.min()), 5),
    }


def measure_memory(folder: Path, given: dict) -> dict:
    """Peak memory of a process with one loop."""
    loop = open_loop(given["loop"], folder, given["side"])
    for seed in range(2):
        loop(draw_batch(given["batch"], seed=seed))
    return {"peak_mb": round(peak_mb())}


def main() -> None:
    arguments = read_arguments()
    job = {"rates": compare_rates, "memory": measure_memory}[arguments["job"]]
    weights = Path(arguments["weights"])
    find_or_write_checkpoint(weights, SIZES[arguments["size"]])
    Path(arguments["file"]).write_text(json.dumps(job(weights, arguments)))


if __name__ == "__main__":
    main()

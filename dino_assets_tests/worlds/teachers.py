"""Teachers of every family, and what transformers' own classes say about the same pictures."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from dino_assets.api.teacher import DinoV3Config, DinoV3Teacher
from dino_assets_tests.worlds.networks import STATISTICS, Sample, write_sample


def sample_writer(folder: Path) -> Callable[..., Sample]:
    """Write a checkpoint, or give the one that was written with the same arguments."""
    samples: dict[str, Sample] = {}

    def get(family: str = "dinov3_vit", **options: object) -> Sample:
        key = f"{family} {sorted(options.items())}"
        if key not in samples:
            samples[key] = write_sample(folder / str(len(samples)), family, **options)  # type: ignore[arg-type]
        return samples[key]

    return get


def open_teacher(sample: Sample, **config: object) -> DinoV3Teacher:
    return DinoV3Teacher(DinoV3Config(sample.folder, **config), torch.device("cpu"))  # type: ignore[arg-type]


def compute_expected(sample: Sample, planes: Tensor) -> tuple[Tensor, Tensor]:
    """CLS and map by AutoModel, of planes that are resized and normalised already."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(sample.folder, dtype=torch.float32).eval()
    with torch.no_grad():
        hidden = model(pixel_values=planes).last_hidden_state
    patch = sample.checkpoint.patch_px
    rows, columns = planes.shape[2] // patch, planes.shape[3] // patch
    patches = hidden[:, 1 + getattr(model.config, "num_register_tokens", 0) :]
    return hidden[:, 0], patches.transpose(1, 2).reshape(len(planes), -1, rows, columns)


def normalize(pictures: Tensor) -> Tensor:
    """What a checkpoint of ``write_sample`` wants of pictures from 0 to 1."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in STATISTICS)
    return (pictures - mean) / std


def draw_pictures(count: int, height: int, width: int, *, seed: int = 0) -> Tensor:
    """Noise over a colour of each picture's own, uint8."""
    rng = torch.Generator().manual_seed(seed)
    colours = torch.randint(0, 200, (count, 3, 1, 1), generator=rng)
    noise = torch.randint(0, 56, (count, 3, height, width), generator=rng)
    return (colours + noise).to(torch.uint8)


class StudentTask(nn.Module):
    """A student of one layer that imitates the teacher beside it; ``forward`` gives the loss."""

    def __init__(self, teacher: DinoV3Teacher) -> None:
        super().__init__()
        self.teacher = teacher
        self.student = nn.Conv2d(3, teacher.hidden_size, 16, 16)

    def forward(self, images: Tensor) -> Tensor:
        teacher_map = self.teacher.extract_feature_map(images)
        student_map = functional.interpolate(self.student(images), size=teacher_map.shape[2:])
        rows = [
            each.flatten(2).transpose(1, 2).flatten(0, 1) for each in (student_map, teacher_map)
        ]
        return functional.cosine_embedding_loss(*rows, torch.ones(len(rows[0])))

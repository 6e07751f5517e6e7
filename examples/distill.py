"""Teach a small convolutional student the features of a frozen DINOv3 or DINOv2.

    python examples/distill.py --root dinov3 --photos path/to/photos
    python examples/distill.py --root dinov3 --photos path/to/photos --masked

What a detector's training takes from here is `distillation_loss` and three lines of `train`.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional

from dino_assets import DinoV3Config, DinoV3Teacher
from dino_assets.errors import DinoAssetsError

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
MOST_PHOTOS = 200
HELD_OUT = 5  # every fifth photograph


class Student(nn.Module):
    """Four convolutions of stride 2, and a layer that brings them to the teacher's width."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 128)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after)]
            layers += [nn.GELU()]
        self.backbone = nn.Sequential(*layers)
        self.to_teacher = nn.Conv2d(widths[-1], hidden_size, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) from 0 to 1 in, features (B, C, H / 16, W / 16) out."""
        features: Tensor = self.to_teacher(self.backbone(images))
        return features


def distillation_loss(
    student_map: Tensor, teacher_map: Tensor, mask: Tensor | None = None
) -> Tensor:
    """One minus the cosine, averaged over all places, or over those of a mask (B, N).

    `cosine_embedding_loss` takes rows (N, C) and one target each: with (B, N, C), as it is often
    written, torch raises "multi-target not supported".
    """
    if student_map.shape[2:] != teacher_map.shape[2:]:  # patch 14 has another grid than stride 16
        student_map = functional.interpolate(
            student_map, size=teacher_map.shape[2:], mode="bilinear", align_corners=False
        )
    student_features = student_map.flatten(2).transpose(1, 2)  # (B, N, C)
    teacher_features = teacher_map.flatten(2).transpose(1, 2)
    if mask is None:
        student_rows = student_features.flatten(0, 1)  # (B * N, C)
        teacher_rows = teacher_features.flatten(0, 1)
    else:
        student_rows, teacher_rows = student_features[mask], teacher_features[mask]
    target = torch.ones(len(student_rows), device=student_rows.device)
    return functional.cosine_embedding_loss(student_rows, teacher_rows, target)


def mask_detail(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """The half of each picture's places with most contrast, (B, N).

    It stands in for what a detector has: the places that its labelled boxes cover.
    """
    gray = images.mean(dim=1, keepdim=True)
    mean = functional.adaptive_avg_pool2d(gray, grid)
    variance = functional.adaptive_avg_pool2d(gray**2, grid) - mean**2
    contrast = variance.flatten(1)
    return contrast >= contrast.median(dim=1, keepdim=True).values


def read_photos(folder: Path, *, size_px: tuple[int, int]) -> list[Tensor]:
    """Photographs as uint8 (3, H, W), scaled so that a crop of half their width is the teacher's size."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    photos = []
    for file in files[:MOST_PHOTOS]:
        try:
            with Image.open(file) as image:
                upright = ImageOps.exif_transpose(image).convert("RGB")
        except OSError as err:
            print(f"left out: {file.name}: {err}", file=sys.stderr)
            continue
        scale = 2 * max(size_px[0] / upright.height, size_px[1] / upright.width)
        wanted = (round(upright.width * scale), round(upright.height * scale))
        pixels = np.array(upright.resize(wanted, Image.Resampling.BILINEAR))
        photos.append(torch.from_numpy(pixels).permute(2, 0, 1))
    return photos


def crop_at_random(
    photos: Sequence[Tensor], count: int, size_px: tuple[int, int], rng: torch.Generator
) -> Tensor:
    """A batch of crops, some of them mirrored, as floats from 0 to 1."""

    def draw(below: int) -> int:
        return int(torch.randint(below, (1,), generator=rng))

    height, width = size_px
    crops = []
    for _ in range(count):
        photo = photos[draw(len(photos))]
        top, left = draw(photo.shape[1] - height + 1), draw(photo.shape[2] - width + 1)
        crop = photo[:, top : top + height, left : left + width]
        crops.append(crop.flip(2) if draw(2) else crop)
    return torch.stack(crops) / 255


def train(
    teacher: DinoV3Teacher, photos: Sequence[Tensor], *, is_masked: bool, steps: int, batch: int
) -> tuple[float, float]:
    """Give the student's loss on held-out photographs before and after."""
    rng = torch.Generator().manual_seed(0)
    held_out = photos[::HELD_OUT]
    training = [photo for number, photo in enumerate(photos) if number % HELD_OUT]
    unseen = crop_at_random(held_out, 16, teacher.size_px, rng).to(teacher.device)

    def loss_of(images: Tensor) -> Tensor:
        teacher_map = teacher.extract_feature_map(images)
        mask = mask_detail(images, teacher.grid) if is_masked else None
        return distillation_loss(student(images), teacher_map, mask)

    @torch.no_grad()
    def judge() -> float:
        student.eval()
        loss = loss_of(unseen).item()
        student.train()
        return loss

    torch.manual_seed(0)
    student = Student(teacher.hidden_size).to(teacher.device)
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3, weight_decay=0.01)
    before = judge()
    for step in range(steps):
        images = crop_at_random(training, batch, teacher.size_px, rng).to(teacher.device)
        optimizer.zero_grad()
        loss_of(images).backward()
        optimizer.step()
        if (step + 1) % max(1, steps // 4) == 0:
            print(f"step {step + 1:4}: held-out loss {judge():.4f}")
    return before, judge()


def main() -> int:
    """Read the arguments, train, and say what came of it."""
    parser = argparse.ArgumentParser(
        description="Teach a small student the features of a frozen DINOv3 or DINOv2.",
        epilog="Exit codes: 0 done, 1 a checkpoint or photographs that cannot be used, 2 wrong usage.",
    )
    parser.add_argument("--root", type=Path, required=True, help="the teacher's folder")
    parser.add_argument(
        "--photos", type=Path, required=True, help=f"a folder; the first {MOST_PHOTOS} are used"
    )
    parser.add_argument("--masked", action="store_true", help="learn places of high contrast only")
    parser.add_argument(
        "--side", type=int, help="pixels; what the teacher's folder says by default"
    )
    parser.add_argument(
        "--dtype", choices=["fp32", "bf16", "fp16"], default="fp32", help="its precision"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--steps", type=int, default=200, help="200 by default")
    parser.add_argument("--batch", type=int, default=8, help="8 by default")
    chosen = parser.parse_args()
    try:
        config = DinoV3Config(chosen.root, side=chosen.side, dtype=chosen.dtype)
        teacher = DinoV3Teacher(config, chosen.device)
    except DinoAssetsError as err:
        print(err, file=sys.stderr)
        return 1
    photos = read_photos(chosen.photos, size_px=teacher.size_px)
    if len(photos) < 2:
        print(f"{chosen.photos} holds {len(photos)} photographs; 2 are needed", file=sys.stderr)
        return 1
    print(f"teacher: {teacher}")
    print(f"photographs: {len(photos)}, {len(photos[::HELD_OUT])} of them held out")
    weights = teacher.hash_weights()
    before, after = train(
        teacher, photos, is_masked=chosen.masked, steps=chosen.steps, batch=chosen.batch
    )
    print(f"held-out loss: {before:.4f} before, {after:.4f} after")
    is_same = teacher.hash_weights() == weights
    print(f"teacher's weights: {weights[:12]}, {'unchanged' if is_same else 'CHANGED'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

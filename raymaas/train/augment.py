"""Augmentation: new training rows made of those of a batch, drawn for the whole batch wherever its rows are.

What is drawn is a function of (seed, step): every worker draws for all rows of the batch and uses what belongs to its
own. So neither the number of workers, nor the pieces of a batch, nor a resume changes it.
Legend: B rows of this worker, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn.functional import grid_sample, pad

from raymaas.errors import InvalidInput
from raymaas.models.chance import Chance
from raymaas.specs.augment import Augmentation, Erase, Flip, Noise, Rotate, Shift
from raymaas.specs.facts import Facts
from raymaas.specs.tasks import Task


def refuse_unfit(
    augment: Sequence[Augmentation], facts: Facts, task: Task, *, field: str = "training.augment"
) -> None:
    """Raises InvalidInput, naming the job's `field` and the shape, for an augmentation that such rows cannot have."""
    for place, one in enumerate(augment):
        where, shape = f"{field}[{place}] {one.use}", list(facts.row)
        if task == "language" or facts.vocabulary is not None:
            raise InvalidInput(
                f"{where}: rows of shape {shape} are text, not numbers to change; leave it out"
            )
        if isinstance(one, Noise):
            continue
        if len(shape) not in (2, 3):
            raise InvalidInput(
                f"{where} is for images, [height, width] or [channels, height, width], and rows have the shape "
                f"{shape}; leave it out, or give the data set its images' shape"
            )
        if isinstance(one, Shift | Erase) and one.pixels >= min(shape[-2:]):
            raise InvalidInput(
                f"{where}: {one.pixels} pixels leave nothing of rows of the shape {shape}; take fewer"
            )


class Augmenter:
    """The augmentations of a training, in their order."""

    def __init__(self, augment: Sequence[Augmentation]) -> None:
        self._augment, self._chance = augment, Chance()

    def __call__(self, x_B: torch.Tensor, *, seed: int, rows: int, mine: slice) -> torch.Tensor:
        """New rows for `x_B`, float32, which are the rows `mine` of a batch of `rows`; `x_B` itself stays."""
        if not len(x_B):
            return x_B
        self._chance.steer(seed, rows=rows, mine=mine, device=x_B.device)
        for one in self._augment:
            x_B = _augmented(one, x_B, self._chance)
        return x_B


def _augmented(one: Augmentation, x_B: torch.Tensor, chance: Chance) -> torch.Tensor:
    if isinstance(one, Noise):
        return _noisy(x_B, x_B + one.deviation * chance.normal(x_B))
    x_BCHW = x_B[:, None] if x_B.dim() == 3 else x_B
    drawn_B3 = chance.uniform(x_B.new_empty(len(x_B), 3))
    match one:
        case Shift(pixels=pixels):
            made_BCHW = _shifted(x_BCHW, pixels, drawn_B3)
        case Flip():
            made_BCHW = torch.where(_chosen(one.chance, drawn_B3), x_BCHW.flip(-1), x_BCHW)
        case Rotate(degrees=degrees):
            made_BCHW = _rotated(x_BCHW, math.radians(degrees) * (2 * drawn_B3[:, 0] - 1))
        case Erase(pixels=pixels):
            inside = _chosen(one.chance, drawn_B3) & _square(x_BCHW, pixels, drawn_B3)
            made_BCHW = x_BCHW.masked_fill(inside, 0)
    return made_BCHW.reshape(x_B.shape)


def _noisy(x_B: torch.Tensor, noisy_B: torch.Tensor) -> torch.Tensor:
    """What a network takes for an image may be 0 to 1 only, and noise must not lead out of that."""
    if x_B.dim() < 3:
        return noisy_B
    values = tuple(range(1, x_B.dim()))
    return noisy_B.clamp(x_B.amin(values, keepdim=True), x_B.amax(values, keepdim=True))


def _shifted(x_BCHW: torch.Tensor, pixels: int, drawn_B3: torch.Tensor) -> torch.Tensor:
    height, width = x_BCHW.shape[-2:]
    down_B, right_B = _whole(drawn_B3[:, 1], 2 * pixels + 1), _whole(drawn_B3[:, 2], 2 * pixels + 1)
    wide_BCHW = pad(x_BCHW, (pixels,) * 4)
    row_BH = down_B[:, None] + torch.arange(height, device=x_BCHW.device)
    column_BW = right_B[:, None] + torch.arange(width, device=x_BCHW.device)
    batch_B = torch.arange(len(x_BCHW), device=x_BCHW.device)
    moved_BHWC = wide_BCHW[batch_B[:, None, None], :, row_BH[:, :, None], column_BW[:, None, :]]
    return moved_BHWC.permute(0, 3, 1, 2)


def _rotated(x_BCHW: torch.Tensor, angle_B: torch.Tensor) -> torch.Tensor:
    height, width = x_BCHW.shape[-2:]
    down_H1 = (torch.arange(height, device=x_BCHW.device) + 0.5 - height / 2)[:, None]
    right_W = torch.arange(width, device=x_BCHW.device) + 0.5 - width / 2
    cos_B11, sin_B11 = angle_B.cos()[:, None, None], angle_B.sin()[:, None, None]
    # Where each pixel comes from, in halves of the image as `grid_sample` counts.
    from_right = (cos_B11 * right_W - sin_B11 * down_H1) * (2 / width)
    from_down = (sin_B11 * right_W + cos_B11 * down_H1) * (2 / height)
    grid_BHW2 = torch.stack([from_right, from_down], dim=-1)
    return grid_sample(x_BCHW, grid_BHW2, mode="bilinear", padding_mode="zeros", align_corners=False)


def _square(x_BCHW: torch.Tensor, pixels: int, drawn_B3: torch.Tensor) -> torch.Tensor:
    """bool [B, 1, H, W], whether a pixel is in the square that is drawn for its row."""
    height, width = x_BCHW.shape[-2:]
    top_B1 = _whole(drawn_B3[:, 1], height - pixels + 1)[:, None]
    left_B1 = _whole(drawn_B3[:, 2], width - pixels + 1)[:, None]
    row_H = torch.arange(height, device=x_BCHW.device)
    column_W = torch.arange(width, device=x_BCHW.device)
    inside_BH = (row_H >= top_B1) & (row_H < top_B1 + pixels)
    inside_BW = (column_W >= left_B1) & (column_W < left_B1 + pixels)
    return (inside_BH[:, :, None] & inside_BW[:, None, :])[:, None]


def _chosen(chance: float, drawn_B3: torch.Tensor) -> torch.Tensor:
    """bool [B, 1, 1, 1]."""
    return drawn_B3[:, 0, None, None, None] < chance


def _whole(uniform_B: torch.Tensor, count: int) -> torch.Tensor:
    """Whole numbers 0 to count - 1, equally likely."""
    return (uniform_B * count).long().clamp(max=count - 1)

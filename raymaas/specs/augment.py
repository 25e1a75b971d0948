"""Augmentations: what `training.augment` does to training rows, one after the other, to make new ones of them.

Numbers are in the unit of the network's input, after the job's transforms; what comes in from outside is 0.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raymaas.specs.base import Spec

Chance = Annotated[float, Field(gt=0, le=1)]


class Shift(Spec):
    """Images: moved by whole pixels, as many down as up, and as many to the left as to the right."""

    use: Literal["shift"] = "shift"
    pixels: int = Field(ge=1, description="Farthest, in each direction; drawn anew for each row.")


class Flip(Spec):
    """Images: left and right exchanged."""

    use: Literal["flip"] = "flip"
    chance: Chance = Field(0.5, description="Of each row to be flipped.")


class Rotate(Spec):
    """Images: turned about their middle, values between pixels interpolated."""

    use: Literal["rotate"] = "rotate"
    degrees: float = Field(gt=0, le=180, description="Farthest, in both directions; drawn anew for each row.")


class Noise(Spec):
    """Any rows of numbers: with normal noise added; an image stays within its own least and greatest value."""

    use: Literal["noise"] = "noise"
    deviation: float = Field(gt=0, description="Standard deviation of what is added to each value.")


class Erase(Spec):
    """Images: a square of them made 0 (Z. Zhong et al., Random Erasing Data Augmentation, 2017)."""

    use: Literal["erase"] = "erase"
    pixels: int = Field(ge=1, description="Side of the square, which lies somewhere within the image.")
    chance: Chance = Field(0.5, description="Of each row to lose a square.")


Augmentation = Annotated[Shift | Flip | Rotate | Noise | Erase, Field(discriminator="use")]

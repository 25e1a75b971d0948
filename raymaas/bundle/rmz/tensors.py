"""What a coded file says of one tensor: its numbers as they are, levels on a uniform grid, or places in a codebook.

The grid is that of affine quantization (Jacob et al. 2018): value = scale * (level - zero_point). A codebook is that
of Deep Compression (Han et al. 2015): any few values, shared by all weights of the tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from raymaas.errors import InvalidInput

RawType = Literal["fp64", "fp32", "fp16", "int64", "int32", "int16", "int8", "uint8"]

RAW_TYPES: Mapping[RawType, np.dtype] = {
    "fp64": np.dtype("<f8"),
    "fp32": np.dtype("<f4"),
    "fp16": np.dtype("<f2"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"),
}

GREATEST_SCALE = 2.0**120
"""255 steps of this are still a float32."""


@dataclass(frozen=True, eq=False)
class Raw:
    """Numbers kept bit for bit, in one of `RAW_TYPES`; not-a-number and infinity are numbers here."""

    array: np.ndarray

    def __post_init__(self) -> None:
        if self.array.dtype not in RAW_TYPES.values():
            raise InvalidInput(
                f"a raw tensor cannot be {self.array.dtype}; cast it to one of {', '.join(RAW_TYPES)}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def numbers(self) -> np.ndarray:
        """What is coded."""
        return self.array

    @property
    def beside_bytes(self) -> int:
        """Bytes kept beside the numbers."""
        return 0

    def centred(self) -> np.ndarray:
        """0 where a weight is 0."""
        return self.array

    def dense(self) -> np.ndarray:
        """fp16 as float32, which is exact; every other type as it is."""
        return self.array.astype(np.float32) if self.array.dtype == np.float16 else self.array


@dataclass(frozen=True, eq=False)
class Quantized:
    """Levels of 1 to 8 bits and the grid they lie on.

    `levels` is int8 of any shape, within -2^(bits-1) .. 2^(bits-1) - 1. `scale` is float16 or float32, finite,
    0 to 2^120; its shape is () for one grid, or (levels.shape[0],) for one per output channel. `zero_point`,
    absent for 0, is int8 of the shape of `scale` and within the range of the levels; pruned weights lie on it,
    so it costs nothing in size. Plus-minus-one weights are levels -1 and 1 of 2 bits: the range coder spends
    one bit on each. Raises InvalidInput on anything else.
    """

    levels: np.ndarray
    scale: np.ndarray
    bits: int
    zero_point: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise InvalidInput(f"levels have 1 to 8 bits, got {self.bits}; keep wider tensors raw")
        per_channel = self.levels.shape[:1] if self.levels.ndim else ()
        if self.scale.dtype not in (np.float16, np.float32) or self.scale.shape not in ((), per_channel):
            raise InvalidInput(
                f"scale must be float16 or float32 of shape () or {per_channel}, "
                f"got {self.scale.dtype} {self.scale.shape}"
            )
        scale = self.scale.astype(np.float64)  # the bound itself is beyond float16
        if not np.all((scale >= 0) & (scale <= GREATEST_SCALE)):
            raise InvalidInput("every scale must be a number from 0 to 2^120; the weights may have diverged")
        self._check_levels(self.levels, "levels")
        if self.zero_point is not None:
            self._check_levels(self.zero_point, "zero_point")
            if self.zero_point.shape != self.scale.shape:
                raise InvalidInput(
                    f"zero_point must have the shape of scale {self.scale.shape}, got {self.zero_point.shape}"
                )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.levels.shape

    @property
    def numbers(self) -> np.ndarray:
        """What is coded: the levels."""
        return self.levels

    @property
    def beside_bytes(self) -> int:
        """Bytes kept beside the levels: scales and zero points."""
        return self.scale.nbytes + (0 if self.zero_point is None else self.zero_point.nbytes)

    def centred(self) -> np.ndarray:
        """Level minus zero point, int16 in -255..255: where a pruned weight is 0."""
        levels = self.levels.astype(np.int16)
        if self.zero_point is not None:
            levels -= self._by_channel(self.zero_point)
        return levels

    def dense(self) -> np.ndarray:
        """The weights: centred level and scale as float32, both exact, and one rounded product.

        IEEE 754 leaves no choice in that product, so every machine gets the same bits.
        """
        weights: np.ndarray = self.centred().astype(np.float32) * self._by_channel(
            self.scale.astype(np.float32)
        )
        return weights

    def _by_channel(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(values.shape + (1,) * (self.levels.ndim - 1)) if values.ndim else values

    def _check_levels(self, levels: np.ndarray, what: str) -> None:
        low, high = -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        if levels.dtype != np.int8:
            raise InvalidInput(f"{what} must be int8, got {levels.dtype}")
        if levels.size and not (low <= int(levels.min()) and int(levels.max()) <= high):
            raise InvalidInput(
                f"{what} of {self.bits} bits lie in {low}..{high}, got {levels.min()}..{levels.max()}"
            )


@dataclass(frozen=True, eq=False)
class Codebook:
    """Places in a list of at most 256 values.

    `places` is uint8 of any shape, each less than len(values). `values` is float16 or float32 of shape [K],
    1 <= K <= 256, finite and strictly ascending. The value nearest to 0 (of two, the lower) is where pruned weights
    rest, so it should be 0 if any are. Raises InvalidInput on anything else.
    """

    places: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        values = self.values
        if values.dtype not in (np.float16, np.float32) or values.ndim != 1 or not 1 <= len(values) <= 256:
            raise InvalidInput(
                f"a codebook is 1 to 256 numbers in float16 or float32, got {values.dtype} of shape {values.shape}"
            )
        if not (np.isfinite(values).all() and (values[:-1] < values[1:]).all()):
            raise InvalidInput(
                "the values of a codebook must be finite, and each greater than the one before"
            )
        if self.places.dtype != np.uint8:
            raise InvalidInput(f"places in a codebook must be uint8, got {self.places.dtype}")
        if self.places.size and int(self.places.max()) >= len(values):
            raise InvalidInput(
                f"place {self.places.max()} is beyond the {len(values)} values of its codebook"
            )

    @property
    def bits(self) -> int:
        """The width of a place, 1 to 8."""
        return max(1, (len(self.values) - 1).bit_length())

    @property
    def rest(self) -> int:
        """The place of the value nearest to 0."""
        return int(np.abs(self.values).argmin())

    @property
    def shape(self) -> tuple[int, ...]:
        return self.places.shape

    @property
    def numbers(self) -> np.ndarray:
        """What is coded: the places."""
        return self.places

    @property
    def beside_bytes(self) -> int:
        """Bytes kept beside the places: the values."""
        return self.values.nbytes

    def centred(self) -> np.ndarray:
        """How many places from `rest`, int16 in -255..255: where a pruned weight is 0."""
        return self.places.astype(np.int16) - np.int16(self.rest)

    def dense(self) -> np.ndarray:
        """The weights, each the very value it stands for, as float32."""
        weights: np.ndarray = self.values.astype(np.float32)[self.places]
        return weights


Coded = Raw | Quantized | Codebook

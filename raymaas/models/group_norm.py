"""The normalisation of the deep convolutional families: over groups of a row's own maps, never over the batch.

Y. Wu, K. He, Group Normalization (2018). Batch normalisation would make a row's gradient depend on the rows that
happen to lie beside it on the same worker, so that two workers no longer train what one trains; and it fails on
the empty shard that a short last batch can leave a worker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_GROUPS = 8


def groups_of(maps: int) -> int:
    """Into how many groups as many maps are divided, unless a config says otherwise: 8, or what divides both."""
    return math.gcd(_GROUPS, maps)


def check_groups(groups: Sequence[int], widths: Sequence[int]) -> None:
    """Raises ValueError unless there is a number of groups for each of `widths`, and divides it."""
    if len(groups) != len(widths):
        raise ValueError(f"norm_groups must give one number for each of the {len(widths)} widths")
    if any(maps % count for count, maps in zip(groups, widths, strict=True)):
        raise ValueError(f"norm_groups {list(groups)} must divide the maps {list(widths)}, each its own")

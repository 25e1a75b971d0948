"""The normalisation of the deep convolutional families: over groups of a row's own maps, never over the batch.

Y. Wu, K. He, Group Normalization (2018). Batch normalisation would make a row's gradient depend on the rows that
happen to lie beside it on the same worker, so that two workers no longer train what one trains; and it fails on
the empty shard that a short last batch can leave a worker.
"""

from __future__ import annotations

import math

from torch import nn

_GROUPS = 8


def group_norm(maps: int) -> nn.GroupNorm:
    """Over 8 groups, or as many of them as divide `maps`; with a scale and a shift for each map."""
    return nn.GroupNorm(math.gcd(_GROUPS, maps), maps)

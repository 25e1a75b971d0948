"""MNIST by name: its four files, known by their MD5, from a folder, a cache, or a mirror.

The digests are of the content, not of the gzip around it, which mirrors pack each in their own way.
"""

from __future__ import annotations

import pyarrow as pa

from raymaas.data.sources.base import DataFiles, Source
from raymaas.data.sources.fetching import KnownFile, fetch
from raymaas.data.sources.idx import idx_table, read_idx

TRAIN = (
    KnownFile("mnist", "train-images-idx3-ubyte.gz", 47_040_016, "6bbc9ace898e44ae57da46a324031adb"),
    KnownFile("mnist", "train-labels-idx1-ubyte.gz", 60_008, "a25bea736e30d166cdddb491f175f624"),
)
TEST = (
    KnownFile("mnist", "t10k-images-idx3-ubyte.gz", 7_840_016, "2646ac647ad5339dbf082846283269ea"),
    KnownFile("mnist", "t10k-labels-idx1-ubyte.gz", 10_008, "27ae3e4e09519cfbb04c329615203637"),
)


class Mnist(Source):
    """70,000 handwritten digits of 28 x 28 pixels with values 0 to 255; its own 10,000 by `split: {test: given}`.

    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-Based Learning Applied to Document Recognition, 1998.
    """

    def table(self, files: DataFiles) -> pa.Table:
        pairs = []
        for images, labels in (TRAIN, TEST):
            x, y_N = (
                read_idx(fetch(file, files, mirror=files.mnist_mirror), source=file.name)
                for file in (images, labels)
            )
            pairs.append((x, y_N))
        return idx_table(pairs, classes=tuple("0123456789"), source="mnist")

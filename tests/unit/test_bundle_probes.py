"""Probes: a runtime that this machine cannot run is refused as one that gives other answers is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from raymaas.bundle.probes import PROBES, write_probes
from raymaas.bundle.runtimes.base import check_probes
from raymaas.errors import IntegrityError


class Unable:
    """As oneDNN on a CPU that has no such operation in bfloat16."""

    name = "torch-bf16"

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        raise RuntimeError("could not create a primitive descriptor\nand a page more")


def test_what_this_machine_cannot_compute_is_refused_with_the_reason() -> None:
    row = np.ones((1, 2), np.float32)
    files = {PROBES: write_probes({"x": row}, {"y": row}, coarse={"torch-bf16": {"y": row}})}
    with pytest.raises(
        IntegrityError, match=r"torch-bf16 cannot compute the probes on this machine: could not.*descriptor$"
    ):
        check_probes(Unable(), files)  # type: ignore[arg-type]

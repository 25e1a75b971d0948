"""What a runtime is, and how it proves itself on the bundle's probes before it may answer anyone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from raymaas.bundle.probes import PROBES, read_probes
from raymaas.errors import IntegrityError


class Runtime(Protocol):
    """A loaded version. `run` may be called from one thread at a time."""

    @property
    def name(self) -> str: ...

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every output of the signature by name, for inputs `check_inputs` passed; they stay unchanged."""
        ...

    def call(self, method: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The same for one of the version's methods, such as `sample`, and that one's signature.

        Raises InvalidInput for a method it does not have.
        """
        ...


def check_probes(runtime: Runtime, files: Mapping[str, bytes], *, tolerance: float = 1e-4) -> None:
    """Run the probes; IntegrityError unless every output is within `tolerance`, relative plus absolute."""
    inputs, recorded = read_probes(files[PROBES])
    outputs = runtime.run(inputs)
    for name, got in outputs.items():
        expected = recorded.get(name)
        if expected is None or expected.shape != got.shape:
            raise IntegrityError(
                f"runtime {runtime.name!r}: {PROBES} holds no output {name!r} of shape {got.shape}"
            )
        if not np.allclose(got, expected, rtol=tolerance, atol=tolerance):
            apart = float(np.max(np.abs(got - expected)))
            raise IntegrityError(
                f"runtime {runtime.name!r} does not reproduce this version: output {name!r} is off by up to "
                f"{apart:.3g} on the probes (tolerance {tolerance:g}); serve it with another runtime"
            )

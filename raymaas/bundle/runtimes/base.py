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


_EXACT = 1e-4
# Of an output's greatest value. Another CPU adds up in another order, which here and there moves an activation to the
# next of its 256 steps, or a bfloat16 by its last bit, 2^-8. A graph with a wrong scale or other weights is far beyond.
# So is a CPU that lets sums of two 8-bit products overflow 16 bits, as x86 without VNNI does with weights of 8 bits.
COARSE: Mapping[str, float] = {"torch-bf16": 0.03, "onnx-int8": 0.05, "onnx-int8-dynamic": 0.05}


def tolerance(runtime: str, expected: np.ndarray) -> tuple[float, float]:
    """How far from `expected` that runtime's answers may be: relative and absolute."""
    coarse = COARSE.get(runtime)
    return (0.0, coarse * float(np.max(np.abs(expected)))) if coarse else (_EXACT, _EXACT)


def agrees(runtime: str, got: np.ndarray, expected: np.ndarray) -> bool:
    """Whether that runtime may give `got` where it gave `expected`; they have one shape."""
    relative, absolute = tolerance(runtime, expected)
    return np.allclose(got, expected, rtol=relative, atol=absolute)


def check_probes(runtime: Runtime, files: Mapping[str, bytes]) -> None:
    """Run the probes; IntegrityError unless every output is what this runtime gave where the version was made.

    In float32 that is within 1e-4, relative plus absolute; in fewer bits within a few hundredths of the output's
    greatest value.
    """
    inputs, recorded = read_probes(files[PROBES], runtime=runtime.name)
    if not inputs or any(array.size == 0 for array in inputs.values()):
        raise IntegrityError(f"{PROBES} asks nothing; publish the version again")
    try:
        outputs = runtime.run(inputs)
    except (
        RuntimeError
    ) as error:  # oneDNN has no LSTM in bfloat16 for every CPU, and says so when it is to run.
        why = str(error).partition("\n")[0]
        raise IntegrityError(f"{runtime.name} cannot compute the probes on this machine: {why}") from error
    for name, got in outputs.items():
        expected = recorded.get(name)
        if expected is None or expected.shape != got.shape:
            raise IntegrityError(
                f"runtime {runtime.name!r}: {PROBES} holds no output {name!r} of shape {got.shape}"
            )
        if not agrees(runtime.name, got, expected):
            apart = float(np.max(np.abs(got - expected)))
            _, absolute = tolerance(runtime.name, expected)
            raise IntegrityError(
                f"runtime {runtime.name!r} does not reproduce this version: output {name!r} is off by up to "
                f"{apart:.3g} on the probes (tolerance {absolute:.3g}); serve it with another runtime"
            )

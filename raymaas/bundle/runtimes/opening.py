"""From a published version to a runtime: choose one, read its files, load it, let it pass the probes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import cast

import numpy as np

from raymaas.bundle.files import FILES_OF_RUNTIME, GRAPHS, files_of_runtime
from raymaas.bundle.probes import PROBES, read_probes
from raymaas.bundle.runtimes.base import Runtime, check_probes
from raymaas.bundle.runtimes.timing import asking, repeated, seconds_of
from raymaas.bundle.runtimes.transformed import TransformedRuntime
from raymaas.bundle.transforming import TRANSFORMS, network_signature
from raymaas.data.transforms.fitted import Fitted
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.specs.accounting import BATCH
from raymaas.specs.runtimes import RuntimeName
from raymaas.specs.versions import ModelVersion, Signature

log = logging.getLogger("raymaas.runtime")

_NEAR = 2.0  # how many times slower may turn round on another machine
_TIMED_S = 0.15
_WITHIN = 1.05  # so far apart are two measurements of one


def open_runtime(
    manifest: ModelVersion,
    read: Callable[[str], bytes],
    *,
    runtime: str = "auto",
    threads: int = 1,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
    say: Callable[[str], None] = log.info,
) -> Runtime:
    """The version as a runtime that passed its own probes. `read` gives a file's verified bytes by its name.

    For 'auto' it is the manifest's first one; but of a version that was timed where it was made, those that were
    nearly as fast as the fastest there are timed here, for a fraction of a second or 11 batches each, and the fastest
    is kept; `say` is told which and why. One that does not give its probes on this machine is then passed over; a
    damaged file never is. Every file of what is tried is read before any is loaded. Raises IntegrityError when a file
    or a prediction is not what was published, InvalidInput for a runtime this version does not have.
    """
    first = choose_runtime(manifest.runtimes, wanted=runtime, device=device)
    fetch, load = cache(read), partial(_opened, manifest, threads=threads, device=device)
    usable = [name for name in _timed(manifest) if runtime == "auto" and _can_use(name, device)]
    if len(usable) < 2:
        return load(first, _read(manifest, fetch, first))
    version = f"{manifest.model}@{manifest.version}"
    near = _near(manifest, usable)
    refusals: list[IntegrityError] = []
    for names in (near, *([name] for name in usable if name not in near)):
        loaded = {}
        files = {name: _read(manifest, fetch, name) for name in names}
        for name in names:
            try:
                loaded[name] = load(name, files[name]), files[name]
            except IntegrityError as error:
                refusals.append(error)
                log.warning("%s is not served with %s here: %s", version, name, error)
        if loaded:
            kept, why = _fastest(loaded, clock=clock)
            say(f"{version} is served with {kept}: {why}")
            return loaded[kept][0]
    raise refusals[0]


def choose_runtime(available: Sequence[str], *, wanted: str, device: str) -> RuntimeName:
    """`wanted`; or for 'auto' the first one available that this raymaas knows and that can use `device`."""
    usable = [name for name in available if name in FILES_OF_RUNTIME and _can_use(name, device)]
    if wanted == "auto" and usable:
        return cast(RuntimeName, usable[0])
    if wanted in usable:
        return cast(RuntimeName, wanted)
    raise InvalidInput(
        f"runtime {wanted!r} cannot serve this version on {device}; "
        f"it can be served with {', '.join(usable) or 'none that this raymaas knows'}"
    )


def load_runtime(
    name: str, files: Mapping[str, bytes], *, signature: Signature, threads: int = 1, device: str = "cpu"
) -> Runtime:
    """Load `files`, which the caller verified or made itself, into runtime `name`; imports its libraries.

    Transforms among the files stand in front of it.
    """
    if TRANSFORMS not in files:
        return _load(name, files, signature=signature, threads=threads, device=device)
    transforms = Fitted.unseal(files[TRANSFORMS], source=TRANSFORMS)
    network = network_signature(signature, transforms)
    return TransformedRuntime(
        _load(name, files, signature=network, threads=threads, device=device), transforms
    )


def _can_use(name: str, device: str) -> bool:
    if device == "cpu" or name.startswith("torch"):
        return True
    from raymaas.bundle.runtimes.onnx import can_use

    return name == "onnx" and can_use(device)


def _timed(manifest: ModelVersion) -> dict[RuntimeName, float]:
    """Rows in a second of each of its runtimes where the version was made, in the manifest's order."""
    compression = manifest.lineage.compression
    if compression is None or compression.accounting is None:
        return {}
    findings = compression.accounting.runtimes
    return {
        found.runtime: found.rows_per_s
        for name in manifest.runtimes
        for found in findings
        if found.runtime == name
    }


def _near(manifest: ModelVersion, usable: Sequence[RuntimeName]) -> list[RuntimeName]:
    """Those that may be the fastest on another machine."""
    rates = _timed(manifest)
    fastest = max(rates[name] for name in usable)
    return [name for name in usable if rates[name] * _NEAR >= fastest]


def _fastest(
    loaded: Mapping[RuntimeName, tuple[Runtime, Mapping[str, bytes]]], *, clock: Callable[[], float]
) -> tuple[RuntimeName, str]:
    """Which of them, and why. Of equally fast ones it is the first."""
    if len(loaded) == 1:
        return next(iter(loaded)), "nothing else is as fast and gives its probes here"
    calls = {
        name: asking(runtime, repeated(read_probes(files[PROBES])[0], BATCH))
        for name, (runtime, files) in loaded.items()
    }
    found = {
        name: float(np.median(seconds))
        for name, seconds in seconds_of(calls, budget_s=_TIMED_S, clock=clock).items()
    }
    kept = next(name for name, seconds in found.items() if seconds <= _WITHIN * min(found.values()))
    times = ", ".join(f"{name} {seconds * 1e3:.3g} ms" for name, seconds in found.items())
    return kept, f"{BATCH} rows take {times}"


def _read(manifest: ModelVersion, read: Callable[[str], bytes], name: RuntimeName) -> dict[str, bytes]:
    """All files that the runtime uses."""
    names = files_of_runtime(name, weights_file=manifest.weights_file)
    for missing in [name for name in names if name not in manifest.files]:
        of = f"{manifest.model}@{manifest.version}"
        raise IntegrityError(f"{missing} of {of} is not in the manifest; publish the version again")
    if TRANSFORMS in manifest.files:
        names = (*names, TRANSFORMS)
    return {name: read(name) for name in names}


def _opened(
    manifest: ModelVersion, name: RuntimeName, files: Mapping[str, bytes], *, threads: int, device: str
) -> Runtime:
    opened = load_runtime(name, files, signature=manifest.signature, threads=threads, device=device)
    check_probes(opened, files)
    return opened


def _load(
    name: str, files: Mapping[str, bytes], *, signature: Signature, threads: int, device: str
) -> Runtime:
    if name in GRAPHS:
        from raymaas.bundle.runtimes.onnx import OnnxRuntime

        graph = cast(RuntimeName, name)
        return OnnxRuntime(files, name=graph, signature=signature, threads=threads, device=device)
    if name in FILES_OF_RUNTIME:
        from raymaas.bundle.runtimes.torch import TorchRuntime

        eager = cast(RuntimeName, name)
        return TorchRuntime(files, name=eager, signature=signature, threads=threads, device=device)
    raise InvalidInput(f"runtime {name!r} is unknown; known are {', '.join(sorted(FILES_OF_RUNTIME))}")

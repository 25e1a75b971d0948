"""From a published version to a runtime: choose one, read its files, load it, let it pass the probes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from raymaas.bundle.format import FILES_OF_RUNTIME, files_of_runtime
from raymaas.bundle.runtimes.base import Runtime, check_probes
from raymaas.bundle.runtimes.transformed import TransformedRuntime
from raymaas.bundle.transforming import TRANSFORMS, network_signature
from raymaas.data.transforms.fitted import Fitted
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.specs.versions import ModelVersion, Signature


def open_runtime(
    manifest: ModelVersion,
    read: Callable[[str], bytes],
    *,
    runtime: str = "auto",
    threads: int = 1,
    device: str = "cpu",
) -> Runtime:
    """The version as a runtime that passed its own probes. `read` gives a file's verified bytes by its name.

    Every file used is read before any is loaded. Raises IntegrityError when a file or a prediction is not
    what was published, InvalidInput for a runtime this version does not have.
    """
    name = choose_runtime(manifest.runtimes, wanted=runtime, device=device)
    names = files_of_runtime(name, weights_file=manifest.weights_file)
    for missing in [name for name in names if name not in manifest.files]:
        of = f"{manifest.model}@{manifest.version}"
        raise IntegrityError(f"{missing} of {of} is not in the manifest; publish the version again")
    if TRANSFORMS in manifest.files:
        names = (*names, TRANSFORMS)
    files = {name: read(name) for name in names}
    opened = load_runtime(name, files, signature=manifest.signature, threads=threads, device=device)
    check_probes(opened, files)
    return opened


def choose_runtime(available: tuple[str, ...], *, wanted: str, device: str) -> str:
    """`wanted`; or for 'auto' the first one available that this raymaas knows and that can use `device`."""
    usable = [name for name in available if name in FILES_OF_RUNTIME and _can_use(name, device)]
    if wanted == "auto" and usable:
        return usable[0]
    if wanted in usable:
        return wanted
    raise InvalidInput(
        f"runtime {wanted!r} cannot serve this version on {device}; "
        f"it can be served with {', '.join(usable) or 'none that this raymaas knows'}"
    )


def _can_use(name: str, device: str) -> bool:
    if device == "cpu" or name == "torch":
        return True
    from raymaas.bundle.runtimes.onnx import can_use

    return can_use(device)


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


def _load(
    name: str, files: Mapping[str, bytes], *, signature: Signature, threads: int, device: str
) -> Runtime:
    if name == "onnx":
        from raymaas.bundle.runtimes.onnx import OnnxRuntime

        return OnnxRuntime(files, signature=signature, threads=threads, device=device)
    if name == "torch":
        from raymaas.bundle.runtimes.torch import TorchRuntime

        return TorchRuntime(files, signature=signature, threads=threads, device=device)
    raise InvalidInput(f"runtime {name!r} is unknown; known are {', '.join(sorted(FILES_OF_RUNTIME))}")

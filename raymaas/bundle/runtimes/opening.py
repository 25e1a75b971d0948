"""From a published version to a runtime: choose one, verify its files, load it, let it pass the probes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from raymaas.bundle.format import FILES_OF_RUNTIME, files_of_runtime
from raymaas.bundle.runtimes.base import Runtime, check_probes
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.specs.base import sha256_hex
from raymaas.specs.versions import ModelVersion, Signature


def open_runtime(
    manifest: ModelVersion,
    read: Callable[[str], bytes],
    *,
    runtime: str = "auto",
    threads: int = 1,
    device: str = "cpu",
) -> Runtime:
    """The version as a runtime that passed its own probes. `read` gives the bytes of a blob by its sha256.

    Every file used is verified against the manifest before any is loaded. Raises IntegrityError when a file
    or a prediction is not what was published, InvalidInput for a runtime this version does not have.
    """
    name = choose_runtime(manifest.runtimes, wanted=runtime, device=device)
    files = verified_files(manifest, read, names=files_of_runtime(name, weights_file=manifest.weights_file))
    opened = load_runtime(name, files, signature=manifest.signature, threads=threads, device=device)
    check_probes(opened, files)
    return opened


def choose_runtime(available: tuple[str, ...], *, wanted: str, device: str) -> str:
    """`wanted`; or for 'auto' the first one available that this raymaas knows and that can use `device`."""
    usable = [name for name in available if name in FILES_OF_RUNTIME and (device == "cpu" or name == "torch")]
    if wanted == "auto" and usable:
        return usable[0]
    if wanted in usable:
        return wanted
    raise InvalidInput(
        f"runtime {wanted!r} cannot serve this version on {device}; "
        f"it can be served with {', '.join(usable) or 'none that this raymaas knows'}"
    )


def verified_files(
    manifest: ModelVersion, read: Callable[[str], bytes], *, names: tuple[str, ...]
) -> dict[str, bytes]:
    """The bytes of those files; IntegrityError unless each has the length and sha256 the manifest states."""
    files = {}
    for name in names:
        label = f"{name} of {manifest.model}@{manifest.version}"
        entry = manifest.files.get(name)
        if entry is None:
            raise IntegrityError(f"{label} is not in the manifest; publish the version again")
        data = read(entry.sha256)
        if len(data) != entry.bytes:
            raise IntegrityError(
                f"{label} has {len(data)} bytes where {entry.bytes} were published; nothing was loaded"
            )
        if sha256_hex(data) != entry.sha256:
            raise IntegrityError(
                f"{label} does not have the sha256 it was published with; nothing was loaded"
            )
        files[name] = data
    return files


def load_runtime(
    name: str, files: Mapping[str, bytes], *, signature: Signature, threads: int = 1, device: str = "cpu"
) -> Runtime:
    """Load `files`, which the caller verified or made itself, into runtime `name`; imports its libraries."""
    if name == "onnx":
        from raymaas.bundle.runtimes.onnx import OnnxRuntime

        return OnnxRuntime(files, signature=signature, threads=threads)
    if name == "torch":
        from raymaas.bundle.runtimes.torch import TorchRuntime

        return TorchRuntime(files, signature=signature, threads=threads, device=device)
    raise InvalidInput(f"runtime {name!r} is unknown; known are {', '.join(sorted(FILES_OF_RUNTIME))}")

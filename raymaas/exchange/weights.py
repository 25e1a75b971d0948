"""Weights from elsewhere: a PyTorch state_dict from safetensors or a .pth, and a network of the catalogue with it.

A .pth is a pickle, which can call any function: it is read with `weights_only=True`, which builds tensors and
plain containers only, and in no other way.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from raymaas.errors import IntegrityError, InvalidInput
from raymaas.models import catalogue
from raymaas.models.networks import Network
from raymaas.specs.base import sha256_hex
from raymaas.specs.jobs import Component

SAFETENSORS, PICKLED = ".safetensors", (".pth", ".pt", ".bin")

_SHOWN = 4
_ARCHIVE = b"PK\x03\x04"
_GLOBAL = re.compile(r"GLOBAL (\S+)")
_WRAPPER, _PARALLEL = "state_dict", "module."
_SAVE_AGAIN = "save it again with torch.save(network.state_dict(), ...) or as safetensors"


@dataclass(frozen=True, eq=False)
class Weights:
    """The tensors of a file by name, which file it was, and what was unwrapped to get at them."""

    tensors: Mapping[str, torch.Tensor]
    name: str
    bytes: int
    sha256: str
    notes: tuple[str, ...] = ()


def read_weights(path: Path) -> Weights:
    """The state_dict in the file at `path`, on the CPU; taken out of `{"state_dict": ...}` and of "module." names.

    Raises InvalidInput when the file cannot be read or holds no state_dict, and IntegrityError when it is
    damaged or holds more than tensors; nothing of it was run then.
    """
    if path.suffix not in (SAFETENSORS, *PICKLED):
        known = ", ".join((SAFETENSORS, *PICKLED))
        raise InvalidInput(f"{path} is not known by its name to hold weights; known are {known}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
    held = _safetensors(data, path) if path.suffix == SAFETENSORS else _unpickled(data, path)
    tensors, notes = _unwrapped(held, path)
    return Weights(tensors, name=path.name, bytes=len(data), sha256=sha256_hex(data), notes=notes)


def network_with(architecture: Component, weights: Weights) -> tuple[Network, tuple[str, ...]]:
    """The network of a resolved `architecture` with these weights, in eval mode, and what was changed to fit.

    Raises InvalidInput naming the first names or shapes that do not fit.
    """
    # Drawn weights are replaced at once, so drawing them must not move the process's generator.
    with torch.random.fork_rng(devices=[]):
        network = catalogue.build(architecture)
    wanted = network.state_dict()
    if misfits := list(_misfits(wanted, weights.tensors)):
        raise InvalidInput(
            f"{weights.name} does not fit architecture {architecture.use!r}: {'; '.join(misfits)}. "
            "Give the config it was trained with, or rename its tensors"
        )
    cast = sorted(
        {str(given.dtype) for name, given in weights.tensors.items() if given.dtype != wanted[name].dtype}
    )
    network.load_state_dict(dict(weights.tensors))
    return network.eval(), tuple(f"{dtype} was rounded to the architecture's own type" for dtype in cast)


def _safetensors(data: bytes, path: Path) -> Any:
    try:
        return load_safetensors(data)
    except SafetensorError as error:
        raise IntegrityError(f"{path} is not a whole safetensors file: {error}; get it again") from None


def _unpickled(data: bytes, path: Path) -> Any:
    _refuse_compressed(data, path)
    try:
        with warnings.catch_warnings():
            # torch warns of pickles it did not write, and then refuses or reads them all the same.
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        named = _GLOBAL.search(str(error))
        other = f"more than tensors, it calls for {named[1]}" if named else "something other than tensors"
        raise IntegrityError(
            f"{path} holds {other}; nothing of it was run. If you trust its maker, {_SAVE_AGAIN}"
        ) from None
    except Exception as error:  # where a damaged file fails is torch's own affair
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise IntegrityError(f"{path} cannot be read as weights: {reason[:200]}; {_SAVE_AGAIN}") from None


def _refuse_compressed(data: bytes, path: Path) -> None:
    """torch writes archives uncompressed but unpacks others: 1.4 kB then become 400, or as many gigabytes."""
    if not data.startswith(_ARCHIVE):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise IntegrityError(f"{path} is a damaged archive: {error}; get it again") from None
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    if not stored or sum(entry.file_size for entry in entries) > len(data):
        raise IntegrityError(f"{path} is a compressed archive, which torch.save never writes; {_SAVE_AGAIN}")


def _unwrapped(held: Any, path: Path) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    notes = []
    if isinstance(held, dict) and isinstance(held.get(_WRAPPER), dict):
        beside = sorted(map(str, held.keys() - {_WRAPPER}))
        notes.append(f"weights were taken from {_WRAPPER!r} in {path.name}; beside it were {_some(beside)}")
        held = held[_WRAPPER]
    if not isinstance(held, dict) or not held:
        raise InvalidInput(f"{path} holds no state_dict but a {type(held).__name__}; {_SAVE_AGAIN}")
    for name, tensor in held.items():
        if not isinstance(name, str) or not _is_plain(tensor):
            raise InvalidInput(f"{path} holds {name!r}, which is no dense tensor of numbers; {_SAVE_AGAIN}")
    if all(name.startswith(_PARALLEL) for name in held):
        notes.append(
            f"tensors were named without their {_PARALLEL!r}, which data-parallel training puts before"
        )
        held = {name.removeprefix(_PARALLEL): tensor for name, tensor in held.items()}
    return dict(held), tuple(notes)


def _is_plain(tensor: Any) -> bool:
    return (
        isinstance(tensor, torch.Tensor)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_complex()
    )


def _misfits(wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> list[str]:
    """What differs in names and shapes, the first few of each kind."""
    others = [
        f"{name} is {_text(given[name])} where {_text(tensor)} is wanted"
        for name, tensor in wanted.items()
        if name in given and not _alike(given[name], tensor)
    ]
    kinds = (
        ("missing ", [name for name in wanted if name not in given]),
        ("unexpected ", [name for name in given if name not in wanted]),
        ("", others),
    )
    return [said + _some(names) for said, names in kinds if names]


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and one.is_floating_point() == other.is_floating_point()


def _text(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "nothing") + more

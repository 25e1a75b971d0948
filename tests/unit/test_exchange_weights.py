"""Weights from elsewhere: what PyTorch saved is read, what is more than tensors is refused and never run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exchange_examples import MLP, rows
from safetensors.torch import save_file

from raymaas.errors import IntegrityError, InvalidInput
from raymaas.exchange.weights import network_with, read_weights
from raymaas.models import catalogue
from raymaas.specs.jobs import Component

Save = Callable[[Any, Path], None]


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return catalogue.build(MLP).eval()


def answers_alike(path: Path, network: torch.nn.Module) -> None:
    x_BD = torch.tensor(rows(5))
    read, _ = network_with(MLP, read_weights(path))
    assert not read.training
    torch.testing.assert_close(read(x_BD), network(x_BD), rtol=0, atol=0)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
def test_a_state_dict_gives_the_same_network(suffix: str, network: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(network.state_dict(), path)
    answers_alike(path, network)
    assert read_weights(path).notes == ()


def test_an_older_file_of_pytorch_is_read_too(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    answers_alike(tmp_path / "w.pth", network)


def test_a_training_checkpoint_of_a_parallel_network_is_unwrapped_and_says_so(
    network: torch.nn.Module, tmp_path: Path
) -> None:
    tensors = OrderedDict((f"module.{name}", tensor) for name, tensor in network.state_dict().items())
    torch.save({"state_dict": tensors, "epoch": 7, "optimizer": {"lr": 0.1}}, tmp_path / "w.pth")
    answers_alike(tmp_path / "w.pth", network)
    wrapper, prefix = read_weights(tmp_path / "w.pth").notes
    assert "beside it were epoch, optimizer" in wrapper
    assert "'module.'" in prefix


def test_drawing_the_network_does_not_move_the_generator(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "w.pth")
    before = torch.random.get_rng_state()
    network_with(MLP, read_weights(tmp_path / "w.pth"))
    assert torch.equal(torch.random.get_rng_state(), before)


class Malicious:
    """Unpickled in the usual way, it creates a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def as_archive(held: Any, path: Path) -> None:
    torch.save(held, path)


def as_legacy(held: Any, path: Path) -> None:
    torch.save(held, path, _use_new_zipfile_serialization=False)


def as_plain_pickle(held: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(held))


@pytest.mark.parametrize("save", [as_archive, as_legacy, as_plain_pickle])
def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(
    save: Save, network: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, trace = tmp_path / "w.pth", tmp_path / "was-run"
    save({**network.state_dict(), "extra": Malicious(trace)}, path)
    pickle.loads(pickle.dumps(Malicious(trace)))
    assert trace.exists(), "the pickle does nothing, so refusing it shows nothing"
    trace.rmdir()
    with pytest.raises(IntegrityError, match="nothing of it was run"):
        read_weights(path)
    assert not trace.exists()


def test_a_whole_pickled_network_is_refused(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(network, tmp_path / "w.pt")
    with pytest.raises(
        IntegrityError, match=r"calls for raymaas\.models\.mlp\.MLP; .*save it again with torch"
    ):
        read_weights(tmp_path / "w.pt")


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    plain, path = io.BytesIO(), tmp_path / "w.pth"
    torch.save({"w": torch.zeros(1_000_000)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    assert torch.load(path, weights_only=True)["w"].shape == (1_000_000,)
    with pytest.raises(IntegrityError, match="compressed archive"):
        read_weights(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_refused(suffix: str, network: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(network.state_dict(), path)
    data = path.read_bytes()
    for damaged in (b"", b"garbage", data[: len(data) // 2], data[:20]):
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError, match=path.name):
            read_weights(path)


@pytest.mark.parametrize(
    "held",
    [
        torch.zeros(3),
        {},
        [torch.zeros(3)],
        {"w": 1.0},
        {3: torch.zeros(3)},
        {"w": torch.zeros(3).to_sparse()},
        {"w": torch.zeros(3, dtype=torch.complex64)},
        {"w": torch.zeros(3, device="meta")},
    ],
)
def test_what_is_no_state_dict_is_refused(held: Any, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "w.pth")
    with pytest.raises((InvalidInput, IntegrityError), match=r"w\.pth"):
        read_weights(tmp_path / "w.pth")


def test_unknown_names_and_absent_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pkl").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"known are \.safetensors, \.pth"):
        read_weights(tmp_path / "w.pkl")
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        read_weights(tmp_path / "w.pth")


def test_what_does_not_fit_is_named(network: torch.nn.Module, tmp_path: Path) -> None:
    tensors = {"layers.0.weight": torch.zeros(1), **network.state_dict()}
    tensors["head.weight"] = torch.zeros(4, 9)
    tensors["hidden.0.bias"] = torch.zeros(8, dtype=torch.int64)
    del tensors["head.bias"]
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(InvalidInput) as raised:
        network_with(MLP, read_weights(tmp_path / "w.pth"))
    said = str(raised.value)
    assert "w.pth does not fit architecture 'mlp': missing head.bias; unexpected layers.0.weight; " in said
    assert "head.weight is float32 [4, 9] where float32 [4, 8] is wanted" in said
    assert "hidden.0.bias is int64 [8] where float32 [8] is wanted" in said


def test_of_many_misfits_the_first_few_are_named(tmp_path: Path) -> None:
    deep = Component(use="mlp", config=MLP.config | {"hidden": [8, 8, 8, 8]})
    torch.save(catalogue.build(deep).state_dict(), tmp_path / "w.pth")
    with pytest.raises(InvalidInput, match=r"unexpected hidden\.1\.weight.*hidden\.2\.bias and 2 more"):
        network_with(MLP, read_weights(tmp_path / "w.pth"))


def test_another_precision_is_rounded_and_noted(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.save({name: tensor.double() for name, tensor in network.state_dict().items()}, tmp_path / "w.pth")
    read, notes = network_with(MLP, read_weights(tmp_path / "w.pth"))
    assert {tensor.dtype for tensor in read.state_dict().values()} == {torch.float32}
    assert len(notes) == 1
    assert "float64" in notes[0]

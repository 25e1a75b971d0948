"""Passes quantize and entropy: every grid and rate ends in a file that decodes to the network that was trained."""

from typing import Any

import numpy as np
import pytest
import torch

from raymaas.bundle.rmz.container import read, write
from raymaas.bundle.rmz.tensors import Codebook, Quantized, Raw
from raymaas.compress.grids import CheapGrid
from raymaas.compress.passes import quantize
from raymaas.compress.recipe import Compressed, carry_out, passes_of
from raymaas.compress.subject import Parent, Subject
from raymaas.data.rows import Rows
from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.specs.compression import FineTuning
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec

D, CLASSES = 12, ("a", "b", "c")
FACTS = Facts(input=TensorSpec(name="x", dtype="FP32", shape=(-1, D)), classes=CLASSES)
ARCHITECTURE = catalogue.resolve(Component(use="mlp", config={"hidden": [40, 30]}), FACTS)


@pytest.fixture(scope="module")
def pruned() -> Subject:
    """A network that tells three clouds apart with a third of its weights."""
    random = np.random.default_rng(0)
    y_N = np.arange(120) % 3
    x_ND = random.normal(size=(120, D)).astype(np.float32)
    x_ND[np.arange(120), y_N] += 4
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = catalogue.build(ARCHITECTURE)
    rows = Rows(x_ND=x_ND, y_N=y_N, id_N=y_N)
    settings = FineTuning(batch_size=40, alpha=0.0, learning_rate=0.01)
    subject = Subject.of(Parent(network, ARCHITECTURE, FACTS), rows, settings, seed=0)
    carry_out([Component(use="prune", config={"sparsity": 0.67, "epochs": 20})], subject)
    subject.network.train()
    return subject


def quantized(pruned: Subject, **config: Any) -> tuple[Subject, Compressed]:
    subject = pruned.copy()
    step = Component(use="quantize", config={"bits": 3, "epochs": 4, "scales": "tensor"} | config)
    return subject, carry_out([step], subject)


def file_of(compressed: Compressed) -> bytes:
    return write(ARCHITECTURE, compressed.tensors, coders=compressed.coders)


def accuracy(subject: Subject) -> float:
    with torch.no_grad():
        return float((subject.network(subject.x_ND).argmax(dim=1) == subject.y_N).float().mean())


@pytest.mark.parametrize(
    "config", [{}, {"grid": "uniform"}, {"rate": 0.2}, {"grid": "uniform", "rate": 0.2, "scales": "channel"},
               {"grid": "codebook"}, {"grid": "codebook", "rate": 0.05}]
)  # fmt: skip
def test_the_file_decodes_to_the_network_that_was_trained(pruned, config) -> None:
    subject, compressed = quantized(pruned, **config)
    decoded = read(file_of(compressed)).dense()
    for name, tensor in subject.network.state_dict().items():
        np.testing.assert_array_equal(decoded[name], tensor.numpy())
        was = pruned.network.state_dict()[name]
        assert (tensor[was == 0] == 0).all()
    assert accuracy(subject) > 0.95


def test_a_codebook_has_a_few_values_for_each_layer_and_biases_keep_their_grid(pruned) -> None:
    _, compressed = quantized(pruned, grid="codebook")
    for name, tensor in compressed.tensors.items():
        if name.endswith("weight"):
            assert isinstance(tensor, Codebook)
            assert 3 <= len(tensor.values) <= 8
            assert 0 in tensor.values
        else:
            assert isinstance(tensor, Quantized)
            assert tensor.bits == 8


def test_the_values_of_a_codebook_are_trained(pruned) -> None:
    (_, before), (_, after) = (quantized(pruned, grid="codebook", epochs=epochs) for epochs in (0, 4))
    one, other = (np.unique(made.tensors["hidden.0.weight"].dense()) for made in (before, after))
    assert len(np.intersect1d(one, other)) == 1  # zero


def test_a_rate_makes_the_file_smaller(pruned) -> None:
    (_, plain), (_, cheap) = quantized(pruned, bits=4), quantized(pruned, bits=4, rate=1.0)
    assert len(file_of(cheap)) < 0.95 * len(file_of(plain))


def test_costs_are_estimated_anew_before_every_epoch(pruned, monkeypatch) -> None:
    renewed = []

    class Noting(CheapGrid):
        def renew(self) -> None:
            super().renew()
            renewed.append(self)

    monkeypatch.setattr(quantize, "CheapGrid", Noting)
    quantized(pruned, rate=0.1, epochs=3)
    assert [renewed.count(grid) for grid in dict.fromkeys(renewed)] == [3, 3, 3]


@pytest.mark.parametrize(("asked", "coder"), [("range", "range2"), ("zstd", "zstd"), ("none", "none")])
def test_pass_entropy_settles_the_coder_of_all_that_can_be_written_with_it(
    pruned, asked: str, coder: str
) -> None:
    subject = pruned.copy()
    recipe = [
        Component(use="quantize", config={"bits": 3, "epochs": 0}),
        Component(use="entropy", config={"coder": asked}),
    ]
    compressed = carry_out(recipe, subject)
    assert compressed.coders == dict.fromkeys(compressed.tensors, coder)
    assert file_of(compressed) != write(ARCHITECTURE, compressed.tensors)
    for name, tensor in read(file_of(compressed)).dense().items():
        np.testing.assert_array_equal(tensor, subject.network.state_dict()[name].numpy())


def test_the_range_coder_is_no_coder_of_what_is_not_quantized(pruned) -> None:
    compressed = carry_out([Component(use="entropy", config={"coder": "range"})], pruned.copy())
    assert compressed.coders == {}
    assert all(isinstance(tensor, Raw) for tensor in read(file_of(compressed)).tensors.values())


def test_the_smallest_coder_is_the_default(pruned) -> None:
    compressed = carry_out([Component(use="entropy")], pruned.copy())
    assert compressed.coders == {}


def test_entropy_comes_last_and_knows_its_coders() -> None:
    with pytest.raises(InvalidInput, match="lzma"):
        passes_of([Component(use="entropy", config={"coder": "lzma"})])
    with pytest.raises(InvalidInput, match="follows 'entropy'"):
        passes_of([Component(use="entropy"), Component(use="quantize", config={"bits": 3})])

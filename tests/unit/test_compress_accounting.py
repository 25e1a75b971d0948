import itertools
import lzma
import zlib

import numpy as np
import pytest
import torch
from torch import nn

from raymaas.bundle.rmz.container import write
from raymaas.bundle.rmz.tensors import Codebook, Quantized, Raw
from raymaas.compress.accounting import account, macs_of
from raymaas.errors import IntegrityError
from raymaas.models import catalogue
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec


def built(use: str, row: tuple[int, ...], **config: object) -> tuple[Component, nn.Module]:
    facts = Facts(input=TensorSpec(name="x", dtype="FP32", shape=(-1, *row)), classes=("a", "b", "c"))
    component = catalogue.resolve(Component(use=use, config=config), facts)
    return component, catalogue.build(component).eval()


@pytest.fixture(scope="module")
def coded() -> tuple[bytes, nn.Module, np.ndarray]:
    """A perceptron 8-4-3: two thirds of its first matrix are level 0, and all else is at half precision."""
    component, network = built("mlp", (8,), hidden=[4])
    levels = np.tile(np.array([0, 0, 1], np.int8), 11)[:32].reshape(4, 8)
    tensors = {name: Raw(np.ones(tensor.shape, np.float16)) for name, tensor in network.state_dict().items()}
    tensors["hidden.0.weight"] = Quantized(levels, np.array(0.5, np.float16), bits=2)
    return write(component, tensors), network, levels


def test_the_parts_add_up_to_the_file_to_the_byte(coded) -> None:
    data, network, _ = coded
    found = account(data, network=network, row=np.zeros((1, 8), np.float32), original_bytes=10 * len(data))

    assert sum(found.parts.values()) == found.total_bytes == len(data)
    assert set(found.parts) == {"header", "digests", *(f"tensors.{name}" for name in network.state_dict())}
    assert found.ratio == 10


def test_what_it_is_compared_with_is_made_of_the_same_numbers(coded) -> None:
    data, network, levels = coded
    clock = itertools.count(step=2.5)
    found = account(
        data, network=network, row=np.zeros((1, 8), np.float32), original_bytes=1, clock=lambda: next(clock)
    )

    rest = sum(tensor.numel() for tensor in network.state_dict().values()) - 32
    zeros = int((levels == 0).sum())
    assert (found.parameters, found.nonzeros) == (32 + rest, 32 - zeros + rest)
    share = zeros / 32
    entropy_bits = -32 * (share * np.log2(share) + (1 - share) * np.log2(1 - share))
    assert found.entropy_bytes == pytest.approx(entropy_bits / 8 + 2 + 2 * rest)
    plain = levels.tobytes() + np.ones(rest, np.float16).tobytes()
    assert abs(found.zlib_bytes - len(zlib.compress(plain, 9))) <= 8, "the tensors stand in another order"
    assert abs(found.lzma_bytes - len(lzma.compress(plain, preset=9))) <= 8
    assert found.decode_s == 2.5


def test_a_codebook_without_a_zero_has_no_zeros(coded) -> None:
    _, network, _ = coded
    component, _ = built("mlp", (8,), hidden=[4])
    tensors = {name: Raw(np.ones(tensor.shape, np.float16)) for name, tensor in network.state_dict().items()}
    tensors["hidden.0.weight"] = Codebook(np.zeros((4, 8), np.uint8), np.array([0.1, 0.5], np.float16))
    data = write(component, tensors)

    found = account(data, network=network, row=np.zeros((1, 8), np.float32), original_bytes=1)

    assert found.nonzeros == found.parameters


@pytest.mark.parametrize(
    ("use", "row", "config", "macs"),
    [
        ("mlp", (8,), {"hidden": [4]}, 8 * 4 + 4 * 3),
        ("cnn", (6, 6), {"layers": ["conv3x3-2"]}, 6 * 6 * 9 * 2 + 6 * 6 * 2 * 3),
        ("recurrent", (5, 4), {"cell": "lstm", "hidden": 6}, 5 * 4 * 6 * (4 + 6) + 6 * 3),
        ("recurrent", (5, 4), {"cell": "gru", "hidden": 6}, 5 * 3 * 6 * (4 + 6) + 6 * 3),
    ],
)
def test_multiplications_are_those_of_one_row(use, row, config, macs) -> None:
    _, network = built(use, row, **config)

    assert macs_of(network, torch.zeros(1, *row).numpy()) == macs


def test_a_damaged_file_is_refused(coded) -> None:
    data, network, _ = coded
    with pytest.raises(IntegrityError):
        account(data[:-1], network=network, row=np.zeros((1, 8), np.float32), original_bytes=1)

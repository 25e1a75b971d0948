"""JoiningContract: what is computed together is what would be computed alone, in every runtime and for every method."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from functools import cache, partial

import numpy as np
import pytest
import torch
from families import FAMILIES, GREY, NAMES, facts, resolved, rows

from raymaas.bundle.artifacts import Making, with_artifacts
from raymaas.bundle.format import BuiltBundle, build_coded
from raymaas.bundle.rmz.container import write
from raymaas.bundle.rmz.tensors import Raw
from raymaas.bundle.runtimes.base import Runtime, agrees
from raymaas.bundle.runtimes.opening import load_runtime
from raymaas.models import catalogue
from raymaas.models.base import signature_of
from raymaas.models.networks import Network
from raymaas.serve.batching import computed, keeps_rows_apart
from raymaas.serve.compute_queue import ComputeQueue, QueueLimits
from raymaas.specs.runtimes import RUNTIMES
from raymaas.specs.versions import Signature

SMALL_CNN = {"layers": ["conv3x3-4", "pool", "dense-16"]}
WITH_METHODS = [
    pytest.param(*family, id=name)
    for family, name in zip(FAMILIES, NAMES, strict=True)
    if family[0] in ("gan", "gpt", "vae")
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only wait for a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network_of(use: str, row: tuple[int, ...], config: Mapping[str, object]) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return catalogue.build(resolved(use, row, dict(config))).eval()


@cache
def made() -> tuple[BuiltBundle, Signature]:
    """A network that every runtime can serve; once, since the exporter takes seconds."""
    network = network_of("cnn", GREY, SMALL_CNN)
    signature = signature_of("classification", facts("cnn", GREY))
    tensors = {name: Raw(tensor.numpy()) for name, tensor in network.state_dict().items()}
    x_ND = rows("cnn", 64, GREY).numpy()
    coded = write(resolved("cnn", GREY, SMALL_CNN), tensors)
    bundle = build_coded(coded, signature=signature, probes=x_ND[:4])
    bundle, reasons = with_artifacts(bundle, tuple(RUNTIMES), Making(signature, x_ND))
    assert not reasons
    return bundle, signature


def loaded(name: str) -> Runtime:
    bundle, signature = made()
    return load_runtime(name, bundle.files, signature=signature)


def requests(*, seed: int) -> list[dict[str, np.ndarray]]:
    """Nine requests of one to four rows, of very different sizes."""
    x = rows("cnn", 24, GREY, seed=seed).numpy() * np.logspace(-1, 1, 24, dtype=np.float32)[:, None, None]
    ends = [1, 2, 4, 7, 8, 12, 15, 19, 24]
    return [{"x": part} for part in np.split(x, ends[:-1])]


@pytest.mark.parametrize("name", RUNTIMES)
def test_callers_that_come_together_are_answered_as_if_they_were_alone(name: str) -> None:
    runtime = loaded(name)
    asked = requests(seed=5)
    alone = [runtime.run(inputs) for inputs in asked]
    together = keeps_rows_apart(runtime, asked[-1])
    queue = ComputeQueue(runtime, joins=together, limits=QueueLimits(target_s=1e3, inline_s=-1))
    queue.warm_up(asked[-1])

    async def scene() -> list[dict[str, np.ndarray]]:
        return await asyncio.gather(*(queue("infer", inputs) for inputs in asked))

    got = asyncio.run(scene())
    queue.close()
    for answer, expected in zip(got, alone, strict=True):
        for output, array in expected.items():
            assert answer[output].shape == array.shape
            assert agrees(name, answer[output], array)
    batches = sum(count.batches for count in queue.figures().batches.values())
    assert batches == (1 if together else len(asked))
    assert together == (name != "onnx-int8-dynamic")


def test_ranges_of_the_whole_batch_are_why_one_runtime_is_not_joined() -> None:
    runtime = loaded("onnx-int8-dynamic")
    asked = requests(seed=5)
    joined, apart = computed(runtime.run, asked), [runtime.run(inputs) for inputs in asked]
    off = [
        np.abs(one["logits"] - other["logits"]).max() / np.abs(other["logits"]).max()
        for one, other in zip(joined, apart, strict=True)
        if not isinstance(one, Exception)
    ]
    assert max(off) > 0.05


class OfTheWholeBatch:
    """A model that takes the mean of the rows beside it; or one that gives a row less."""

    name = "torch"

    def __init__(self, rows_less: int = 0) -> None:
        self._less = rows_less

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        x = inputs["x"]
        return {"y": x[self._less :]} if self._less else {"y": x - x.mean(axis=0)}


@pytest.mark.parametrize("rows_less", [0, 1])
def test_a_model_whose_rows_depend_on_each_other_is_found_out_by_its_probes(rows_less: int) -> None:
    some = {"x": np.random.default_rng(0).random((4, 3))}
    assert not keeps_rows_apart(OfTheWholeBatch(rows_less), some)  # type: ignore[arg-type]


def test_a_single_probe_proves_nothing() -> None:
    assert not keeps_rows_apart(loaded("torch"), {"x": rows("cnn", 1, GREY).numpy()})


def test_what_cannot_be_split_again_is_computed_one_by_one() -> None:
    some = [{"x": np.full((2, 3), value)} for value in (1.0, 2.0)]
    outcomes = computed(OfTheWholeBatch(1).run, some)
    assert [outcome["y"].tolist() for outcome in outcomes] == [[[1.0] * 3], [[2.0] * 3]]  # type: ignore[index]


def inputs_of(signature: Signature, *, seed: int, count: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    prompts = ["a", "of the", "", "x y"]
    known = {
        "prompt": np.array([prompts[(seed + i) % 4] for i in range(count)] + [None], object)[:-1],
        "max_bytes": np.full(count, 3, np.int32),
        "top_k": np.full(count, 5, np.int32),
        "temperature": np.full(count, 0.7, np.float32),
        "seed": draw.integers(0, 9, count),
    }
    return {
        spec.name: known[spec.name]
        if spec.name in known
        else draw.random((count, *spec.shape[1:]), dtype=np.float32)
        for spec in signature.inputs
    }


@pytest.mark.parametrize(("use", "row", "config"), WITH_METHODS)
def test_every_method_answers_a_row_alone_as_it_does_among_others(
    use: str, row: tuple[int, ...], config: dict[str, object]
) -> None:
    methods = network_of(use, row, config).methods()
    assert methods
    for name, method in methods.items():
        asked = [
            inputs_of(method.signature, seed=seed, count=count) for seed, count in enumerate((1, 3, 2, 1))
        ]
        batches = []

        def run(
            inputs: Mapping[str, np.ndarray], run=method.run, batches: list[int] = batches
        ) -> dict[str, np.ndarray]:
            batches.append(len(next(iter(inputs.values()))))
            with torch.inference_mode():
                return run(inputs)

        joined = computed(run, asked)
        assert batches == [7], f"{name} could not be joined"
        for inputs, answer in zip(asked, joined, strict=True):
            assert not isinstance(answer, Exception)
            for output, expected in partial(run, inputs)().items():
                if expected.dtype == object:
                    assert answer[output].tolist() == expected.tolist()
                else:
                    np.testing.assert_allclose(answer[output], expected, rtol=1e-4, atol=1e-5)

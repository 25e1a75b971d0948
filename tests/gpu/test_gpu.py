"""On a machine with a GPU: what trains and serves on it does what it does on the CPU. Elsewhere all is skipped."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from raymaas.bundle.format import build
from raymaas.bundle.runtimes.opening import load_runtime
from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.models import catalogue
from raymaas.models.base import signature_of
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component, Training
from raymaas.specs.versions import TensorSpec
from raymaas.train.checkpoint import Checkpoint
from raymaas.train.loop import fit
from raymaas.train.world import World

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

FACTS = Facts(input=TensorSpec(name="x", dtype="FP32", shape=(-1, 12, 12)), classes=tuple("abcd"))
RESNET = Component(use="resnet", config={"widths": [8, 16], "blocks": [1, 1]})


def parts(rows: int = 256) -> Parts:
    draw = np.random.default_rng(0)
    y_N = draw.integers(0, 4, rows)
    centres = draw.normal(size=(4, 12, 12))
    made = Rows(
        x_ND=(centres[y_N] + draw.normal(size=(rows, 12, 12)) / 2).astype(np.float32),
        y_N=y_N.astype(np.int64),
        id_N=np.arange(rows),
    )
    return Parts(train=made, validation=made, test=made, fingerprint="0" * 64)


def fitted(world: World, **training: object) -> Checkpoint:
    component = catalogue.resolve(RESNET, FACTS)
    settings = {"epochs": 4, "learning_rate": 0.01, "keep": "last"} | training
    return fit(
        partial(catalogue.build, component),
        Training.parse(settings, source="training"),
        parts=parts(),
        world=world,
    )


@pytest.fixture(scope="module")
def nccl() -> Iterator[Callable[..., World]]:
    """Worlds of this one process in an nccl group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dist.init_process_group("nccl", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)

    def all_reduce(tensor: torch.Tensor) -> torch.Tensor:
        summed = tensor.clone()
        dist.all_reduce(summed)
        return summed

    def world(strategy: str) -> World:
        device = torch.device("cuda:0")
        return World(
            rank=0,
            size=1,
            device=device,
            all_reduce=all_reduce,
            wrap=lambda module: DistributedDataParallel(module.to(device)),
            strategy=strategy,  # type: ignore[arg-type]
        )

    yield world
    dist.destroy_process_group()


def assert_alike(one: Checkpoint, other: Checkpoint, *, atol: float) -> None:
    for name, tensor in one.weights.items():
        torch.testing.assert_close(tensor, other.weights[name], rtol=0, atol=atol)


def test_in_fp32_the_gpu_learns_what_the_cpu_learns() -> None:
    cpu = fitted(World.single(), precision="fp32", epochs=1)
    gpu = fitted(World.single("cuda"), precision="fp32", epochs=1)
    assert_alike(cpu, gpu, atol=1e-3)


def test_bf16_is_the_default_and_learns_as_well() -> None:
    exact = fitted(World.single("cuda"), precision="fp32").history[-1]
    half = fitted(World.single("cuda")).history[-1]
    assert half.validation_loss != exact.validation_loss
    assert half.figures["accuracy"] > 0.9
    assert half.validation_loss == pytest.approx(exact.validation_loss, abs=0.1)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_over_nccl_every_strategy_learns_what_one_process_learns(
    nccl: Callable[..., World], strategy: str
) -> None:
    alone = fitted(World.single("cuda"), precision="fp32", epochs=1)
    assert_alike(alone, fitted(nccl(strategy), precision="fp32", epochs=1), atol=1e-4)


@pytest.mark.parametrize(("runtime", "atol"), [("torch", 1e-4), ("torch-bf16", 0.05), ("onnx", 1e-3)])
def test_on_the_gpu_every_runtime_passes_the_probes_and_answers_as_on_the_cpu(
    runtime: str, atol: float
) -> None:
    if runtime == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            pytest.skip("this onnxruntime has no CUDA; install onnxruntime-gpu")
    component = catalogue.resolve(RESNET, FACTS)
    signature, rows = signature_of("classification", FACTS), parts(8).test.x_ND
    bundle = build(catalogue.build(component), architecture=component, signature=signature, probes=rows)
    answers = [
        load_runtime(runtime, bundle.files, signature=signature, device=device).run({"x": rows})[
            "probabilities"
        ]
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(answers[0], answers[1], atol=atol)

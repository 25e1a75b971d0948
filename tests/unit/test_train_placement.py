"""Placement: what a worker holds of a network, who goes on from whose checkpoint, and which networks are refused."""

import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributed.tensor import DTensor
from training_workers import Case, GlooWorld, on_workers, together

from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.models.chain import cut
from raymaas.specs.jobs import Component, Training, TrainJob, Workers
from raymaas.train.loop import fit
from raymaas.train.placement.choice import place, refuse_uncut
from raymaas.train.watch import Watch
from raymaas.train.world import World

WIDE = Component(use="mlp", config={"in_features": 64, "classes": 3, "hidden": [256, 256, 256]})
DEEP = Component(use="vit", config={"shape": [8, 8], "classes": 3, "patch": 4, "width": 64, "depth": 4})
STRATEGIES = ("ddp", "fsdp", "pipeline")


def some_rows(count: int) -> Rows:
    generator = np.random.default_rng(count)
    x_ND = generator.normal(size=(count, 8, 8)).astype(np.float32)
    return Rows(x_ND=x_ND, y_N=np.arange(count) % 3, id_N=np.arange(count))


PARTS = Parts(train=some_rows(20), validation=some_rows(7), test=some_rows(5), fingerprint="")


class Scale(Watch):
    """Weighs what this process holds of a network after a step: weights, gradients and optimizer's state."""

    def __init__(self) -> None:
        self.networks: list[torch.nn.Module] = []
        self.bytes = 0

    def stepped(self, epoch: int, rows: int) -> None:
        (network,) = self.networks
        weights = list(network.parameters())
        held = [*weights, *(weight.grad for weight in weights if weight.grad is not None)]
        for optimizer in (each for each in gc.get_objects() if issubclass(type(each), torch.optim.Optimizer)):
            state = [optimizer.state.get(weight, {}) for weight in weights]
            held += [value for values in state for value in values.values()]
        self.bytes = sum(map(local_bytes, held))


def local_bytes(tensor: torch.Tensor) -> int:
    if tensor.is_meta:
        return 0
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).nbytes


def weighed(architecture: Component, world: World) -> int:
    scale = Scale()

    def network() -> torch.nn.Module:
        scale.networks.append(catalogue.build(architecture))
        return scale.networks[-1]

    fit(network, Training(steps=1), parts=PARTS, world=world, watch=scale)
    return scale.bytes


def weighed_on_worker(world: GlooWorld) -> dict[tuple[str, str], int]:
    return {
        (component.use, strategy): weighed(component, world(strategy))
        for component in (WIDE, DEEP)
        for strategy in STRATEGIES
    }


def test_each_of_two_workers_holds_at_most_sixty_percent(tmp_path):
    on_ranks = on_workers(weighed_on_worker, size=2, folder=tmp_path)
    for component in (WIDE, DEEP):
        alone = weighed(component, World.single())
        for held in on_ranks:
            assert held[component.use, "ddp"] == alone
            assert held[component.use, "fsdp"] <= 0.6 * alone
            assert held[component.use, "pipeline"] <= 0.6 * alone


SHORT = Training(epochs=2, batch_size=8, seed=1, learning_rate=0.01)
LONGER = SHORT.model_copy(update={"epochs": 4})


def test_a_fit_goes_on_from_the_checkpoint_of_any_strategy(tmp_path):
    begun = {name: Case(WIDE, SHORT, PARTS, strategy=name) for name in STRATEGIES}
    first = {name: many[0] for name, many in together(begun, size=2, folder=tmp_path).items()}
    first["alone"] = replace(begun["ddp"], strategy="ddp").alone()
    (tmp_path / "meet").unlink()
    resumed = {
        f"{before} {after}": Case(WIDE, LONGER, PARTS, strategy=after, resume=checkpoint.to_files())
        for before, checkpoint in first.items()
        for after in STRATEGIES
    }
    straight = Case(WIDE, LONGER, PARTS).alone()
    ends = {name: many[0] for name, many in together(resumed, size=2, folder=tmp_path).items()}
    ends |= {f"{name} alone": replace(resumed[f"{name} ddp"], strategy="ddp").alone() for name in first}
    for name, end in ends.items():
        assert [report.epoch for report in end.history] == [1, 2, 3, 4], name
        for weight, tensor in straight.weights.items():
            torch.testing.assert_close(
                end.weights[weight], tensor, rtol=1e-3, atol=1e-4, msg=f"{name}: {weight}"
            )
        for mine, theirs in zip(straight.history, end.history, strict=True):
            assert theirs.metrics() == pytest.approx(mine.metrics(), rel=1e-3, abs=1e-4)


def test_a_network_is_cut_where_its_halves_are_most_alike():
    network = catalogue.build(WIDE)
    # In, 64 x 256, 256 x 256, 256 x 256, 256 x 3: in front of the last large one is nearest to the middle.
    assert cut(network) == 3
    halves = [
        sum(w.numel() for link in part for w in link.parameters)
        for part in (network.chain()[:3], network.chain()[3:])
    ]
    assert max(halves) <= 0.6 * sum(halves)


def world_of_two(strategy: str) -> World:
    return World(0, 2, torch.device("cpu"), lambda tensor: tensor, lambda module: module, strategy)


@pytest.mark.parametrize("use", ["logistic", "linear_svm"])
def test_a_network_of_one_layer_has_no_halves(use):
    network = catalogue.build(Component(use=use, config={"in_features": 4, "classes": 3}))
    with pytest.raises(InvalidInput, match=r"pipeline cannot cut .* in two: .*use fsdp"):
        place(network, world_of_two("pipeline"))


@pytest.mark.parametrize("use", ["gpt", "my_package.net:Net"])
def test_a_pipeline_of_what_is_no_chain_is_refused_before_any_worker_starts(use):
    job = TrainJob(
        model="text",
        data=Component(use="digits"),
        architecture=Component(use=use),
        scaling=Workers(strategy="pipeline", workers=2),
    )
    with pytest.raises(InvalidInput, match=f"pipeline cannot cut '{use}' in two"):
        refuse_uncut(job)


def test_frozen_halves_are_refused():
    network = catalogue.build(WIDE)
    for layer in network.hidden:
        layer.requires_grad_(False)
    with pytest.raises(InvalidInput, match=r"something to train in both halves"):
        place(network, world_of_two("pipeline"))


def test_a_number_as_parameter_cannot_be_sharded():
    network = catalogue.build(WIDE)
    network.temperature = torch.nn.Parameter(torch.ones(()))
    with pytest.raises(InvalidInput, match=r"cannot shard the number 'temperature'; give it the shape \[1\]"):
        place(network, world_of_two("fsdp"))


@pytest.mark.parametrize(
    ("scaling", "sentence"),
    [
        ({"strategy": "pipeline", "workers": 3}, "a pipeline has two halves; give workers: 2"),
        ({"strategy": "pipeline", "workers": 2, "min_workers": 1}, "a pipeline has two halves"),
        ({"workers": 2, "min_workers": 3}, "min_workers must be at most workers, 2"),
    ],
)
def test_scaling_that_cannot_be_is_refused(scaling, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        Workers.parse(scaling, source="scaling")


@pytest.mark.parametrize("strategy", ["fsdp", "pipeline"])
def test_lbfgs_needs_the_whole_network(strategy):
    job = {
        "model": "digits",
        "data": {"use": "digits"},
        "architecture": {"use": "mlp"},
        "training": {"optimizer": "lbfgs"},
        "scaling": {"strategy": strategy},
    }
    with pytest.raises(InvalidInput, match=f"lbfgs needs the whole network.*{strategy}"):
        TrainJob.parse(job, source="job")

"""Placement: what a worker holds of a network, who goes on from whose checkpoint, and which networks are refused."""

import gc
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributed.tensor import DTensor
from training_workers import Case, GlooWorld, on_workers, together

from raymaas.data.rows import Rows
from raymaas.data.sources.base import DataFiles
from raymaas.data.split import Parts
from raymaas.errors import InvalidInput
from raymaas.jobs.preparing import prepared
from raymaas.models import catalogue, own
from raymaas.models.chain import cut, links, through, units
from raymaas.models.networks import Network
from raymaas.specs.jobs import Component, Strategy, Training, TrainJob, Workers
from raymaas.store import LocalStore
from raymaas.train.loop import fit
from raymaas.train.placement.choice import place, refuse_misplaced
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
TOKENS = np.random.default_rng(1).integers(1, 20, size=(20, 16)).astype(np.float32)
TEXT = Rows(x_ND=TOKENS, y_N=np.arange(20) % 3, id_N=np.arange(20))
NUMBERS = replace(some_rows(20), y_N=np.arange(20).astype(np.float32))
BLOCKS = {"shape": [16], "width": 64, "depth": 4}


def large(use: str, config: dict[str, object], rows: Rows) -> Case:
    """A step of a network of several layers."""
    parts = Parts(train=rows, validation=rows, test=rows, fingerprint="")
    return Case(Component(use=use, config=config), Training(steps=1), parts)


LARGE = [
    large(WIDE.use, WIDE.config, PARTS.train),
    large(DEEP.use, DEEP.config, PARTS.train),
    large("mlp_regressor", {"in_features": 64, "hidden": [64, 64]}, NUMBERS),
    large("gpt", BLOCKS, TEXT),
    large("text_transformer", {**BLOCKS, "vocabulary": 64, "classes": 3}, TEXT),
    # All cells are one link, so the embedding must be about as large as they are.
    large("text_recurrent", {"shape": [16], "vocabulary": 250, "hidden": 48, "classes": 3}, TEXT),
    large("chained_networks:Stack", {"in_features": 64, "classes": 3, "hidden": 64}, PARTS.train),
]


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


def weighed(case: Case, world: World) -> int:
    scale = Scale()

    def network() -> torch.nn.Module:
        scale.networks.append(case.start())
        return scale.networks[-1]

    fit(network, case.training, parts=case.parts, world=world, watch=scale)
    return scale.bytes


def weighed_on_worker(world: GlooWorld) -> dict[tuple[str, str], int]:
    return {
        (case.architecture.use, strategy): weighed(case, world(strategy))
        for case in LARGE
        for strategy in STRATEGIES
    }


def test_each_of_two_workers_holds_at_most_sixty_percent(tmp_path):
    on_ranks = on_workers(weighed_on_worker, size=2, folder=tmp_path)
    for case in LARGE:
        use, alone = case.architecture.use, weighed(case, World.single())
        for held in on_ranks:
            assert held[use, "ddp"] == alone
            assert held[use, "fsdp"] <= 0.6 * alone, use
            assert held[use, "pipeline"] <= 0.6 * alone, use


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
    chain = links(catalogue.build(WIDE))
    # In, 64 x 256, 256 x 256, 256 x 256, 256 x 3: in front of the last large one is nearest to the middle.
    assert cut(chain) == 3
    halves = [sum(w.numel() for link in part for w in link.parameters) for part in (chain[:3], chain[3:])]
    assert max(halves) <= 0.6 * sum(halves)


def world_of_two(strategy: str) -> World:
    return World(0, 2, torch.device("cpu"), lambda tensor: tensor, lambda module: module, strategy=strategy)


def refused(network: Network, strategy: Strategy) -> str:
    """Why it cannot lie on workers that way, which is known with workers and without."""
    with pytest.raises(InvalidInput) as early:
        refuse_misplaced(lambda: network, strategy)
    with pytest.raises(InvalidInput) as late:
        place(network, world_of_two(strategy))
    assert str(early.value) == str(late.value)
    return str(early.value)


FEATURES = {"in_features": 4, "classes": 3}


@pytest.mark.parametrize(
    ("use", "config", "why"),
    [
        ("logistic", FEATURES, "it is a single layer"),
        ("linear_svm", FEATURES, "it is a single layer"),
        ("rbf_svm", {**FEATURES, "gamma": 1.0}, "it is a single layer"),
        ("vae", {"shape": [4]}, "its loss needs what the encoder gives"),
        ("gan", {"shape": [4]}, "generator and discriminator learn from each other"),
        ("chained_networks:Moody", FEATURES, "its forward cannot be recorded"),
        ("chained_networks:Fickle", FEATURES, r"its forward looks at self\.training"),
        ("chained_networks:Curious", FEATURES, "its forward takes 'mask' besides the rows"),
        ("chained_networks:Thrifty", FEATURES, r"its forward cannot be recorded \(no_grad\(\) in it"),
        ("chained_networks:Noisy", FEATURES, "its forward makes a tensor"),
        ("chained_networks:Both", FEATURES, "its forward gives more than a tensor"),
        ("chained_networks:Normed", FEATURES, r"it keeps '10\.running_mean', which is no parameter"),
    ],
)
def test_what_is_no_chain_is_refused_with_the_reason_and_what_to_use_instead(use, config, why):
    network = own.build(Component(use=use, config=config))
    sentence = (
        rf"scaling\.strategy pipeline cannot cut \w+ in two: {why}.*; use fsdp, which shards any network"
    )
    assert re.fullmatch(sentence, refused(network, "pipeline"))
    refuse_misplaced(lambda: network, "fsdp")


@pytest.mark.parametrize("how", ["method", "operator", "module"])
def test_a_network_that_writes_over_its_rows_is_refused_once_it_does(how):
    network = own.build(Component(use="chained_networks:Halving", config={**FEATURES, "how": how}))
    x_BD = torch.ones(2, 4)
    with pytest.raises(
        InvalidInput, match=r"Halving in two: its forward writes over its rows.* x / 2 for x\.div_"
    ):
        through(links(network), x_BD, x_BD)


def test_what_is_written_over_is_so_under_all_its_names():
    network = own.build(Component(use="chained_networks:Echo", config=FEATURES))
    x_BD = torch.ones(2, 4)
    torch.testing.assert_close(through(links(network), x_BD, x_BD), network(x_BD), rtol=0, atol=0)


def test_shards_of_a_network_of_the_users_own_need_no_record_of_its_forward(monkeypatch):
    network = own.build(Component(use="chained_networks:Stack", config=FEATURES))
    monkeypatch.setattr(type(network.network), "forward", lambda network, x: pytest.fail("called"))
    assert units(network) == ()


def test_frozen_halves_are_refused():
    network = catalogue.build(WIDE)
    for layer in network.hidden:
        layer.requires_grad_(False)
    assert "needs something to train in both halves" in refused(network, "pipeline")


def test_a_number_as_parameter_cannot_be_sharded():
    network = catalogue.build(WIDE)
    network.temperature = torch.nn.Parameter(torch.ones(()))
    assert "cannot shard the number 'temperature'; give it the shape [1]" in refused(network, "fsdp")


def test_a_job_is_refused_before_any_worker_starts_and_draws_nothing(tmp_path):
    job = TrainJob(
        model="digits",
        data=Component(use="digits"),
        architecture=Component(use="vae"),
        scaling=Workers(strategy="pipeline", workers=2),
    )
    before = torch.get_rng_state()
    with pytest.raises(InvalidInput, match="cannot cut VAE in two"):
        prepared(job, LocalStore(tmp_path), DataFiles())
    assert torch.equal(torch.get_rng_state(), before)


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

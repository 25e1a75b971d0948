"""CompressionContract: recipes work on every family's weights, and what is served is what was trained."""

import pickle

import numpy as np
import pytest
import torch
from families import FAMILIES, NAMES, C, facts, resolved, rows

from raymaas.bundle.rmz.container import read, write
from raymaas.bundle.rmz.tensors import Quantized
from raymaas.compress.recipe import carry_out
from raymaas.compress.stages import go_on, stage_of
from raymaas.compress.subject import Parent, Subject
from raymaas.compress.worth import Score
from raymaas.data.rows import Rows
from raymaas.models import catalogue
from raymaas.models.networks import Network
from raymaas.specs.compression import FineTuning
from raymaas.specs.jobs import Component

COUNT = 12


def subject_of(use: str, row: tuple[int, ...], config: dict[str, object]) -> tuple[Component, Subject]:
    component = resolved(use, row, config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parent = catalogue.build(component)
    y_N = np.arange(COUNT) % C
    if catalogue.architecture(use).Config.task == "regression":
        y_N = y_N.astype(np.float32)
    known = Rows(x_ND=rows(use, COUNT, row, seed=1).numpy(), y_N=y_N, id_N=np.arange(COUNT))
    return component, Subject.of(
        Parent(parent, component, facts(use, row)), known, FineTuning(batch_size=6), seed=0
    )


def recipe(score: Score) -> list[Component]:
    return [
        Component(use="prune", config={"sparsity": 0.5, "epochs": 2, "score": score}),
        Component(use="quantize", config={"bits": 4, "epochs": 1}),
    ]


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_every_matrix_is_pruned_and_quantized_and_the_file_holds_what_was_trained(family) -> None:
    component, subject = subject_of(*family)
    before = subject.network.state_dict()
    moved = {name: tensor.clone() for name, tensor in before.items()}

    compressed = carry_out(recipe("magnitude"), subject)

    assert subject.matrices
    assert all(isinstance(compressed.tensors[name], Quantized) for name in subject.matrices)
    assert compressed.sparsity >= 0.49
    assert any(not torch.equal(moved[name], before[name]) for name in subject.matrices)
    served: Network = catalogue.build(component)
    decoded = read(write(component, compressed.tensors)).dense()
    served.load_state_dict({name: torch.from_numpy(array) for name, array in decoded.items()})
    for name, tensor in subject.network.state_dict().items():
        np.testing.assert_array_equal(decoded[name], tensor.numpy())
    with torch.no_grad():
        outputs = served.eval().infer(subject.x_ND)
    assert all(bool(torch.isfinite(output).all()) for output in outputs)


@pytest.mark.parametrize("name", ["cnn 12x12", "recurrent gru 5x4", "vit 3x12x12"])
@pytest.mark.parametrize("grid", [{"grid": "codebook"}, {"grid": "uniform", "rate": 0.3}])
def test_every_grid_fits_the_weights_of_every_kind_of_layer(name: str, grid: dict[str, object]) -> None:
    component, subject = subject_of(*dict(zip(NAMES, FAMILIES, strict=True))[name])
    quantize = Component(use="quantize", config={"bits": 3, "epochs": 1} | grid)

    compressed = carry_out([recipe("magnitude")[0], quantize], subject)

    assert compressed.sparsity >= 0.49
    decoded = read(write(component, compressed.tensors)).dense()
    for tensor_name, tensor in subject.network.state_dict().items():
        np.testing.assert_array_equal(decoded[tensor_name], tensor.numpy())


@pytest.mark.parametrize("score", ["activation", "taylor", "movement"])
@pytest.mark.parametrize(
    "name",
    [
        "cnn 12x12",
        "recurrent gru 5x4",
        "vit 3x12x12",
        "gpt 9",
        "text_recurrent 9",
        "mobilenet 3x12x12",
        "gan 12x12",
    ],
)
def test_every_score_ranks_the_weights_of_every_kind_of_layer(name: str, score: Score) -> None:
    _, subject = subject_of(*dict(zip(NAMES, FAMILIES, strict=True))[name])

    compressed = carry_out(recipe(score)[:1], subject)

    assert compressed.sparsity == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_going_on_from_a_stage_of_another_process_gives_the_same_file_to_the_bit(family) -> None:
    component, alone = subject_of(*family)
    steps, stages = recipe("magnitude"), list[bytes]()

    straight = carry_out(
        steps, alone, after=lambda step, subject: stages.append(pickle.dumps(stage_of(subject)))
    )
    later = go_on(pickle.loads(stages[0]), done=steps[:1], fresh=subject_of(*family)[1])
    went_on = carry_out(steps[1:], later)

    assert write(component, went_on.tensors) == write(component, straight.tensors)

"""Compression: pruning and quantizing really happen, the network decoded is the one that was measured."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raymaas.bundle.files import ARCHITECTURE, CODED
from raymaas.bundle.format import build_coded
from raymaas.bundle.probes import PROBES
from raymaas.bundle.rmz.container import read, write
from raymaas.bundle.rmz.tensors import Quantized, Raw
from raymaas.bundle.runtimes.base import check_probes
from raymaas.bundle.runtimes.opening import load_runtime
from raymaas.compress import worth
from raymaas.compress.distill import loss_of, softened_divergence
from raymaas.compress.passes.distill import transfer_key
from raymaas.compress.passes.prune import Mask, mask_least
from raymaas.compress.recipe import carry_out, passes_of
from raymaas.compress.stages import bytes_of, stage_of
from raymaas.compress.subject import Parent, Subject
from raymaas.compress.worth import input_rms
from raymaas.data.rows import Rows
from raymaas.errors import IntegrityError, InvalidInput, RunFailed
from raymaas.models import catalogue
from raymaas.models.base import classifier_signature
from raymaas.specs.compression import FineTuning
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec

D, CLASSES = 10, ("a", "b", "c")
INPUT = TensorSpec(name="x", dtype="FP32", shape=(-1, D))
SIGNATURE = classifier_signature(INPUT, CLASSES)
FACTS = Facts(input=INPUT, classes=CLASSES)
ARCHITECTURE_OF = catalogue.resolve(Component(use="mlp", config={"hidden": [24], "dropout": 0.3}), FACTS)
PRUNE = Component(use="prune", config={"sparsity": 0.75, "epochs": 5})
DISTILL = Component(use="distill", config={"student": {"use": "logistic"}, "epochs": 20})
QUANTIZE = Component(use="quantize", config={"bits": 3, "epochs": 3})


def rows(count: int = 120) -> Rows:
    """Three clouds; feature 9 is always 0, so whatever is multiplied with it is worth nothing."""
    random = np.random.default_rng(0)
    y_N = np.arange(count) % 3
    x_ND = random.normal(size=(count, D)).astype(np.float32)
    x_ND[np.arange(count), y_N] += 4
    x_ND[:, 9] = 0
    return Rows(x_ND=x_ND, y_N=y_N, id_N=np.arange(count))


@pytest.fixture(scope="module")
def parent() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = catalogue.build(ARCHITECTURE_OF)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        data = rows()
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(torch.tensor(data.x_ND)), torch.tensor(data.y_N)).backward()
            optimizer.step()
    return network.eval()


def subject(parent: nn.Module, seed: int = 0, **settings: Any) -> Subject:
    return Subject.of(
        Parent(parent, ARCHITECTURE_OF, FACTS), rows(), FineTuning(batch_size=32, **settings), seed=seed
    )


def test_a_recipe_prunes_to_the_share_asked_for_and_codes_what_is_left(parent):
    compressed = carry_out([PRUNE, QUANTIZE], subject(parent))
    weights = [t for name, t in compressed.tensors.items() if name.endswith(".weight")]
    assert len(weights) == 2
    assert all(isinstance(t, Quantized) and t.bits == 3 and abs(t.levels).max() <= 3 for t in weights)
    zeros = sum(int((t.levels == 0).sum()) for t in weights)
    assert zeros >= round(0.75 * sum(t.levels.size for t in weights))
    assert compressed.sparsity == zeros / sum(t.levels.size for t in weights)
    assert compressed.tensors.keys() == parent.state_dict().keys()


def test_a_codebook_of_weights_that_were_not_pruned_has_no_zeros(parent):
    shared = Component(use="quantize", config={"bits": 2, "epochs": 0, "grid": "codebook"})
    assert carry_out([shared], subject(parent)).sparsity == 0


def test_what_the_file_decodes_to_is_the_network_that_was_trained(parent):
    """Bit for bit: an accuracy measured on one holds for the other."""
    trained = subject(parent)
    compressed = carry_out([PRUNE, QUANTIZE], trained)
    decoded = read(write(ARCHITECTURE_OF, compressed.tensors)).dense()
    for name, tensor in trained.network.state_dict().items():
        np.testing.assert_array_equal(decoded[name], tensor.numpy())


def test_a_pruned_and_quantized_network_still_knows_its_classes(parent):
    trained = subject(parent, learning_rate=0.01)
    long = [c.model_copy(update={"config": c.config | {"epochs": 20}}) for c in (PRUNE, QUANTIZE)]
    carry_out(long, trained)
    data = rows()
    right = trained.network.eval()(torch.tensor(data.x_ND)).argmax(dim=1).numpy() == data.y_N
    assert right.mean() > 0.95


def test_the_parent_is_left_alone_and_the_same_seed_gives_the_same_file(parent):
    before = {name: tensor.clone() for name, tensor in parent.state_dict().items()}
    generator = torch.get_rng_state()
    first, again, other = (
        write(ARCHITECTURE_OF, carry_out([PRUNE, QUANTIZE], subject(parent, seed)).tensors)
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    assert torch.equal(generator, torch.get_rng_state())
    for name, tensor in parent.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_without_quantization_tensors_are_kept_at_half_precision(parent):
    compressed = carry_out([PRUNE, Component(use="finetune", config={"epochs": 1})], subject(parent))
    kept = compressed.tensors.values()
    assert all(isinstance(t, Raw) and t.array.dtype == np.float16 for t in kept)
    assert compressed.sparsity == pytest.approx(0.75, abs=0.01)


def test_weights_on_an_input_that_is_always_zero_go_first(parent):
    rms = input_rms(subject(parent))["hidden.0.weight"]
    assert rms[9] == 0
    assert (rms[:9] > 0).all()
    gentle = Component(use="prune", config={"sparsity": 0.05, "epochs": 2, "score": "activation"})
    trained = subject(parent)
    carry_out([gentle], trained)
    weight = trained.network.get_parameter("hidden.0.weight")
    assert (weight[:, 9] == 0).float().mean() > 0.6
    assert (weight[:, :9] == 0).sum() == 0


def test_masks_keep_the_share_even_among_equals_and_never_let_a_weight_back():
    masks = {"one": Mask(torch.ones(4, 5)), "two": Mask(torch.ones(10))}
    mask_least({"one": torch.zeros(4, 5), "two": torch.ones(10)}, masks, sparsity=0.5)
    assert int(masks["one"].kept.sum()) == 5
    assert int(masks["two"].kept.sum()) == 10
    before = masks["one"].kept.clone()
    mask_least({"one": torch.ones(4, 5), "two": torch.zeros(10)}, masks, sparsity=0.7)
    assert int(masks["two"].kept.sum()) == 4
    assert torch.equal(masks["one"].kept, before)


def test_a_softened_divergence_is_least_at_the_teachers_answers_and_its_gradient_keeps_its_size():
    taught_BC = torch.tensor([[2.0, 0.0, -1.0]])
    assert float(softened_divergence(taught_BC, taught_BC, temperature=3)) == pytest.approx(0, abs=1e-6)
    assert float(softened_divergence(-taught_BC, taught_BC, temperature=3)) > 0.1

    def gradient(temperature: float) -> torch.Tensor:
        near_BC = taught_BC.mul(1.1).requires_grad_()
        softened_divergence(near_BC, taught_BC, temperature=temperature).backward()
        assert near_BC.grad is not None
        return near_BC.grad

    steep, soft = gradient(50.0), gradient(100.0)
    assert float(soft.norm() / steep.norm()) == pytest.approx(1, abs=0.05)


@torch.no_grad()
def test_alpha_weighs_labels_against_the_teacher_and_rows_without_a_label_count_for_the_teacher_alone(parent):
    of_labels, of_teacher = (subject(parent, alpha=alpha) for alpha in (0.0, 1.0))
    batch_B = torch.tensor([0, 5, len(of_labels.y_N)])
    for one in (of_labels, of_teacher):
        one.learn_from(parent, also=torch.full((1, D), 9.0))
    known_B = batch_B[:2]
    given_BC = of_labels.network(of_labels.x_ND[batch_B])

    expected = nn.functional.cross_entropy(given_BC[:2], of_labels.y_N[known_B], reduction="sum") / 3
    assert float(loss_of(of_labels, batch_B)) == pytest.approx(float(expected))
    of_teacher.network.head.bias += torch.tensor([1.0, 0.0, 0.0])
    alone = loss_of(of_teacher, batch_B[2:])
    assert float(alone) > 1e-4


@torch.no_grad()
def test_the_teacher_of_augmented_rows_is_asked_about_what_they_became(parent):
    noisy = subject(parent, alpha=1.0, augment=[{"use": "noise", "deviation": 3.0}])
    batch_B = torch.arange(20)
    # A network that answers as its teacher does has nothing to learn, of whatever rows.
    assert float(loss_of(noisy, batch_B, drawn=7)) == pytest.approx(0, abs=1e-5)
    noisy.network.head.weight[0] += 1
    first, again, other = (float(loss_of(noisy, batch_B, drawn=drawn)) for drawn in (7, 7, 8))
    assert first == again != other


def test_a_recipe_may_name_another_teacher_and_other_rows(parent):
    better = copy.deepcopy(parent)
    with torch.no_grad():
        better.head.bias += torch.tensor([0.0, 50.0, 0.0])  # it always says the second
    more = Component(use="more")
    known = Parent(
        parent,
        ARCHITECTURE_OF,
        FACTS,
        teachers={"m@2": better},
        transfer={transfer_key(more): torch.randn(50, D)},
    )
    taught = Subject.of(known, rows(), FineTuning(batch_size=32, learning_rate=0.02), seed=0)
    step = Component(
        use="distill",
        config={
            "teacher": "m@2",
            "transfer_data": {"use": "more"},
            "alpha": 1.0,
            "temperature": 1,
            "epochs": 15,
        },
    )

    carry_out([step], taught)

    with torch.no_grad():
        said_N = taught.network.eval()(taught.x_ND).argmax(1)
    assert len(said_N) == 170
    assert float((said_N == 1).float().mean()) > 0.95
    assert taught.fine_tuning.temperature == 1


def test_a_student_of_another_architecture_learns_what_its_parent_answers(parent):
    taught = subject(parent, learning_rate=0.05, alpha=1.0)
    compressed = carry_out([DISTILL, QUANTIZE], taught)

    assert taught.architecture.use == "logistic"
    assert compressed.tensors.keys() == taught.network.state_dict().keys()
    coded = write(taught.architecture, compressed.tensors)
    served = catalogue.build(read(coded).architecture)
    served.load_state_dict({name: torch.from_numpy(array) for name, array in read(coded).dense().items()})
    x_ND = torch.tensor(rows().x_ND)
    with torch.no_grad():
        same = served.eval()(x_ND).argmax(dim=1) == parent(x_ND).argmax(dim=1)
    assert same.float().mean() > 0.95


def test_a_student_of_another_task_is_refused(parent):
    other = Component(use="distill", config={"student": {"use": "mlp_regressor"}})
    with pytest.raises(
        InvalidInput, match="'mlp_regressor' is for regression, its parent for classification"
    ):
        carry_out([other], subject(parent))


def test_numbers_that_half_precision_cannot_hold_are_kept_whole(parent):
    large = copy.deepcopy(parent)
    with torch.no_grad():
        large.get_parameter("head.bias").fill_(2.5e5)
    kept = carry_out([Component(use="prune", config={"sparsity": 0.5, "epochs": 0})], subject(large)).tensors
    assert kept["head.bias"].array.dtype == np.float32
    assert (kept["head.bias"].array == 2.5e5).all()
    assert kept["hidden.0.bias"].array.dtype == np.float16


def test_scores_look_at_rows_from_everywhere(parent, monkeypatch):
    """The last rows of a sorted set have what the first have not."""
    monkeypatch.setattr(worth, "_ROWS", 40)
    apart = subject(parent)
    apart.x_ND[:100, 0] = 0
    assert input_rms(apart)["hidden.0.weight"][0] > 0


def test_a_fine_tuning_that_diverges_says_what_to_change(parent):
    with pytest.raises(RunFailed, match=r"lower fine_tuning\.learning_rate"):
        carry_out([Component(use="finetune", config={"epochs": 5})], subject(parent, learning_rate=1e30))


@pytest.mark.parametrize("use", ["finetune", "quantize"])
def test_a_pass_may_have_a_learning_rate_of_its_own_and_later_ones_have_the_recipes(parent, use):
    still = {"epochs": 2, "learning_rate": 1e-12} | ({"bits": 8} if use == "quantize" else {})
    trained = subject(parent)
    before = trained.network.get_parameter("head.weight").detach().clone()
    carry_out([Component(use=use, config=still)], trained)
    moved = trained.weights["head.weight"].moved.detach()
    torch.testing.assert_close(moved, before, rtol=1e-3, atol=1e-3)
    assert trained.fine_tuning.learning_rate == FineTuning().learning_rate
    del still["learning_rate"]
    carry_out([Component(use=use, config=still)], faster := subject(parent))
    assert (faster.weights["head.weight"].moved.detach() - before).abs().max() > 1e-3


@pytest.mark.parametrize("seed", [20261122, 2**63])
def test_any_seed_will_do(parent, seed):
    noisy = subject(parent, seed, augment=[{"use": "noise", "deviation": 0.1}])
    carry_out([Component(use="prune", config={"sparsity": 0.5, "epochs": 1, "score": "taylor"})], noisy)
    assert noisy.epochs_done == 1


@pytest.mark.parametrize("grid", ["", "symmetric", "codebook"])
def test_a_stage_takes_no_more_memory_than_it_says(grid):
    wide = catalogue.resolve(Component(use="mlp", config={"hidden": [900]}), FACTS)
    stage = Subject.of(Parent(catalogue.build(wide), wide, FACTS), rows(), FineTuning(), seed=0)
    quantize = Component(use="quantize", config={"bits": 4, "grid": grid, "rate": 0.1, "epochs": 1})
    carry_out([PRUNE, quantize] if grid else [PRUNE], stage)
    kept = stage_of(stage)
    assert 0.5 * bytes_of(kept) < len(pickle.dumps(kept)) <= bytes_of(kept)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ([PRUNE, DISTILL], "'distill' follows 'prune'.*put 'distill' before 'prune'"),
        ([QUANTIZE, PRUNE], "'prune' follows 'quantize'.*put 'prune' before 'quantize'"),
        ([Component(use="prun")], "did you mean 'prune'"),
        ([Component(use="melt")], "known are channels, .*distill, .*quantize"),
        ([Component(use="prune", config={"sparsity": 1.5})], "less than or equal to 0.999"),
        (
            [Component(use="prune", config={"sparsity": 0.5, "score": "movement", "schedule": "one-shot"})],
            "movement is how training moves weights",
        ),
        ([Component(use="quantize", config={"bit": 4})], "did you mean 'bits'"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_with_the_reason(recipe, message):
    with pytest.raises(InvalidInput, match=message):
        passes_of(recipe)


def test_a_coded_bundle_is_served_exactly_as_it_was_decoded(parent):
    trained = subject(parent)
    coded = write(ARCHITECTURE_OF, carry_out([PRUNE, QUANTIZE], trained).tensors)
    bundle = build_coded(coded, signature=SIGNATURE, probes=rows().x_ND[:4])
    assert set(bundle.files) == {CODED, ARCHITECTURE, PROBES}
    assert (bundle.runtimes, bundle.weights_file, bundle.notes) == (("torch",), CODED, ())
    runtime = load_runtime("torch", bundle.files, signature=SIGNATURE)
    check_probes(runtime, bundle.files)
    with torch.no_grad():
        expected = trained.network.eval()(torch.tensor(rows().x_ND))
    np.testing.assert_array_equal(runtime.run({"x": rows().x_ND})["logits"], expected.numpy())
    damaged = coded[:40] + bytes([coded[40] ^ 1]) + coded[41:]
    with pytest.raises(IntegrityError):
        load_runtime("torch", {**bundle.files, CODED: damaged}, signature=SIGNATURE)

"""Compression: pruning and quantizing really happen, the network decoded is the one that was measured."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from raymaas.bundle.format import ARCHITECTURE, CODED, PROBES, build_coded
from raymaas.bundle.rmz.container import read, write
from raymaas.bundle.rmz.tensors import Quantized, Raw
from raymaas.bundle.runtimes.base import check_probes
from raymaas.bundle.runtimes.opening import load_runtime
from raymaas.compress import worth
from raymaas.compress.distill import distillation_loss
from raymaas.compress.passes.prune import Mask, mask_least
from raymaas.compress.recipe import carry_out, passes_of
from raymaas.compress.subject import Parent, Subject
from raymaas.compress.worth import input_rms
from raymaas.data.rows import Rows
from raymaas.errors import IntegrityError, InvalidInput, RunFailed
from raymaas.jobs.compress import at_the_knee, smallest, within
from raymaas.models import catalogue
from raymaas.models.base import classifier_signature
from raymaas.specs.compression import FineTuning, Gate
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.search import Broken, Finished, Trial
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


def subject(parent: nn.Module, seed: int = 0, **settings: float) -> Subject:
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


def test_distillation_is_least_at_the_parents_answers_and_alpha_weighs_the_labels():
    parent_BC, y_B = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([1])
    only_parent = FineTuning(alpha=1.0)
    assert float(distillation_loss(parent_BC, parent_BC, y_B, only_parent)) == pytest.approx(0, abs=1e-6)
    assert float(distillation_loss(-parent_BC, parent_BC, y_B, only_parent)) > 0.1
    labels = nn.functional.cross_entropy(parent_BC, y_B)
    assert float(distillation_loss(parent_BC, parent_BC, y_B, FineTuning(alpha=0.0))) == pytest.approx(
        float(labels)
    )


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


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ([PRUNE, DISTILL], "'distill' follows 'prune'.*put 'distill' first"),
        ([QUANTIZE, PRUNE], "'prune' follows 'quantize'.*put 'quantize' last"),
        ([Component(use="prun")], "did you mean 'prune'"),
        ([Component(use="melt")], "known are distill, finetune, l1, prune, quantize"),
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


GATE = Gate(metric="accuracy", max_loss=0.01)


def trial(name: str, size: float, accuracy: float) -> Trial:
    metrics = {"bytes": size, "validation_accuracy": accuracy}
    outcome = Finished(metrics=metrics, reports=1, seconds=1.0)
    return Trial(run_id="run-1", trial=name, point={"quantize.bits": 3}, outcome=outcome)


def test_the_smallest_within_the_budget_is_chosen_and_the_more_accurate_of_equals():
    trials = [trial("a", 100, 0.90), trial("b", 300, 0.97), trial("c", 200, 0.96), trial("d", 200, 0.95)]
    good = within(trials, GATE, parent=0.96, run_id="run-1")
    assert {each.trial for each in good} == {"b", "c", "d"}
    assert smallest(good, GATE).trial == "c"


def test_the_knee_is_where_fewer_bytes_begin_to_cost_much():
    trials = [trial("a", 100, 0.90), trial("b", 120, 0.96), trial("c", 400, 0.97), trial("d", 410, 0.95)]
    assert at_the_knee(trials, GATE).trial == "b"
    assert at_the_knee(trials[:1], GATE).trial == "a"


def test_when_nothing_keeps_the_accuracy_the_best_and_the_next_step_are_named():
    with pytest.raises(
        RunFailed, match=r"0\.9000 in 100 bytes with quantize\.bits 3\. Search gentler"
    ) as error:
        within([trial("a", 100, 0.9), trial("b", 50, 0.8)], GATE, parent=0.96, run_id="run-1")
    assert error.value.run == "run-1"
    failed = Trial(run_id="run-1", trial="t", point={}, outcome=Broken(error="out of memory"))
    with pytest.raises(RunFailed, match="every trial failed, the first with: out of memory"):
        within([failed], GATE, parent=0.96, run_id="run-1")

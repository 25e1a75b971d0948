"""Factored networks: what their configs may say, and that they are of the family they are made of."""

import numpy as np
import pytest
import torch

from raymaas.bundle.format import build
from raymaas.compress.passes.lowrank import factored_state
from raymaas.compress.recipe import carry_out
from raymaas.compress.subject import Parent, Subject
from raymaas.data.rows import Rows
from raymaas.errors import InvalidInput
from raymaas.jobs import judging
from raymaas.models import catalogue
from raymaas.models.base import signature_of
from raymaas.specs.compression import FineTuning
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec

INPUT = TensorSpec(name="x", dtype="FP32", shape=(-1, 12))
FACTS = Facts(input=INPUT, classes=("a", "b", "c"))
MLP = catalogue.resolve(Component(use="mlp", config={"hidden": [16, 8], "input_scale": 0.5}), FACTS)


def factored(ranks: object, of: object = None) -> Component:
    inner = MLP.model_dump(mode="json") if of is None else of
    return Component(use="factored", config={"of": inner, "ranks": ranks})


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (
            factored({"hidden.7": 2}),
            r"ranks\.hidden\.7: 'mlp' has no such layer to factor; it has hidden\.0, hid",
        ),
        (factored({"": 2}), "no such layer"),
        (factored({"__class__": 2}), "no such layer"),
        (factored({"hidden.0.weight": 2}), "no such layer"),
        (factored({"dropouts.0": 2}), "no such layer"),
        (factored({"head": 4}), r"ranks\.head is 4, but the rank of that layer is at most 3"),
        (factored({"head": 0}), r"ranks\.head: input should be greater than 0"),
        (factored({"head": 1.5}), r"ranks\.head: "),
        (factored({"head": 10**30}), r"at most 3"),
        (factored({}), "ranks: "),
        (factored(None), "ranks: "),
        (factored({"head": 1}, {"use": "mlb"}), "did you mean 'mlp'"),
        (factored({"head": 1}, {"use": "my_package.net:Net"}), "its user's own code"),
        (factored({"head": 1}, ["mlp"]), "of: "),
        (
            factored({"head": 1}, factored({"head": 1}).model_dump()),
            "of: 'factored' cannot be made of itself",
        ),
        (Component(use="factored"), "of: required field is missing"),
        (
            Component(use="factored", config={**factored({"head": 1}).config, "rank": 3}),
            "did you mean 'ranks'",
        ),
    ],
)
def test_a_factored_network_that_cannot_be_is_refused(component, message):
    with pytest.raises(InvalidInput, match=message):
        catalogue.build(component)
    with pytest.raises(InvalidInput, match=message):
        catalogue.resolve(component, FACTS)


def test_a_factored_network_takes_what_its_data_decides_and_is_for_what_is_in_it():
    short = factored({"hidden.0": 3}, {"use": "mlp", "config": {"hidden": [16]}})
    before = torch.get_rng_state()
    found = catalogue.resolve(short, FACTS)
    assert torch.equal(before, torch.get_rng_state())
    assert catalogue.plain(found) == catalogue.resolve(Component(use="mlp", config={"hidden": [16]}), FACTS)
    assert [tuple(p.shape) for p in catalogue.build(found).parameters() if p.dim() == 2] == [
        (3, 12),
        (16, 3),
        (3, 16),
    ]
    regressor = factored({"hidden.0": 1}, {"use": "mlp_regressor", "config": {"in_features": 4}})
    assert catalogue.task_of(regressor) == "regression"
    with pytest.raises(InvalidInput, match="'mlp_regressor' learns numbers as labels") as refused:
        catalogue.resolve(regressor, FACTS)
    assert "factored" not in str(refused.value)


def test_a_factored_density_is_scored_on_rows_as_binary_as_its_family_says():
    facts = Facts(input=INPUT, target="none")
    vae = {"hidden": [8], "latent": 2, "binarize": True, "input_scale": 0.5}
    whole = catalogue.resolve(Component(use="vae", config=vae), facts)
    ranks = {"encoder.0": 8, "decoder.2": 8}
    thin = catalogue.resolve(factored(ranks, whole.model_dump(mode="json")), facts)
    network, other = catalogue.build(whole), catalogue.build(thin)
    other.load_state_dict(factored_state(network.state_dict(), ranks))
    x_ND = np.random.default_rng(0).random((6, 12), dtype=np.float32) * 2
    known = Rows(x_ND=x_ND, y_N=np.zeros(6), id_N=np.arange(6))
    signature = signature_of("density", facts)
    found = []
    for built, component in ((network, whole), (other, thin)):
        bundle = build(built, architecture=component, signature=signature, probes=x_ND[:2])
        opened = judging.Subject.of_files(bundle.files, signature, runtime="torch")
        found.append(opened.answers([known]))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


def test_a_student_of_a_factored_parent_scales_its_input_as_its_parent_does():
    thin = catalogue.resolve(factored({"hidden.0": 2}), FACTS)
    known = Rows(x_ND=np.ones((4, 12), np.float32), y_N=np.arange(4) % 3, id_N=np.arange(4))
    subject = Subject.of(Parent(catalogue.build(thin), thin, FACTS), known, FineTuning(), seed=0)
    carry_out([Component(use="distill", config={"student": {"use": "logistic"}, "epochs": 1})], subject)
    assert subject.architecture.config["input_scale"] == 0.5

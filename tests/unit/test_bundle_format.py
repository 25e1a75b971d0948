"""The files of a version: complete, self-contained, no traces of the machine, honest when a graph fails."""

import json

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load

from raymaas.bundle.correctness import EVALUATION
from raymaas.bundle.files import ARCHITECTURE, GRAPH, WEIGHTS
from raymaas.bundle.format import BuiltBundle, build
from raymaas.bundle.probes import PROBES
from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.models.base import classifier_signature
from raymaas.models.networks import Classifier
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec

INPUT = TensorSpec(name="x", dtype="FP32", shape=(-1, 5))
SIGNATURE = classifier_signature(INPUT, ("no", "yes"))
PROBE_ROWS = np.arange(15, dtype=np.float32).reshape(3, 5)


def logistic() -> tuple[torch.nn.Module, Component]:
    component = catalogue.resolve(Component(use="logistic"), Facts(input=INPUT, classes=("no", "yes")))
    network = catalogue.build(component)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape))
    return network, component


@pytest.fixture(scope="module")
def bundle() -> BuiltBundle:
    network, component = logistic()
    return build(network, architecture=component, signature=SIGNATURE, probes=PROBE_ROWS)


class Unexportable(Classifier):
    """Asks the values of its input which way to go, which no graph can."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(5, 2)

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        logits_BC: torch.Tensor = self.linear(x_BD) if x_BD.sum().item() > 0 else self.linear(-x_BD)
        return logits_BC


def test_a_bundle_has_all_files_and_both_runtimes(bundle):
    assert set(bundle.files) == {WEIGHTS, ARCHITECTURE, GRAPH, PROBES}
    assert bundle.runtimes == ("onnx", "torch")
    assert bundle.notes == ()
    assert json.loads(bundle.files[ARCHITECTURE])["config"]["in_features"] == 5


def test_weights_are_recorded_bit_for_bit(bundle):
    network, _ = logistic()
    for name, array in load(bundle.files[WEIGHTS]).items():
        np.testing.assert_array_equal(array, network.state_dict()[name].numpy())


def test_probes_hold_real_inputs_and_their_outputs(bundle):
    network, _ = logistic()
    probes = load(bundle.files[PROBES])
    np.testing.assert_array_equal(probes["input.x"], PROBE_ROWS)
    logits_BC = network(torch.tensor(PROBE_ROWS)).detach()
    np.testing.assert_array_equal(probes["output.logits"], logits_BC.numpy())
    np.testing.assert_allclose(probes["output.probabilities"].sum(axis=1), 1, rtol=1e-6)


def test_the_graph_is_self_contained_valid_and_takes_any_number_of_rows(bundle):
    graph = onnx.load_from_string(bundle.files[GRAPH])
    onnx.checker.check_model(graph, full_check=True)
    assert [tensor.data_location for tensor in graph.graph.initializer] == [onnx.TensorProto.DEFAULT] * len(
        graph.graph.initializer
    )
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [output.name for output in graph.graph.output] == ["logits", "probabilities"]


def test_no_file_tells_of_the_machine_that_made_it(bundle):
    for data in bundle.files.values():
        assert b"stack_trace" not in data
        assert __file__.encode() not in data
        assert catalogue.__file__.rpartition("/")[0].encode() not in data


def test_the_same_network_gives_the_same_bytes(bundle):
    network, component = logistic()
    again = build(network, architecture=component, signature=SIGNATURE, probes=PROBE_ROWS)
    assert again.files == bundle.files


def test_a_network_that_cannot_be_exported_keeps_torch_and_says_why():
    built = build(
        Unexportable(), architecture=Component(use="made-up"), signature=SIGNATURE, probes=PROBE_ROWS
    )
    assert built.runtimes == ("torch",)
    assert GRAPH not in built.files
    assert len(built.notes) == 1
    assert built.notes[0].startswith("no ONNX graph: ")
    assert len(built.notes[0]) > len("no ONNX graph: ")


def test_an_evaluation_is_added_beside_the_other_files(bundle):
    whole = bundle.with_evaluation(row_N=np.array([7, 9]), values={"correct": np.array([True, False])})
    assert set(whole.files) == {*bundle.files, EVALUATION}
    arrays = load(whole.files[EVALUATION])
    assert arrays["row"].tolist() == [7, 9]
    assert arrays["correct"].tolist() == [1, 0]
    assert arrays["correct"].dtype == np.uint8


def test_probes_that_do_not_fit_the_signature_are_refused():
    network, component = logistic()
    with pytest.raises(InvalidInput, match="input 'x'"):
        build(network, architecture=component, signature=SIGNATURE, probes=PROBE_ROWS.astype(np.float64))

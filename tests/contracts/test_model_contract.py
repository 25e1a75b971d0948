"""ModelContract: what every architecture of the catalogue promises. A new one adds its line to FAMILIES."""

import numpy as np
import orjson
import pytest
import torch
from eight_bits import eight_bit_sums_are_exact
from families import FAMILIES, NAMES, C, facts, resolved, rows
from safetensors.torch import load, save

from raymaas.bundle.files import ARCHITECTURE, CODED, GRAPH, GRAPHS
from raymaas.bundle.format import BuiltBundle, build
from raymaas.bundle.hollow import parsed
from raymaas.bundle.hollowing import hollowed
from raymaas.bundle.int8 import dynamic_int8, static_int8
from raymaas.bundle.rmz.container import write
from raymaas.bundle.rmz.tensors import Raw
from raymaas.bundle.runtimes.opening import load_runtime
from raymaas.bundle.signature import check_inputs, with_defaults
from raymaas.models import catalogue
from raymaas.models.base import signature_of
from raymaas.models.chance import Dropout
from raymaas.models.networks import Network
from raymaas.specs.jobs import Component, Training
from raymaas.train.objectives import make_objective


def artifacts(bundle: BuiltBundle, network: Network, x_ND: np.ndarray) -> dict[str, dict[str, bytes]]:
    """What a coded version of the network would be served with, by runtime; its graphs hold none of its weights."""
    made = {"torch-bf16": dict(bundle.files)}
    if GRAPH not in bundle.files:
        return made
    tensors = {name: Raw(tensor.numpy()) for name, tensor in network.state_dict().items()}
    graph = bundle.files[GRAPH]
    graphs = {
        "onnx": graph,
        "onnx-int8": static_int8(graph, tensors, input_name="x", x_ND=x_ND, method="minmax"),
        "onnx-int8-dynamic": dynamic_int8(graph, tensors),
    }
    component = Component.parse(orjson.loads(bundle.files[ARCHITECTURE]), source=ARCHITECTURE)
    coded = write(component, tensors, coders=dict.fromkeys(tensors, "none"))
    for name, whole in graphs.items():
        hollow = hollowed(whole, tensors)
        large = [each.name for each in parsed(hollow).graph.initializer if len(each.raw_data) > 1024]
        assert not large, f"{name} still holds {large}"
        made[name] = {GRAPHS[name]: hollow, CODED: coded}
    return made


def test_every_architecture_is_under_this_contract():
    assert {use for use, _, _ in FAMILIES} == catalogue.ARCHITECTURES.keys()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small only wait for a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("use", "row", "config"), FAMILIES, ids=NAMES)
class TestModelContract:
    @pytest.fixture
    def task(self, use):
        return catalogue.architecture(use).Config.task

    @pytest.fixture
    def component(self, use, row, config):
        scaled = (
            {"input_scale": 0.5} if "input_scale" in catalogue.architecture(use).Config.model_fields else {}
        )
        return resolved(use, row, config | scaled)

    @pytest.fixture
    def network(self, component):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            network = catalogue.build(component)
            for parameter in network.parameters():  # away from a start at zero
                parameter.data.add_(0.2 * torch.randn_like(parameter))
        return network.eval()

    @pytest.fixture
    def signature(self, use, row, task):
        return signature_of(task, facts(use, row))

    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_rows_become_the_outputs_of_the_signature_whatever_their_number(
        self, network, use, row, signature, count
    ):
        outputs = network.infer(rows(use, count, row))
        for spec, output in zip(signature.outputs, outputs, strict=True):
            assert output.shape == (count, *spec.shape[1:]), spec.name
            assert output.dtype == torch.float32

    @pytest.mark.parametrize("training", [False, True])
    def test_a_row_does_not_depend_on_the_rows_beside_it(self, network, use, row, training):
        for module in network.modules():
            if not isinstance(module, Dropout):
                module.training = training
        x = rows(use, 6, row)
        together = network.infer(x)
        alone = zip(*(network.infer(one[None]) for one in x), strict=True)
        for some, one_by_one in zip(together, alone, strict=True):
            torch.testing.assert_close(some, torch.cat(one_by_one), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(together[0][0], together[0][1], atol=1e-3), "rows are told apart"

    def test_the_input_is_scaled_inside(self, component, network, use, row):
        if "input_scale" not in component.config:
            pytest.skip("bytes and tokens have no scale")
        plain = catalogue.build(Component(use=component.use, config=component.config | {"input_scale": 1.0}))
        plain.load_state_dict(network.state_dict())
        x = rows(use, 3, row)
        torch.testing.assert_close(network.infer(x)[0], plain.eval().infer(x * 0.5)[0])

    def test_the_same_seed_gives_the_same_weights(self, component):
        states = []
        with torch.random.fork_rng():
            for _ in range(2):
                torch.manual_seed(7)
                states.append(catalogue.build(component).state_dict())
        for name, tensor in states[0].items():
            assert torch.equal(tensor, states[1][name])

    def test_the_loss_falls(self, component, use, row, task):
        y_N = torch.randint(C, (64,), generator=torch.Generator().manual_seed(0))
        if task == "classification" and not use.startswith("text_"):
            x_N = rows(use, 64, row) + 2 * rows(use, C, row, seed=1)[y_N]
        else:
            x_N = rows(use, C, row, seed=1)[y_N]
        if task == "regression":
            y_N = y_N.float()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = catalogue.build(component)
            objective = make_objective(network, Training(), x_ND=x_N, y_N=y_N)
            optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
            losses = []
            for _ in range(60):
                optimizer.zero_grad()
                loss = objective.loss(network.train()(x_N), y_N)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        if task == "adversarial":  # two players: what one wins the other loses
            assert all(map(np.isfinite, losses))
        else:
            # Rows of a density are noise: all that can be learned of them is how much.
            learned = 0.02 if task == "density" else 0.5
            assert losses[-1] < losses[0] - learned * abs(losses[0])

    def test_an_empty_shard_trains_nothing_and_breaks_nothing(self, network, row):
        network.train()(torch.empty(0, *row)).sum().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, f"{name}: gradients are averaged over workers, so each has one"
            assert not parameter.grad.any()

    def test_weights_round_trip_through_safetensors(self, component, network, use, row):
        copy = catalogue.build(component)
        copy.load_state_dict(load(save(network.state_dict())))
        x = rows(use, 3, row)
        assert torch.equal(network.infer(x)[0], copy.eval().infer(x)[0])

    def test_what_is_served_is_what_torch_gives_for_any_number_of_rows(
        self, component, network, use, row, signature
    ):
        probes = rows(use, 3, row).numpy()
        bundle = build(network, architecture=component, signature=signature, probes=probes)
        if not network.methods():
            assert (bundle.runtimes, bundle.notes) == (("onnx", "torch"), ())
        served = load_runtime(bundle.runtimes[0], bundle.files, signature=signature)
        for count in (1, 3, 8):
            x = rows(use, count, row, seed=count)
            with torch.no_grad():
                expected = network.infer(x)
            got = served.run({"x": x.numpy()})
            for spec, output in zip(signature.outputs, expected, strict=True):
                np.testing.assert_allclose(got[spec.name], output.numpy(), rtol=1e-4, atol=1e-5)
        x = rows(use, 32, row, seed=9).numpy()
        for name, artifact in artifacts(bundle, network, x).items():
            runtime = load_runtime(name, artifact, signature=signature)
            try:
                coarse = runtime.run({"x": x})
            except RuntimeError as error:
                if name != "torch-bf16" or "primitive descriptor" not in str(error):
                    raise
                continue  # oneDNN has no such network in bfloat16 for this CPU.
            for output, exact in served.run({"x": x}).items():
                scale = max(1.0, np.abs(exact).max())
                if "int8" in name and not eight_bit_sums_are_exact():
                    continue  # Such a CPU is for the probes to refuse; here there is nothing to promise.
                assert np.abs(coarse[output] - exact).mean() < 0.03 * scale, f"{output} by {name}"

    def test_its_other_methods_answer_as_their_signatures_say(self, component, network, use, row, signature):
        if not network.methods():
            pytest.skip("it answers `infer` only")
        probes = rows(use, 3, row).numpy()
        bundle = build(network, architecture=component, signature=signature, probes=probes)
        served = load_runtime("torch", bundle.files, signature=signature)
        given = {
            "x": probes,
            "z": np.ones((3, 4), np.float32),
            "seed": np.array([3, 4, 3]),
            "prompt": np.array(["ab", "", "ab"], dtype=object),
            "max_bytes": np.array([5, 5, 5], np.int32),
        }
        assert bundle.methods.keys() == network.methods().keys()
        for name, method in bundle.methods.items():
            inputs = with_defaults(
                method, {spec.name: given[spec.name] for spec in method.inputs if spec.name in given}
            )
            assert check_inputs(method, inputs) == 3
            once, again = (served.call(name, inputs) for _ in range(2))
            for spec in method.outputs:
                assert once[spec.name].shape == (3, *spec.shape[1:])
                np.testing.assert_array_equal(once[spec.name], again[spec.name])
            if "seed" in inputs:
                (output,) = once.values()
                np.testing.assert_array_equal(output[0], output[2])
                assert not np.array_equal(output[0], output[1])

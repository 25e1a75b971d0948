"""ModelContract: what every architecture of the catalogue promises. A new one adds its line to FAMILIES."""

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from raymaas.bundle.format import build
from raymaas.bundle.runtimes.opening import load_runtime
from raymaas.models import catalogue
from raymaas.models.base import classifier_signature
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec

FLAT, SEQUENCE, GREY, COLOUR = (12,), (5, 4), (12, 12), (3, 12, 12)
FAMILIES = [  # name, the shape of a row, settings
    ("cnn", GREY, {"layers": ["conv3x3-4", "pool", "conv5x3-8", "pool", "dropout-0.1", "dense-16"]}),
    ("cnn", COLOUR, {"layers": ["conv3x3-8", "pool"]}),
    ("lenet5", GREY, {"dropout": 0.1}),
    ("linear_svm", FLAT, {}),
    ("logistic", FLAT, {}),
    ("logistic", GREY, {}),
    ("mlp", FLAT, {"hidden": [16, 8], "dropout": 0.1}),
    ("mlp", COLOUR, {"hidden": [16]}),
    ("mobilenet", COLOUR, {"stem": 8, "blocks": [[16, 2], [12, 1]]}),
    ("rbf_svm", FLAT, {"gamma": 0.05, "features": 64}),
    ("recurrent", SEQUENCE, {"cell": "gru", "hidden": 16, "dropout": 0.1}),
    ("recurrent", SEQUENCE, {"cell": "lstm", "hidden": 16, "layers": 2}),
    ("resnet", GREY, {"widths": [8, 12], "blocks": [1, 2]}),
    ("resnet", COLOUR, {"widths": [8, 16], "blocks": [1, 1], "stem": "7x7"}),
    ("vit", COLOUR, {"patch": 4, "width": 16, "heads": 2, "depth": 2, "feed_forward": 16, "dropout": 0.1}),
]
NAMES = [" ".join([use, config.get("cell", ""), "x".join(map(str, row))]) for use, row, config in FAMILIES]
CLASSES = tuple("abcd")
C = len(CLASSES)


def test_every_architecture_is_under_this_contract():
    assert {use for use, _, _ in FAMILIES} == catalogue.ARCHITECTURES.keys()


def rows(count: int, row: tuple[int, ...], *, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, *row, generator=torch.Generator().manual_seed(seed))


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
    def component(self, use, row, config):
        return catalogue.resolve(
            Component(use=use, config=config | {"input_scale": 0.5}),
            data_input=TensorSpec(name="x", dtype="FP32", shape=(-1, *row)),
            classes=CLASSES,
        )

    @pytest.fixture
    def network(self, component):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            network = catalogue.build(component)
            for parameter in network.parameters():  # away from a start at zero
                parameter.data.add_(0.2 * torch.randn_like(parameter))
        return network.eval()

    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_rows_become_logits_whatever_their_number(self, network, row, count):
        logits_BC = network(torch.ones(count, *row))
        assert logits_BC.shape == (count, C)
        assert logits_BC.dtype == torch.float32

    @pytest.mark.parametrize("training", [False, True])
    def test_a_row_does_not_depend_on_the_rows_beside_it(self, network, row, training):
        for module in network.modules():
            if not isinstance(module, torch.nn.Dropout):
                module.training = training
        x = rows(6, row)
        together, alone = network(x), torch.cat([network(one[None]) for one in x])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(together[0], together[1], atol=1e-3), "rows are told apart"

    def test_the_input_is_scaled_inside(self, component, network, row):
        plain = catalogue.build(Component(use=component.use, config=component.config | {"input_scale": 1.0}))
        plain.load_state_dict(network.state_dict())
        torch.testing.assert_close(network(rows(3, row)), plain.eval()(rows(3, row) * 0.5))

    def test_the_same_seed_gives_the_same_weights(self, component):
        states = []
        with torch.random.fork_rng():
            for _ in range(2):
                torch.manual_seed(7)
                states.append(catalogue.build(component).state_dict())
        for name, tensor in states[0].items():
            assert torch.equal(tensor, states[1][name])

    def test_the_loss_falls(self, component, row):
        y_N = torch.randint(C, (64,), generator=torch.Generator().manual_seed(0))
        x_N = rows(64, row) + 2 * rows(C, row, seed=1)[y_N]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = catalogue.build(component)
            optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
            losses = []
            for _ in range(60):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(network(x_N), y_N)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        assert losses[-1] < losses[0] / 2

    def test_an_empty_shard_trains_nothing_and_breaks_nothing(self, network, row):
        network.train()(torch.empty(0, *row)).sum().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, f"{name}: gradients are averaged over workers, so each has one"
            assert not parameter.grad.any()

    def test_weights_round_trip_through_safetensors(self, component, network, row):
        copy = catalogue.build(component)
        copy.load_state_dict(load(save(network.state_dict())))
        assert torch.equal(network(rows(3, row)), copy.eval()(rows(3, row)))

    def test_the_graph_gives_what_torch_gives_for_any_number_of_rows(self, component, network, row):
        signature = classifier_signature(TensorSpec(name="x", dtype="FP32", shape=(-1, *row)), CLASSES)
        bundle = build(network, architecture=component, signature=signature, probes=rows(3, row).numpy())
        assert (bundle.runtimes, bundle.notes) == (("onnx", "torch"), ())
        graph = load_runtime("onnx", bundle.files, signature=signature)
        for count in (1, 3, 8):
            x = rows(count, row, seed=count)
            with torch.no_grad():
                expected = network(x)
            got = graph.run({"x": x.numpy()})["logits"]
            np.testing.assert_allclose(got, expected.numpy(), rtol=1e-4, atol=1e-5)

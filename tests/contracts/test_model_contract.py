"""ModelContract: what every architecture of the catalogue promises. A new one adds its line to CONFIGS."""

import pytest
import torch
from safetensors.torch import load, save

from raymaas.models import catalogue
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec

CONFIGS = {
    "logistic": {"input_scale": 0.5},
    "mlp": {"hidden": [16, 8], "dropout": 0.1, "input_scale": 0.5},
}
D, C = 12, 4


def test_every_architecture_is_under_this_contract():
    assert CONFIGS.keys() == catalogue.ARCHITECTURES.keys()


@pytest.mark.parametrize("use", CONFIGS)
class TestModelContract:
    @pytest.fixture
    def component(self, use):
        return catalogue.resolve(
            Component(use=use, config=CONFIGS[use]),
            data_input=TensorSpec(name="x", dtype="FP32", shape=(-1, D)),
            classes=tuple("abcd"),
        )

    @pytest.fixture
    def network(self, component):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            network = catalogue.build(component)
            for parameter in network.parameters():  # away from a start at zero
                torch.nn.init.normal_(parameter)
        return network.eval()

    @pytest.mark.parametrize("rows", [0, 1, 5])
    def test_features_become_logits_for_any_number_of_rows(self, network, rows):
        logits_BC = network(torch.ones(rows, D))
        assert logits_BC.shape == (rows, C)
        assert logits_BC.dtype == torch.float32

    def test_a_row_does_not_depend_on_the_rows_beside_it(self, network):
        x_BD = torch.randn(6, D, generator=torch.Generator().manual_seed(0))
        together, alone = network(x_BD), torch.cat([network(row[None]) for row in x_BD])
        torch.testing.assert_close(together, alone)

    def test_the_input_is_scaled_inside(self, component, network):
        plain = catalogue.build(Component(use=component.use, config=component.config | {"input_scale": 1.0}))
        plain.load_state_dict(network.state_dict())
        x_BD = torch.randn(3, D, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(network(x_BD), plain.eval()(x_BD * 0.5))

    def test_the_same_seed_gives_the_same_weights(self, component):
        states = []
        with torch.random.fork_rng():
            for _ in range(2):
                torch.manual_seed(7)
                states.append(catalogue.build(component).state_dict())
        for name, tensor in states[0].items():
            assert torch.equal(tensor, states[1][name])

    def test_the_loss_falls(self, component):
        generator = torch.Generator().manual_seed(0)
        y_N = torch.randint(C, (64,), generator=generator)
        x_ND = torch.randn(64, D, generator=generator) + 3 * torch.nn.functional.one_hot(y_N, D)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = catalogue.build(component)
            optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
            losses = []
            for _ in range(60):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(network(x_ND), y_N)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        assert losses[-1] < losses[0] / 2

    def test_weights_round_trip_through_safetensors(self, component, network):
        copy = catalogue.build(component)
        copy.load_state_dict(load(save(network.state_dict())))
        x_BD = torch.randn(3, D, generator=torch.Generator().manual_seed(0))
        assert torch.equal(network(x_BD), copy.eval()(x_BD))

"""The catalogue: settings come from the data, contradictions are refused, and listing it needs no torch."""

import subprocess
import sys

import pytest
import torch

from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.models.base import classifier_signature
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec

IMAGE = TensorSpec(name="x", dtype="FP32", shape=(-1, 8, 8))
CLASSES = tuple("0123456789")


def resolve(use: str, **config: object) -> Component:
    return catalogue.resolve(Component(use=use, config=config), Facts(input=IMAGE, classes=CLASSES))


def test_data_fills_what_the_job_leaves_out_and_defaults_are_written_out():
    assert resolve("mlp", dropout=0.5).config == {
        "in_features": 64,
        "classes": 10,
        "input_scale": 1.0,
        "hidden": [128],
        "dropout": 0.5,
    }


def test_a_setting_that_contradicts_the_data_is_refused():
    with pytest.raises(InvalidInput, match=r"architecture\.config\.classes is 3, but the data has 10"):
        resolve("mlp", classes=3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hiden": [3]}, "hiden: unknown field; did you mean 'hidden'"),
        ({"hidden": [0]}, "hidden.0: input should be greater than 0"),
        ({"hidden": []}, "hidden: "),
        ({"dropout": 1.0}, "dropout: "),
        ({"input_scale": 0}, "input_scale: "),
    ],
)
def test_a_wrong_setting_is_refused_by_name(config, message):
    with pytest.raises(InvalidInput, match=f"architecture 'mlp': {message}"):
        resolve("mlp", **config)


def test_an_unknown_architecture_is_refused_with_the_nearest_name():
    with pytest.raises(InvalidInput, match="'logistics' is unknown; did you mean 'logistic'"):
        resolve("logistics")


@pytest.mark.parametrize("use", ["cnn", "lenet5", "resnet", "mobilenet", "vit"])
def test_a_family_for_images_refuses_rows_without_neighbours(use):
    flat = TensorSpec(name="x", dtype="FP32", shape=(-1, 64))
    with pytest.raises(
        InvalidInput, match=rf"'{use}': shape: a row must be \[height, width\] or .*got \[64\]"
    ):
        catalogue.resolve(Component(use=use), Facts(input=flat, classes=CLASSES))


def test_a_recurrent_network_reads_steps_of_values():
    colour = TensorSpec(name="x", dtype="FP32", shape=(-1, 3, 8, 8))
    with pytest.raises(InvalidInput, match=r"'recurrent': shape: a row must be \[steps, values\]"):
        catalogue.resolve(Component(use="recurrent"), Facts(input=colour, classes=CLASSES))


def test_a_shape_that_contradicts_the_data_is_refused():
    with pytest.raises(
        InvalidInput, match=r"architecture\.config\.shape is \[28, 28\], but the data has \[8, 8\]"
    ):
        resolve("cnn", shape=[28, 28])
    assert resolve("cnn", shape=[8, 8], layers=["pool"]).config["shape"] == [8, 8]


@pytest.mark.parametrize(
    ("use", "config", "message"),
    [
        ("cnn", {"layers": ["conv5x5"]}, "layers.0: "),
        ("cnn", {"layers": ["conv4x4-8"]}, "a kernel's height and width must be odd"),
        ("cnn", {"layers": ["dense-8", "pool"]}, "no conv or pool can follow a dense layer"),
        (
            "cnn",
            {"layers": ["pool"] * 4},
            r"4 pools, and what has no border, leave nothing of an image of \[8, 8\]",
        ),
        ("lenet5", {}, r"an image must be at least 12 x 12 here, got \[8, 8\]; take `cnn`"),
        ("vit", {"patch": 3}, "patch 3 must divide"),
        ("vit", {"patch": 4, "width": 10}, "heads 4 must divide width 10"),
        ("resnet", {"widths": [8, 16]}, "one number for each of the 2 widths"),
        ("mobilenet", {"blocks": [[8, 3]]}, "blocks.0.1: "),
        ("rbf_svm", {}, "gamma: required field is missing"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(use, config, message):
    with pytest.raises(InvalidInput, match=f"architecture '{use}': .*{message}"):
        resolve(use, **config)


def test_the_flattened_size_follows_from_image_and_pools():
    network = catalogue.build(
        resolve("cnn", layers=["conv5x5-3", "pool", "conv3x3-6", "pool", "dense-7", "dropout-0.5", "dense-5"])
    )
    assert [tuple(p.shape) for p in network.parameters() if p.ndim > 1] == [
        (3, 1, 5, 5),
        (6, 3, 3, 3),
        (7, 6 * 2 * 2),
        (5, 7),
        (10, 5),
    ]


def test_the_published_networks_have_their_published_sizes():
    image = TensorSpec(name="x", dtype="FP32", shape=(-1, 28, 28))
    colour = TensorSpec(name="x", dtype="FP32", shape=(-1, 3, 224, 224))

    def parameters(use: str, data_input: TensorSpec, classes: int, **config: object) -> int:
        found = catalogue.resolve(
            Component(use=use, config=config),
            Facts(input=data_input, classes=tuple(str(index) for index in range(classes))),
        )
        return sum(parameter.numel() for parameter in catalogue.build(found).parameters())

    assert parameters("mlp", image, 10, hidden=[300, 100]) == 266_610  # LeNet-300-100
    assert parameters("lenet5", image, 10) == 61_706
    caffe = ["conv5x5valid-20", "pool", "conv5x5valid-50", "pool", "dense-500"]
    assert parameters("cnn", image, 10, layers=caffe) == 431_080
    resnet_18 = {"widths": [64, 128, 256, 512], "blocks": [2, 2, 2, 2], "stem": "7x7"}
    assert parameters("resnet", colour, 1000, **resnet_18) == 11_689_512


def test_the_mean_of_random_features_products_is_the_kernel():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = catalogue.build(resolve("rbf_svm", gamma=0.02, features=20_000))
        x_ND = torch.randn(4, 64)
    network.linear = torch.nn.Identity()
    z_NM = network(x_ND)
    kernel_NN = torch.exp(-0.02 * torch.cdist(x_ND, x_ND).square())
    torch.testing.assert_close(z_NM @ z_NM.T, kernel_NN, rtol=0, atol=0.03)


def test_hidden_widths_are_the_layers():
    network = catalogue.build(resolve("mlp", hidden=[32, 16]))
    assert [tuple(p.shape) for p in network.parameters() if p.ndim == 2] == [(32, 64), (16, 32), (10, 16)]


def test_the_signature_names_outputs_and_classes():
    signature = classifier_signature(IMAGE, CLASSES)
    assert signature.inputs == (IMAGE,)
    assert [(spec.name, spec.dtype, spec.shape) for spec in signature.outputs] == [
        ("logits", "FP32", (-1, 10)),
        ("probabilities", "FP32", (-1, 10)),
    ]
    assert signature.classes == CLASSES


def test_listing_the_catalogue_imports_no_torch():
    code = "import sys; from raymaas.models.catalogue import *; print(*ARCHITECTURES, 'torch' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    *names, torch_was_imported = said.stdout.split()
    assert names == sorted(catalogue.ARCHITECTURES)
    assert torch_was_imported == "False"

"""The catalogue: settings come from the data, contradictions are refused, and listing it needs no torch."""

import subprocess
import sys

import pytest

from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.models.base import classifier_signature
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec

IMAGE = TensorSpec(name="x", dtype="FP32", shape=(-1, 8, 8))
CLASSES = tuple("0123456789")


def resolve(use: str, **config: object) -> Component:
    return catalogue.resolve(Component(use=use, config=config), data_input=IMAGE, classes=CLASSES)


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
    assert said.stdout.split() == ["logistic", "mlp", "False"]

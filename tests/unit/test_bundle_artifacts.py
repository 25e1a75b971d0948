"""Compute artifacts of networks that torch alone can answer for, and of graphs with nothing for integers in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raymaas.bundle.artifacts import Making, with_artifacts
from raymaas.bundle.files import GRAPHS
from raymaas.bundle.format import BuiltBundle, build_coded
from raymaas.bundle.rmz.container import write
from raymaas.bundle.rmz.tensors import Raw
from raymaas.bundle.runtimes.opening import load_runtime
from raymaas.models import catalogue
from raymaas.models.base import signature_of
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.runtimes import RUNTIMES
from raymaas.specs.serving import Scaling
from raymaas.specs.versions import Signature, TensorSpec

X_ND = np.random.default_rng(0).random((8, 12), dtype=np.float32)


def coded(use: str, **config: object) -> tuple[BuiltBundle, Signature]:
    task = catalogue.architecture(use).Config.task
    classes = ("a", "b") if task == "classification" else ()
    facts = Facts(
        input=TensorSpec(name="x", dtype="FP32", shape=(-1, 12)),
        classes=classes,
        target="classes" if classes else "none",
    )
    component = catalogue.resolve(Component(use=use, config=config), facts)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = catalogue.build(component)
    signature = signature_of(task, facts)
    tensors = {name: Raw(tensor.numpy()) for name, tensor in network.state_dict().items()}
    return build_coded(write(component, tensors), signature=signature, probes=X_ND[:2]), signature


def test_what_has_methods_is_for_torch_which_gives_float32_in_half_precision_too() -> None:
    bundle, signature = coded("vae", latent=4, hidden=[16])

    made, reasons = with_artifacts(bundle, tuple(RUNTIMES), Making(signature, X_ND))

    assert made.runtimes == ("torch", "torch-bf16")
    assert reasons.keys() == set(GRAPHS)
    assert all(reason.startswith("torch alone answers ") for reason in reasons.values())
    exact, half = (load_runtime(name, made.files, signature=signature) for name in made.runtimes)
    outputs = half.run({"x": X_ND})
    for name, expected in exact.run({"x": X_ND}).items():
        assert outputs[name].dtype == np.float32
        assert 0 < np.abs(outputs[name] - expected).max() < 0.05 * np.abs(expected).max()
    asked = {"seed": np.array([3, 4])}
    for name, expected in exact.call("sample", asked).items():
        np.testing.assert_array_equal(half.call("sample", asked)[name], expected)


def test_only_what_is_wanted_is_made() -> None:
    bundle, signature = coded("logistic")

    made, reasons = with_artifacts(bundle, ("onnx-int8", "torch"), Making(signature, X_ND))

    assert (made.runtimes, reasons) == (("onnx-int8", "torch"), {})
    assert set(made.files) - set(bundle.files) == {GRAPHS["onnx-int8"]}


def test_large_tensors_that_no_pass_quantized_are_named() -> None:
    bundle, _ = coded("mlp", hidden=[64])

    assert bundle.notes == ("not on a grid, since no pass quantized them: hidden.0.weight",)


@pytest.mark.parametrize("runtime", ["auto", *RUNTIMES])
def test_a_deployment_may_name_every_runtime(runtime: str) -> None:
    assert Scaling.parse({"runtime": runtime}, source="scaling").runtime == runtime

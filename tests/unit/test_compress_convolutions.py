"""Recipes on a convolutional network: its dense layers shrink, its convolutions are kept at half precision."""

from __future__ import annotations

import numpy as np
import torch

from raymaas.bundle.format import build_coded
from raymaas.bundle.rmz.container import read, write
from raymaas.bundle.rmz.tensors import Quantized, Raw
from raymaas.bundle.runtimes.opening import load_runtime
from raymaas.compress.recipe import carry_out, notes_on
from raymaas.compress.subject import Subject
from raymaas.data.rows import Rows
from raymaas.models import catalogue
from raymaas.models.base import classifier_signature
from raymaas.specs.compression import FineTuning
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec

INPUT = TensorSpec(name="x", dtype="FP32", shape=(-1, 8, 8))
CLASSES = ("a", "b", "c")
RECIPE = [
    Component(use="prune", config={"sparsity": 0.5, "epochs": 2, "score": "activation"}),
    Component(use="quantize", config={"bits": 4, "epochs": 1}),
]


def test_a_recipe_works_on_the_dense_layers_and_the_file_serves_the_whole_network() -> None:
    component = catalogue.resolve(
        Component(use="cnn", config={"layers": ["conv3x3-4", "pool", "dense-8"], "input_scale": 0.1}),
        Facts(input=INPUT, classes=CLASSES),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parent = catalogue.build(component)
    x = np.random.default_rng(0).normal(size=(24, 8, 8)).astype(np.float32)
    rows = Rows(x_ND=x, y_N=np.arange(24) % 3, id_N=np.arange(24))
    subject = Subject.of(parent, rows, FineTuning(batch_size=8), seed=0)
    compressed = carry_out(RECIPE, subject)
    kinds = {name: type(tensor) for name, tensor in compressed.tensors.items() if name.endswith("weight")}
    assert kinds == {"layers.0.weight": Raw, "layers.4.weight": Quantized, "head.weight": Quantized}
    assert compressed.sparsity >= 0.5
    (note,) = notes_on(parent)
    assert note.endswith("Conv2d")

    coded = write(component, compressed.tensors)
    assert read(coded).architecture == component
    signature = classifier_signature(INPUT, CLASSES)
    bundle = build_coded(coded, signature=signature, probes=x[:2], notes=(note,))
    served = load_runtime("torch", bundle.files, signature=signature).run({"x": x})
    with torch.no_grad():
        trained = subject.network.eval()(torch.tensor(x)).numpy()
    np.testing.assert_allclose(served["logits"], trained, atol=0.02)

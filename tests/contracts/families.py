"""One small network of every family, or more where a setting changes what it is, and rows it takes."""

import torch

from raymaas.models import catalogue
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec

FLAT, SEQUENCE, GREY, COLOUR, TEXT = (12,), (5, 4), (12, 12), (3, 12, 12), (9,)
SMALL_BLOCKS = {"width": 16, "heads": 2, "depth": 2, "feed_forward": 16, "dropout": 0.1}
FAMILIES = [  # name, the shape of a row, settings
    ("cnn", GREY, {"layers": ["conv3x3-4", "pool", "conv5x3-8", "pool", "dropout-0.1", "dense-16"]}),
    ("cnn", COLOUR, {"layers": ["conv3x3valid-8", "pool"]}),
    ("factored", GREY, {"of": {"use": "lenet5"}, "ranks": {"c3": 5, "c5": 6, "head": 3}}),
    ("gan", GREY, {"latent": 4, "generator": [16], "discriminator": [16]}),
    ("gan", FLAT, {"latent": 4, "generator": [16], "discriminator": [16], "loss": "minimax"}),
    ("gpt", TEXT, SMALL_BLOCKS),
    ("lenet5", GREY, {"dropout": 0.1}),
    ("linear_svm", FLAT, {}),
    ("logistic", FLAT, {}),
    ("logistic", GREY, {}),
    ("mlp", FLAT, {"hidden": [16, 8], "dropout": 0.1}),
    ("mlp", COLOUR, {"hidden": [16]}),
    ("mlp_regressor", FLAT, {"hidden": [16], "target_mean": 2.0, "target_scale": 3.0}),
    ("mobilenet", COLOUR, {"stem": 8, "blocks": [[16, 2], [12, 1]]}),
    ("rbf_svm", FLAT, {"gamma": 0.05, "features": 64}),
    ("recurrent", SEQUENCE, {"cell": "gru", "hidden": 16, "dropout": 0.1}),
    ("recurrent", SEQUENCE, {"cell": "lstm", "hidden": 16, "layers": 2}),
    ("resnet", GREY, {"widths": [8, 12], "blocks": [1, 2]}),
    ("resnet", COLOUR, {"widths": [8, 16], "blocks": [1, 1], "stem": "7x7"}),
    ("text_recurrent", TEXT, {"vocabulary": 20, "embedding": 8, "hidden": 16, "dropout": 0.1}),
    ("text_transformer", TEXT, {"vocabulary": 20, **SMALL_BLOCKS}),
    ("vae", GREY, {"latent": 4, "hidden": [16], "binarize": True}),
    ("vae", FLAT, {"latent": 4, "hidden": [16], "likelihood": "gaussian"}),
    ("vit", COLOUR, {"patch": 4, **SMALL_BLOCKS}),
]
TOLD_APART_BY = ("cell", "loss", "likelihood")
NAMES = [
    " ".join([use, *(str(config[key]) for key in TOLD_APART_BY if key in config), "x".join(map(str, row))])
    for use, row, config in FAMILIES
]
CLASSES = tuple("abcd")
C = len(CLASSES)
TARGETS = {"classification": "classes", "regression": "number"}


def rows(use: str, count: int, row: tuple[int, ...], *, seed: int = 0) -> torch.Tensor:
    """Rows such a family takes: bytes or tokens for text, shares for densities, or any numbers."""
    chance = torch.Generator().manual_seed(seed)
    if use == "gpt" or use.startswith("text_"):
        return torch.randint(1, 20, (count, *row), generator=chance).float()
    if use in ("gan", "vae"):
        return torch.rand(count, *row, generator=chance)
    return torch.randn(count, *row, generator=chance)


def resolved(use: str, row: tuple[int, ...], config: dict[str, object]) -> Component:
    """The component that such rows, and four classes where it has any, make of those settings."""
    return catalogue.resolve(Component(use=use, config=config), facts(use, row))


def facts(use: str, row: tuple[int, ...]) -> Facts:
    """What such rows are, and four classes where the family has any."""
    task = catalogue.architecture(use).Config.task
    return Facts(
        input=TensorSpec(name="x", dtype="FP32", shape=(-1, *row)),
        classes=CLASSES if task == "classification" else (),
        target=TARGETS.get(task, "none"),
    )

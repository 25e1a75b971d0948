"""Putting fitted transforms in front of a network's bundle, so that clients send what they have: raw columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from raymaas.bundle.probes import PROBES, with_inputs
from raymaas.bundle.signature import check_inputs
from raymaas.data.transforms.fitted import Fitted
from raymaas.specs.versions import Signature

if TYPE_CHECKING:
    from raymaas.bundle.format import BuiltBundle  # imports torch, which serving a graph needs not

TRANSFORMS = "transforms.json"
"""The fitted transforms, a sealed document; absent where the network takes what clients send."""


def transformed_signature(network: Signature, transforms: Fitted) -> Signature:
    """What a version takes whose network has the signature `network`."""
    return network.model_copy(update={"inputs": transforms.inputs})


def network_signature(version: Signature, transforms: Fitted) -> Signature:
    """What the network of a version takes that has the signature `version`."""
    return version.model_copy(update={"inputs": (transforms.input,)})


def put_in_front(
    transforms: Fitted, bundle: BuiltBundle, *, signature: Signature, probes: Mapping[str, np.ndarray]
) -> BuiltBundle:
    """`bundle` with the transforms in it, and its probes as a client of `signature` sends them.

    `probes` are the rows its own were made from, in that form. Without transforms it is returned as it is. Raises
    InvalidInput when the probes do not fit the signature.
    """
    if not transforms.steps:
        return bundle
    check_inputs(signature, probes)
    asked = with_inputs(bundle.files[PROBES], probes)
    added = {TRANSFORMS: transforms.document.seal(), PROBES: asked}
    return replace(bundle, files={**bundle.files, **added})

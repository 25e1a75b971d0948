"""How far a replica's rows have drifted, in Ray's metrics, by model and version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.serve import metrics

from raymaas.serve.plan import Target


def drift_gauge(target: Target) -> Callable[[float], None]:
    """Tells Ray the gauge `raymaas_drift_psi`. Needs a Ray Serve replica around it."""
    tags = {"model": target.model, "version": str(target.version)}
    keys: Any = tuple(tags)  # ray.serve.metrics declares tuple[str], a tuple of one
    gauge = metrics.Gauge(
        "raymaas_drift_psi",
        description="Stability index of the feature that is furthest off beyond chance, in the last hour.",
        tag_keys=keys,
    )
    gauge.set_default_tags(tags)
    return gauge.set

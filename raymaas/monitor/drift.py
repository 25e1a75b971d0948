"""Drift: live counts against a version's reference, judged by how far they are apart and by whether that is chance.

With enough rows every difference is beyond chance, and with few a large one may be chance: a feature shifts or drifts
only when it is both far enough (population stability index) and unlikely enough (a test, corrected for the number of
features). The bounds of the index are those of credit scoring (Siddiqi, Credit Risk Scorecards, 2006): a normal
distribution moved by a third of its deviation has 0.1, by half of it 0.25. Not corrected for: looking again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from raymaas.monitor.chance import adjusted, chi_square, kolmogorov_smirnov
from raymaas.monitor.counts import Counts
from raymaas.specs.drift import DriftReport, Feature, FeatureDrift, Reference, Verdict

SHIFTING, DRIFTED = 0.1, 0.25
"""Bounds of the index."""

CHANCE = 0.01
"""Of what is called shifting or drifted, so much may be none at all."""

ENOUGH_ROWS = 50
"""Of fewer, nothing is said."""

_WORST: tuple[Verdict, ...] = ("drifted", "shifting", "steady")


def stability_index(first: Sequence[int], second: Sequence[int]) -> float:
    """Population stability index of two samples in the same bins: the same either way round, 0 for the same shares.

    It is Jeffreys' divergence (1946) of the shares. Half a row is added to each bin, so that an empty one counts for
    what the number of rows lets it; bins empty in both count for nothing. 0 where a sample is empty.
    """
    counts = np.array([first, second], dtype=np.float64)
    counts = counts[:, counts.any(axis=0)]
    if not counts.sum(axis=1).all():
        return 0.0
    share = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    return float(((share[0] - share[1]) * np.log(share[0] / share[1])).sum())


def judged(
    reference: Reference,
    rows: int,
    counts: Counts,
    *,
    model: str,
    version: int,
    since: datetime,
    until: datetime,
) -> DriftReport:
    """The report on `counts` of `rows` live rows, counted in the bins of `reference`."""
    found = [_found(feature, live) for feature, live in zip(reference.features, counts, strict=True)]
    corrected = adjusted([feature.p for feature in found])
    marked = [
        feature.model_copy(update={"p_adjusted": p, "verdict": _verdict(feature.psi, p, rows)})
        for feature, p in zip(found, corrected, strict=True)
    ]
    verdicts = {feature.verdict for feature in marked}
    return DriftReport(
        model=model,
        version=version,
        since=since,
        until=until,
        reference_rows=reference.rows,
        rows=rows,
        verdict=next((verdict for verdict in _WORST if verdict in verdicts), "unknown"),
        psi=max((feature.psi for feature in marked), default=0.0),
        features=tuple(sorted(marked, key=lambda feature: -feature.psi)),
        left_out=reference.left_out,
    )


def beyond_chance(report: DriftReport) -> float:
    """The index of the feature that is furthest of those that shift or drift; 0 while none does."""
    moving = ("shifting", "drifted")
    return max((feature.psi for feature in report.features if feature.verdict in moving), default=0.0)


def _found(feature: Feature, live: Sequence[int]) -> FeatureDrift:
    """Missing values are a bin of the index, and where there are any a test of their own."""
    *before, missing_before = feature.counts
    *now, missing = live
    statistic, p = (chi_square if feature.is_category else kolmogorov_smirnov)(before, now)
    if missing or missing_before:
        _, p_missing = chi_square([sum(before), missing_before], [sum(now), missing])
        p = min(1.0, 2 * min(p, p_missing))
    return FeatureDrift(
        name=feature.name,
        source=feature.source,
        psi=stability_index(feature.counts, live),
        test="chi-square" if feature.is_category else "kolmogorov-smirnov",
        statistic=statistic,
        p=p,
        p_adjusted=p,
        missing=missing / max(1, sum(live)),
        missing_before=missing_before / max(1, sum(feature.counts)),
        verdict="unknown",
    )


def _verdict(psi: float, p_adjusted: float, rows: int) -> Verdict:
    if rows < ENOUGH_ROWS:
        return "unknown"
    if p_adjusted > CHANCE or psi < SHIFTING:
        return "steady"
    return "drifted" if psi >= DRIFTED else "shifting"

"""Comparing two registered versions on the test rows they share, from the files they were published with."""

from __future__ import annotations

from raymaas.bundle.correctness import EVALUATION, read_correctness
from raymaas.evaluate.paired import RowOutcomes, paired_difference
from raymaas.registry.promotion import Compare
from raymaas.registry.versions import Versions
from raymaas.specs.evaluation import Metric
from raymaas.specs.versions import ModelVersion


def comparison_of(versions: Versions) -> Compare:
    """What `States` asks when a policy says `not_worse`: the paired difference, of verified files."""

    def outcomes(manifest: ModelVersion) -> RowOutcomes:
        raw = versions.read_file(manifest, EVALUATION)
        name = f"{EVALUATION} of {manifest.model}@{manifest.version}"
        return RowOutcomes(*read_correctness(raw, name=name))

    def compare(candidate: ModelVersion, current: ModelVersion, *, confidence: float) -> Metric:
        return paired_difference(outcomes(candidate), outcomes(current), confidence=confidence)

    return compare

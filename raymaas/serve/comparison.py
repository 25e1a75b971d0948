"""Comparing two registered versions on the test rows they share, from the files they were published with."""

from __future__ import annotations

from raymaas.bundle.correctness import EVALUATION, read_correctness, read_outcomes
from raymaas.errors import NotFound
from raymaas.evaluate.comparing import Contender, compare
from raymaas.evaluate.paired import RowOutcomes, paired_difference
from raymaas.registry.judgement import why_not_comparable
from raymaas.registry.promotion import Compare
from raymaas.registry.versions import Versions
from raymaas.specs.evaluation import Metric
from raymaas.specs.reports import RecordedComparison
from raymaas.specs.versions import ModelVersion


def comparison_of(versions: Versions) -> Compare:
    """What `States` asks when a policy says `not_worse`: the paired difference, of verified files."""

    def outcomes(manifest: ModelVersion) -> RowOutcomes:
        raw = versions.read_file(manifest, EVALUATION)
        name = f"{EVALUATION} of {manifest.model}@{manifest.version}"
        return RowOutcomes(*read_correctness(raw, name=name))

    def difference(candidate: ModelVersion, current: ModelVersion, *, confidence: float) -> Metric:
        return paired_difference(outcomes(candidate), outcomes(current), confidence=confidence)

    return difference


def recorded_comparison(versions: Versions, first: ModelVersion, second: ModelVersion) -> RecordedComparison:
    """The figures of `second` minus those of `first`, of every metric both kept row by row; or why there is none."""
    why = why_not_comparable(second, first)
    if why is not None:
        return RecordedComparison(comparison=None, why=why)
    contenders = []
    for manifest in (first, second):
        name = f"{manifest.model}@{manifest.version}"
        try:
            raw = versions.read_file(manifest, EVALUATION)
        except NotFound as error:
            return RecordedComparison(comparison=None, why=str(error))
        contenders.append(Contender.of_record(name, *read_outcomes(raw, name=f"{EVALUATION} of {name}")))
    if not set(contenders[0].weighted) & set(contenders[1].weighted):
        return RecordedComparison(comparison=None, why="the two kept no figure in common")
    evaluation = first.evaluation
    return RecordedComparison(
        comparison=compare(*contenders, dataset=evaluation.dataset, part=evaluation.part, source="recorded")
    )

"""Judgement: what a version lacks of what a policy asks. Pure, no I/O.

Every sentence names one thing that is missing, with what was found and what was asked; no sentence, no refusal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from raymaas.specs.cards import OtherLicence, licence_text
from raymaas.specs.evaluation import Metric
from raymaas.specs.policies import OTHER, NotWorse, Policy
from raymaas.specs.versions import ModelVersion


@dataclass(frozen=True)
class Comparison:
    """Candidate minus the version the alias points at, on the same rows; or why nobody can tell."""

    current: int
    difference: Metric | str


def judge(policy: Policy, candidate: ModelVersion, comparison: Comparison | None = None) -> list[str]:
    """What `candidate` lacks; empty when the policy allows it.

    `comparison` is with the version the alias points at; None while it points nowhere, and then `not_worse`
    asks nothing.
    """
    missing = [*_card(policy, candidate), *_licence(policy, candidate), *_metrics(policy, candidate)]
    if policy.not_worse and comparison:
        missing += _loss(policy.not_worse, candidate, comparison)
    return missing


def why_not_comparable(candidate: ModelVersion, current: ModelVersion) -> str | None:
    """Why the recorded evaluations cannot be paired, as far as the manifests say; None when they can."""
    ours, theirs = candidate.evaluation, current.evaluation
    if (ours.fingerprint, ours.part, ours.rows) == (theirs.fingerprint, theirs.part, theirs.rows):
        return None
    seen = [
        f"{_name(version)} was evaluated on {found.rows} {found.part} rows of {found.dataset}, fingerprint"
        f" {found.fingerprint[:12]}"
        for version, found in ((candidate, ours), (current, theirs))
    ]
    return f"{seen[0]}, but {seen[1]}"


def _card(policy: Policy, candidate: ModelVersion) -> Iterator[str]:
    for field in policy.card:
        if candidate.card is None or not candidate.card.gives(field):
            yield f"its card gives no {field}; say it under `card:` in the job"


def _licence(policy: Policy, candidate: ModelVersion) -> Iterator[str]:
    licence = candidate.card.licence if candidate.card else None
    allowed = f"allowed are {', '.join(policy.licences)}"
    if not policy.licences:
        return
    if licence is None:
        if "licence" not in policy.card:
            yield f"its card gives no licence; {allowed}"
    elif (OTHER if isinstance(licence, OtherLicence) else licence) not in policy.licences:
        yield f"its licence is {licence_text(licence)}; {allowed}"


def _metrics(policy: Policy, candidate: ModelVersion) -> Iterator[str]:
    metrics = candidate.evaluation.metrics
    for name, asked in policy.metrics.items():
        if name not in metrics:
            yield f"its evaluation has no {name}; it has {', '.join(sorted(metrics)) or 'none'}"
            continue
        found, by_interval = metrics[name], policy.judge == "interval"
        low, high = (found.low, found.high) if by_interval else (found.value, found.value)
        if asked.at_least is not None and low < asked.at_least:
            end = "the lower end" if by_interval else "the value"
            yield f"{name} is {_figure(found)}, and {end} must be at least {asked.at_least:g}"
        if asked.at_most is not None and high > asked.at_most:
            end = "the upper end" if by_interval else "the value"
            yield f"{name} is {_figure(found)}, and {end} must be at most {asked.at_most:g}"


def _loss(asked: NotWorse, candidate: ModelVersion, comparison: Comparison) -> Iterator[str]:
    current, difference = f"{candidate.model}@{comparison.current}", comparison.difference
    if isinstance(difference, str):
        yield (
            f"whether its {asked.metric} is not worse than that of {current} cannot be told: {difference}."
            f" Register a version from the data and split of {current}, or set a policy without not_worse"
        )
    elif difference.low < -asked.by:
        yield (
            f"{asked.metric} minus that of {current}, on the same {candidate.evaluation.rows} rows, is"
            f" {_figure(difference, sign='+')}, and the lower end must be at least {-asked.by:+g}"
        )


def _figure(found: Metric, *, sign: str = "") -> str:
    value, low, high = (format(end, f"{sign}.4f") for end in (found.value, found.low, found.high))
    return f"{value} ({low} to {high}, {found.confidence:.4g} {found.method})"


def _name(version: ModelVersion) -> str:
    return f"{version.model}@{version.version}"

"""Outcomes: the sampled answers of two versions, joined with the feedback on them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa

from raymaas.errors import InvalidInput
from raymaas.evaluate.online import LEAST_ROWS, apart, outcome, rows_needed
from raymaas.registry.feedback import FeedbackLog, judged
from raymaas.registry.samples import Samples
from raymaas.specs.evaluation import LESS_IS_BETTER, SHARES, Metric
from raymaas.specs.feedback import MOST_NUMBER
from raymaas.specs.outcomes import OutcomeComparison, OutcomeMetric, Verdict, VersionOutcome
from raymaas.specs.sampling import LABEL, OUTPUT, KeptUnder
from raymaas.specs.versions import ModelVersion

CONFIDENCE = 0.95
_LEAST_CHANCE = 1e-15
# Logits name the same class as probabilities, but are no chances.
_NEEDED: dict[OutcomeMetric, tuple[str, ...]] = {
    "reward": (),
    "accuracy": ("probabilities", "logits"),
    "log_loss": ("probabilities",),
    "mae": ("prediction",),
    "mse": ("prediction",),
}


def compared_outcomes(
    first: ModelVersion,
    second: ModelVersion,
    *,
    metric: OutcomeMetric,
    samples: Samples,
    feedback: FeedbackLog,
    kept_under: KeptUnder,
    since: datetime,
    until: datetime,
) -> OutcomeComparison:
    """How the second did against the first, of what each answered between `since` and `until`.

    `kept_under` are the model's sampling rules since `since`. Raises InvalidInput when the metric is none of these
    versions, or when what it needs was masked by any of those rules.
    """
    model = first.model
    if metric != "reward" and (mask := kept_under.mask(LABEL)):
        raise InvalidInput(
            f"{metric} needs labels, which the sampling rule of {model} masks ({mask}); --metric reward does not"
        )
    said = feedback.table(model, since=since)
    both = [
        _values(version, metric, samples, said, kept_under, since=since, until=until)
        for version in (first, second)
    ]
    told = [
        VersionOutcome(
            version=version.version,
            sampled=sampled,
            judged=len(values_N),
            metric=outcome(values_N, confidence=CONFIDENCE) if len(values_N) else None,
        )
        for version, (sampled, values_N) in zip((first, second), both, strict=True)
    ]
    (_, first_N), (_, second_M) = both
    found = apart(first_N, second_M, confidence=CONFIDENCE) if min(len(first_N), len(second_M)) > 1 else None
    verdict = _verdict(metric, found.anytime if found else None, least=min(len(first_N), len(second_M)))
    return OutcomeComparison(
        model=model,
        measured=metric,
        since=since,
        until=until,
        first=told[0],
        second=told[1],
        difference=found.difference if found else None,
        anytime=found.anytime if found else None,
        p_value=found.p_value if found else None,
        verdict=verdict,
        statement=_statement(
            model,
            metric,
            told,
            found.difference if found else None,
            verdict,
            rows_needed(first_N, second_M, confidence=CONFIDENCE) if found else None,
        ),
    )


def _values(
    version: ModelVersion,
    metric: OutcomeMetric,
    samples: Samples,
    said: pa.Table,
    kept_under: KeptUnder,
    *,
    since: datetime,
    until: datetime,
) -> tuple[int, np.ndarray]:
    """How many rows of the version were sampled, and the metric of each that has feedback for it, float64 [N]."""
    wanted = _NEEDED[metric]
    sampled, found = judged(
        samples,
        said.filter(said["reward" if metric == "reward" else "label"].is_valid()),
        version.model,
        versions=[version.version],
        since=since,
        until=until,
        columns=[f"{OUTPUT}{output}" for output in wanted],
    )
    if metric == "reward":
        return sampled, found["reward"].to_numpy().astype(np.float64)
    labels = found["label"].to_pylist()
    name, classes = f"{version.model}@{version.version}", version.signature.classes
    if metric in ("accuracy", "log_loss"):
        if not classes:
            raise InvalidInput(f"{metric} is of classifiers, which {name} is none of; say mae, mse or reward")
        known = {label: place for place, label in enumerate(classes)}
        truth_N = np.array([known.get(label, -1) for label in labels], np.int64)
        return sampled, _of_classes(metric, _output(found, name, wanted, kept_under), truth_N)
    if classes:
        raise InvalidInput(
            f"{metric} is of numbers, and {name} names classes; say accuracy, log_loss or reward"
        )
    answered = _output(found, name, wanted, kept_under)
    truth_N = np.array([_number(label) for label in labels], np.float64)
    # Of several numbers that a row predicts, the label is of the first.
    answered_N = answered.reshape(len(truth_N), -1)[:, 0] if len(truth_N) else truth_N
    error_N = (answered_N - truth_N)[np.abs(truth_N) <= MOST_NUMBER]
    error_N = error_N[np.isfinite(error_N)]
    return sampled, np.abs(error_N) if metric == "mae" else error_N**2


def _of_classes(metric: OutcomeMetric, scores_NC: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """A label that is none of the classes is a wrong answer, and has no log loss."""
    if metric == "accuracy":
        return (scores_NC.argmax(axis=1) == truth_N).astype(np.float64) if len(truth_N) else np.zeros(0)
    known = truth_N >= 0
    chances = scores_NC[known][np.arange(int(known.sum())), truth_N[known]] if known.any() else np.zeros(0)
    return np.asarray(-np.log(np.clip(chances, _LEAST_CHANCE, 1)))


def _output(rows: pa.Table, name: str, wanted: Sequence[str], kept_under: KeptUnder) -> np.ndarray:
    """The first of these outputs that was kept as it was, [N, ...]. Raises InvalidInput when none was."""
    fields = [f"{OUTPUT}{output}" for output in wanted]
    masks = {field: kept_under.mask(field) for field in fields}
    for field in fields:
        if field in rows.column_names and not masks[field]:
            return np.array(rows[field].to_pylist(), np.float64)
    if not len(rows):
        return np.zeros((0, 1))
    hidden = ", ".join(mask for mask in masks.values() if mask)
    why = f"its sampling rule masks them ({hidden})" if hidden else "it answers something else"
    raise InvalidInput(
        f"the sampled answers of {name} do not hold {' or '.join(wanted)}: {why}; --metric reward needs neither"
    )


def _number(label: str) -> float:
    try:
        return float(label)
    except ValueError:
        return float("nan")


def _verdict(metric: OutcomeMetric, anytime: Metric | None, *, least: int) -> Verdict:
    if anytime is None or least < LEAST_ROWS:
        return "unknown"
    if anytime.low <= 0 <= anytime.high:
        return "undecided"
    more = anytime.value > 0
    return "better" if more != (metric in LESS_IS_BETTER) else "worse"


def _statement(
    model: str,
    metric: OutcomeMetric,
    told: list[VersionOutcome],
    difference: Metric | None,
    verdict: Verdict,
    needed: int | None,
) -> str:
    first, second = (f"{model}@{one.version}" for one in told)
    if verdict == "unknown" or difference is None:
        judged = " and ".join(
            f"{one.judged} of {name}" for one, name in zip(told, (first, second), strict=True)
        )
        return f"too little feedback to say: {judged} judged, {LEAST_ROWS} of each are needed"
    figures = _told(metric, difference)
    if verdict != "undecided":
        return f"{second} is {verdict} than {first}: {figures}; that holds however often it is looked at"
    if not difference.low <= 0 <= difference.high:
        return (
            f"{second} looks {'better' if (difference.value > 0) != (metric in LESS_IS_BETTER) else 'worse'} than"
            f" {first}: {figures}; that is significant if this is the only look, and not yet if there are many"
        )
    more = f"; to tell such a difference takes about {needed} judged rows of each" if needed else ""
    return f"{second} and {first} cannot be told apart: {figures}{more}"


def _told(metric: OutcomeMetric, difference: Metric) -> str:
    """The difference with its interval: of shares in points, else in its own unit."""
    of_shares = metric in SHARES or difference.method == "newcombe"
    scale, unit = (100, " points") if of_shares else (1, "")
    low, value, high = (
        f"{scale * each:+.3g}" for each in (difference.low, difference.value, difference.high)
    )
    return f"{metric} {value}{unit} ({low} to {high} at {difference.confidence:.0%})"

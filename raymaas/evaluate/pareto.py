"""The Pareto front: the points that no other point beats in every figure, its knee, and what it has won.

A point beats another when it is at least as good in every objective and better in one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raymaas.specs.search import Objective


@dataclass(frozen=True)
class Candidate:
    """One trial: its name, what was chosen for it, and what it measured."""

    name: str
    settings: Mapping[str, object]
    metrics: Mapping[str, float]


def front(candidates: Sequence[Candidate], objectives: Sequence[Objective]) -> list[Candidate]:
    """The candidates that none beats, in the order given; of equal ones, all."""
    return [c for c in candidates if not any(beats(other, c, objectives) for other in candidates)]


def beats(one: Candidate, other: Candidate, objectives: Sequence[Objective]) -> bool:
    """Whether `one` is nowhere worse than `other`, and somewhere better."""
    gains = [_gain(one, objective) - _gain(other, objective) for objective in objectives]
    return min(gains) >= 0 and max(gains) > 0


def knee(candidates: Sequence[Candidate], objectives: tuple[Objective, Objective]) -> Candidate:
    """Where on the front more of one objective begins to cost much of the other.

    The one farthest from the line between the front's two ends, both objectives brought to 0 to 1 (V. Satopaa et
    al., Finding a Kneedle in a Haystack, 2011); of two or fewer, the best by the first objective. Raises ValueError
    when there are no candidates.
    """
    best = sorted(front(candidates, objectives), key=lambda c: _gain(c, objectives[0]), reverse=True)
    if not best:
        raise ValueError("there is no knee where there are no candidates")
    spans = [[_gain(c, objective) for c in best] for objective in objectives]

    def above_the_line(candidate: Candidate) -> float:
        shares = [
            (_gain(candidate, objective) - min(span)) / ((max(span) - min(span)) or 1)
            for objective, span in zip(objectives, spans, strict=True)
        ]
        return sum(shares)

    return max(best, key=above_the_line)


def hypervolume(
    candidates: Sequence[Candidate],
    objectives: tuple[Objective, Objective],
    *,
    reference: tuple[float, float],
) -> float:
    """The area that the candidates beat and that beats `reference`, in the product of both units.

    E. Zitzler, L. Thiele, Multiobjective Optimization Using Evolutionary Algorithms (1998). Candidates that do not
    beat the reference in both objectives add nothing; more is better, and no candidate makes it less.
    """
    signs = [1 if objective.mode == "max" else -1 for objective in objectives]
    gained = sorted(
        (
            [
                _gain(c, objective) - sign * end
                for objective, sign, end in zip(objectives, signs, reference, strict=True)
            ]
            for c in candidates
        ),
        reverse=True,
    )
    area, height = 0.0, 0.0
    for across, upwards in gained:
        if across > 0 and upwards > height:
            area += across * (upwards - height)
            height = upwards
    return area


def _gain(candidate: Candidate, objective: Objective) -> float:
    """Its figure, so that more is better."""
    value = candidate.metrics[objective.metric]
    return value if objective.mode == "max" else -value


def spread(count: int, *, always: Sequence[int] = (), most: int) -> list[int]:
    """Which of `count` things in a row to look at: `always` first, then others evenly between, `most` in all.

    All of `always` even if those are more. Of two places that are equally far from what is taken, the first.
    """
    taken = list(dict.fromkeys(always))
    left = [place for place in range(count) if place not in taken]
    while left and len(taken) < most:
        farthest = max(left, key=lambda place: min((abs(place - other) for other in taken), default=0))
        taken.append(farthest)
        left.remove(farthest)
    return taken

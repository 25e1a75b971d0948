"""Cross-validation: rows divided into folds, and what the figures of the folds say together.

Legend: N rows, K folds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from raymaas.errors import InvalidInput
from raymaas.evaluate.intervals import student_quantile
from raymaas.specs.evaluation import Metric


def folds(
    rows: int,
    *,
    count: int,
    seed: int,
    strata_N: np.ndarray | None = None,
    group_N: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Positions of the rows of each of `count` folds, every row in exactly one, drawn by `seed`.

    With `strata_N` each fold has about the same share of each of its values; with `group_N` the rows of a group
    are all in one fold; at most one of them is given. Raises InvalidInput for fewer rows, rows of a class or groups
    than folds.
    """
    from sklearn.model_selection import (  # a second to import, only needed here
        GroupKFold,
        KFold,
        StratifiedKFold,
    )

    if group_N is not None:
        kind, what, there = GroupKFold, "groups", len(np.unique(group_N))
    elif strata_N is not None:
        kind, what = StratifiedKFold, "rows of each class"
        there = int(np.unique(strata_N, return_counts=True)[1].min())
    else:
        kind, what, there = KFold, "rows", rows
    if there < count:
        raise InvalidInput(
            f"{count} folds need at least as many {what}, and of {rows} rows there are {there}"
        )
    divided = kind(count, shuffle=True, random_state=seed).split(np.zeros(rows), strata_N, group_N)
    return [np.sort(held_out) for _, held_out in divided]


def over_folds(values_K: Sequence[float], *, held_out: float, confidence: float) -> Metric:
    """The mean over the folds with the corrected t interval; `held_out` is the share of the rows in one fold.

    The folds' training rows overlap, so their figures vary less than those of independent trainings would: the
    interval of a plain t test is too narrow, and no unbiased one exists (Y. Bengio, Y. Grandvalet, No Unbiased
    Estimator of the Variance of K-Fold Cross-Validation, 2004). This one takes the variance (1 / K + n2 / n1) times
    that of the folds, n1 rows trained on and n2 held out (C. Nadeau, Y. Bengio, Inference for the Generalization
    Error, 2003). The mean itself is of networks trained on fewer rows than there are.
    """
    count, value = len(values_K), float(np.mean(values_K))
    spread = float(np.std(values_K, ddof=1))
    scale = math.sqrt(1 / count + held_out / (1 - held_out))
    half = student_quantile((1 + confidence) / 2, count - 1) * scale * spread
    return Metric(
        value=value, low=value - half, high=value + half, confidence=confidence, method="corrected t"
    )

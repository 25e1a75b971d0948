"""Classification: accuracy, precision, recall, F1, area under the ROC curve, log loss and calibration error.

Legend: N rows, C classes, R resamples.
"""

from __future__ import annotations

import numpy as np

from raymaas.evaluate.bootstrap import resample
from raymaas.evaluate.calibration import reliability, weighted_calibration_error
from raymaas.evaluate.intervals import CONFIDENCE, mean, proportion
from raymaas.evaluate.roc import roc_auc, weighted_roc_auc
from raymaas.evaluate.scored import Scored, Weighted, mean_of
from raymaas.specs.evaluation import ClassFigures, Metric

MOST_CLASSES_LISTED = 100  # a manifest is read often, and a confusion matrix grows with the square
_MACRO = ("precision", "recall", "f1")
_LEAST_CHANCE = float(np.finfo(np.float64).eps)  # one certain mistake must not make the mean infinite


def score(
    p_NC: np.ndarray, y_N: np.ndarray, *, labels: tuple[str, ...], confidence: float = CONFIDENCE
) -> Scored:
    """The figures of probabilities float [N, C] where the classes were `y_N`.

    Besides those of `brief`, macro `precision`, `recall` and `f1`, means over the classes that have rows or answers,
    with BCa bootstrap intervals, and `calibration_error` with one made for distances.
    """
    confidence_N, correct_N, loss_N = _read(p_NC, y_N)
    answer_N = p_NC.argmax(axis=1)
    shares = _Shares(answer_N, y_N, classes=len(labels))
    miscalibrated = weighted_calibration_error(confidence_N, correct_N)
    metrics = brief(p_NC, y_N, confidence=confidence)
    weighted: dict[str, Weighted] = {
        "accuracy": mean_of(correct_N),
        "log_loss": mean_of(loss_N),
        **({"roc_auc": weighted_roc_auc(p_NC, y_N)} if "roc_auc" in metrics else {}),
        **{name: shares.macro(name) for name in _MACRO},
        "calibration_error": miscalibrated,
    }
    drawn = resample(lambda w_RN: np.column_stack([shares.all(w_RN), miscalibrated(w_RN)]), len(y_N))
    for name, one in zip(_MACRO, drawn, strict=False):
        metrics[name] = one.bca(confidence=confidence)
    metrics["calibration_error"] = drawn[-1].of_distances(confidence=confidence)
    f1_C = [one.bca(confidence=confidence) for one in drawn[len(_MACRO) : -1]]
    listed = len(labels) <= MOST_CLASSES_LISTED
    return Scored(
        metrics,
        weighted,
        {"correct": correct_N, "log_loss": loss_N},
        classes=shares.by_class(labels, f1_C, confidence=confidence) if listed else (),
        confusion=_confusion(answer_N, y_N, classes=len(labels)) if listed else (),
        reliability=reliability(confidence_N, correct_N),
        baselines={"the most frequent class": {"accuracy": float(np.bincount(y_N).max() / len(y_N))}},
    )


def brief(p_NC: np.ndarray, y_N: np.ndarray, *, confidence: float = CONFIDENCE) -> dict[str, Metric]:
    """What needs no bootstrap: `accuracy` with Wilson's interval, `log_loss` (natural logarithm) with that of a mean,
    and, where rows of at least two classes are there, `roc_auc` with DeLong's."""
    _, correct_N, loss_N = _read(p_NC, y_N)
    # Of what was answered, as it was: rounding must not tear equal scores apart.
    area = roc_auc(p_NC, y_N, confidence=confidence)
    return {
        "accuracy": proportion(int(correct_N.sum()), len(y_N), confidence=confidence),
        "log_loss": mean(loss_N, confidence=confidence, least=0.0),
        **({"roc_auc": area} if area else {}),
    }


def _read(p_NC: np.ndarray, y_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row the probability of the answer, whether it was right (uint8), and the loss; in double precision."""
    exact_NC = p_NC.astype(np.float64)
    exact_NC /= exact_NC.sum(axis=1, keepdims=True)
    loss_N = -np.log(np.maximum(exact_NC[np.arange(len(y_N)), y_N], _LEAST_CHANCE))
    return exact_NC.max(axis=1), (p_NC.argmax(axis=1) == y_N).astype(np.uint8), loss_N


class _Shares:
    """Precision, recall and F1 of each class as functions of the rows' weights.

    They follow from three sums a class: of the rows that are of it, that were answered with it, and both.
    """

    def __init__(self, answer_N: np.ndarray, y_N: np.ndarray, *, classes: int) -> None:
        own_NC, answered_NC = (np.eye(classes, dtype=np.float32)[index_N] for index_N in (y_N, answer_N))
        self._columns = np.concatenate([own_NC, answered_NC, own_NC * answered_NC], axis=1)

    def macro(self, name: str) -> Weighted:
        """One of `_MACRO`."""
        return lambda w_RN: self.all(w_RN)[:, _MACRO.index(name)]

    def all(self, w_RN: np.ndarray) -> np.ndarray:
        """[R, 3 + C]: `_MACRO`, the means over the classes seen as a label or an answer, and F1 of each class."""
        own_RC, answered_RC, both_RC = self._sums(w_RN)
        f1_RC = _share(2 * both_RC, own_RC + answered_RC)
        seen_RC = (own_RC + answered_RC) > 0
        macro = [
            (share_RC * seen_RC).sum(axis=1) / seen_RC.sum(axis=1)
            for share_RC in (_share(both_RC, answered_RC), _share(both_RC, own_RC), f1_RC)
        ]
        return np.column_stack([*macro, f1_RC])

    def by_class(
        self, labels: tuple[str, ...], f1_C: list[Metric], *, confidence: float
    ) -> tuple[ClassFigures, ...]:
        once = np.ones((1, len(self._columns)), dtype=np.float32)
        counts = np.concatenate(self._sums(once)).astype(np.int64).T.tolist()
        return tuple(
            ClassFigures(
                label=label,
                rows=own,
                precision=proportion(both, answered, confidence=confidence),
                recall=proportion(both, own, confidence=confidence),
                f1=f1,
            )
            for label, (own, answered, both), f1 in zip(labels, counts, f1_C, strict=True)
        )

    def _sums(self, w_RN: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # Single precision holds whole numbers up to 16 million exactly.
        own_RC, answered_RC, both_RC = np.split((w_RN @ self._columns).astype(np.float64), 3, axis=1)
        return own_RC, answered_RC, both_RC


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, and 0 of nothing."""
    share: np.ndarray = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return share


def _confusion(answer_N: np.ndarray, y_N: np.ndarray, *, classes: int) -> tuple[tuple[int, ...], ...]:
    cells = np.bincount(y_N * classes + answer_N, minlength=classes * classes).reshape(classes, classes)
    return tuple(tuple(row) for row in cells.tolist())

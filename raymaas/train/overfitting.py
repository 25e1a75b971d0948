"""Whether a fit learned its training rows by heart, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from raymaas.specs.jobs import Training
from raymaas.train.checkpoint import EpochReport

_PATIENCE = 5  # epochs, for a job without early stopping


def overfitting(history: Sequence[EpochReport], training: Training) -> str | None:
    """What is said of a fit whose validation loss rose for the last epochs while its training loss fell.

    As many epochs as early stopping waits, all of them worse than the best before them; the later half of them
    worse, on the average, than the earlier half. None when that is not so.
    """
    patience = training.early_stopping.patience if training.early_stopping else _PATIENCE
    if not history:
        return None
    best = min(history, key=lambda report: report.validation_loss)
    after = history[best.epoch :]
    if len(after) < patience or len(after) < 2:
        return None
    earlier, later = after[: len(after) // 2], after[len(after) // 2 :]
    rising = fmean(r.validation_loss for r in later) > fmean(r.validation_loss for r in earlier)
    falling = fmean(r.train_loss for r in later) < fmean(r.train_loss for r in earlier)
    if not (rising and falling):
        return None
    last = after[-1]
    return (
        f"overfitting: after epoch {best.epoch} the validation loss rose from {best.validation_loss:.4g} to "
        f"{last.validation_loss:.4g} while the training loss fell from {best.train_loss:.4g} to "
        f"{last.train_loss:.4g}; try more rows, dropout, l2, or fewer epochs with early_stopping"
    )

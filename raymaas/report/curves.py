"""Learning curves: losses, their gap, and validation figures over the epochs."""

from __future__ import annotations

from collections.abc import Mapping

from raymaas.report.canvas import TRAINING, VALIDATION, dress, figure, png

_SELDOM = 40  # epochs; with more, a dot for each would be a smear


def learning_png(epochs: Mapping[int, Mapping[str, float]], *, best_epoch: int) -> bytes:
    """`epochs` holds what each measured, by number: train_loss, validation_loss, and validation_<figure> for others.

    The epoch whose weights were kept is marked. There must be an epoch at least.
    """
    from matplotlib.ticker import MaxNLocator

    numbers, measured = list(epochs), list(epochs.values())
    names = [n for n in measured[0] if n.startswith("validation_") and n != "validation_loss"]
    drawn = figure(5.2 * (1 + bool(names)), 3.8)
    panels = drawn.subplots(1, 1 + bool(names), squeeze=False)[0]
    marker = "o" if len(epochs) <= _SELDOM else None
    losses = panels[0]
    training, validation = ([epoch[n] for epoch in measured] for n in ("train_loss", "validation_loss"))
    losses.plot(numbers, training, color=TRAINING, marker=marker, markersize=3, label="training")
    losses.plot(numbers, validation, color=VALIDATION, marker=marker, markersize=3, label="validation")
    losses.fill_between(
        numbers,
        training,
        validation,
        where=[v > t for t, v in zip(training, validation, strict=True)],
        interpolate=True,
        color=VALIDATION,
        alpha=0.12,
        linewidth=0,
        label="gap",
    )
    if min(training + validation) > 0 and max(training + validation) > 20 * min(training + validation):
        losses.set_yscale("log")
    dress(losses, title="Loss", x="epoch", y="mean over rows")
    if names:
        for name in names:
            label = name.removeprefix("validation_").replace("_", " ")
            panels[1].plot(numbers, [e[name] for e in measured], marker=marker, markersize=3, label=label)
        dress(panels[1], title="On the validation rows", x="epoch", y="")
    for axes in panels:
        axes.axvline(best_epoch, color="0.4", linestyle=":", label=f"kept: epoch {best_epoch}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize="small")
    return png(drawn)

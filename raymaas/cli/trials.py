"""Following a search: its log, and on a terminal what its trials have come to below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raymaas.cli.loglines import brief
from raymaas.cli.show import notes
from raymaas.client.client import RunHandle
from raymaas.client.flow import LogText, RunEvent
from raymaas.specs.runs import Run
from raymaas.specs.search import Broken, Finished, Objective, Stopped, Trial

Drawn = Callable[[Sequence[Trial]], RenderableType]
"""What the trials that have ended look like."""


def follow(run: RunHandle, drawn: Drawn | None = None) -> Run:
    """Follow `run` until it has ended well. Raises RunFailed when it did not; Ctrl-C leaves the run alone.

    On a terminal the trials stand below the log, if it is said how they are `drawn`.
    """
    console = notes()
    console.print(
        Text(f"run {run.run_id} accepted; `raymaas runs stop {run.run_id}` stops it"), soft_wrap=True
    )
    trials: list[Trial] = []
    try:
        if drawn is not None and console.is_terminal:
            with Live(console=console, refresh_per_second=4) as live:

                def redraw(trial: Trial) -> None:
                    trials.append(trial)
                    live.update(drawn(trials))

                run.wait(on_event=lambda event: _show(event, console, redraw))
        else:
            run.wait(on_event=lambda event: _show(event, console, lambda trial: None))
    except KeyboardInterrupt:
        console.print(f"the run goes on; follow it with `raymaas runs logs {run.run_id} --follow`")
        raise typer.Exit(130) from None
    return run.status()


def table_of(trials: Sequence[Trial], objectives: Sequence[Objective]) -> Table:
    """One row a trial, the best by the first objective on top, then the stopped and the failed."""
    finished = [trial for trial in trials if isinstance(trial.outcome, Finished)]
    stopped = [trial for trial in trials if isinstance(trial.outcome, Stopped)]
    failed = [trial for trial in trials if isinstance(trial.outcome, Broken)]
    first = objectives[0]
    sign = 1 if first.mode == "min" else -1
    finished.sort(key=lambda trial: sign * trial.metrics[first.metric])
    fields = list(dict.fromkeys(field for trial in trials for field in trial.point))
    figures = list(dict.fromkeys(name for trial in finished for name in trial.metrics))
    table = Table("trial", *fields, *figures, "seconds", box=None, pad_edge=False, header_style="bold")
    for trial in (*finished, *stopped, *failed):
        match trial.outcome:
            case Finished(metrics=metrics, seconds=seconds):
                measured = [brief(metrics[name]) if name in metrics else "-" for name in figures]
                measured.append(f"{seconds:.1f}")
            case Stopped():
                measured = ["stopped"]
            case Broken():
                measured = ["failed"]
        table.add_row(trial.trial, *(brief(trial.point.get(field, "-")) for field in fields), *measured)
    return table


def _show(event: RunEvent, console: Console, redraw: Callable[[Trial], None]) -> None:
    match event:
        case LogText(text=text):
            console.print(Text(text.rstrip("\n")), soft_wrap=True)
        case Trial():
            redraw(event)

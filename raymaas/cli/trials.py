"""Following a sweep: its log, and on a terminal a table of trials that grows below it."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raymaas.cli.loglines import brief
from raymaas.cli.show import notes
from raymaas.client.client import RunHandle
from raymaas.client.flow import LogText, RunEvent
from raymaas.specs.runs import Run
from raymaas.specs.search import Broken, Finished, Objective, Trial


def follow(run: RunHandle, objectives: Sequence[Objective] = ()) -> Run:
    """Follow `run` until it has ended well. Raises RunFailed when it did not; Ctrl-C leaves the run alone.

    Without objectives there is no table of trials.
    """
    console = notes()
    console.print(
        Text(f"run {run.run_id} accepted; `raymaas runs stop {run.run_id}` stops it"), soft_wrap=True
    )
    trials: list[Trial] = []
    try:
        if console.is_terminal and objectives:
            with Live(console=console, refresh_per_second=4) as live:
                run.wait(on_event=lambda event: _show(event, console, trials, objectives, live))
        else:
            run.wait(on_event=lambda event: _show(event, console, trials, objectives, None))
    except KeyboardInterrupt:
        console.print(f"the run goes on; follow it with `raymaas runs logs {run.run_id} --follow`")
        raise typer.Exit(130) from None
    return run.status()


def table_of(trials: Sequence[Trial], objectives: Sequence[Objective]) -> Table:
    """One row a trial, the best by the first objective on top and the failed last."""
    finished = [trial for trial in trials if isinstance(trial.outcome, Finished)]
    failed = [trial for trial in trials if isinstance(trial.outcome, Broken)]
    first = objectives[0]
    sign = 1 if first.mode == "min" else -1
    finished.sort(key=lambda trial: sign * trial.metrics[first.metric])
    fields = list(dict.fromkeys(field for trial in trials for field in trial.point))
    figures = list(dict.fromkeys(name for trial in finished for name in trial.metrics))
    table = Table("trial", *fields, *figures, "seconds", box=None, pad_edge=False, header_style="bold")
    for trial in (*finished, *failed):
        match trial.outcome:
            case Finished(metrics=metrics, seconds=seconds):
                measured = [brief(metrics[name]) if name in metrics else "-" for name in figures]
                measured.append(f"{seconds:.1f}")
            case Broken():
                measured = ["failed"]
        table.add_row(trial.trial, *(brief(trial.point.get(field, "-")) for field in fields), *measured)
    return table


def _show(
    event: RunEvent, console: Console, trials: list[Trial], objectives: Sequence[Objective], live: Live | None
) -> None:
    match event:
        case LogText(text=text):
            console.print(Text(text.rstrip("\n")), soft_wrap=True)
        case Trial():
            trials.append(event)
            if live:
                live.update(table_of(trials, objectives))

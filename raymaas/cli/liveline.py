"""The live line of a run: on a terminal one line below the log that is rewritten as the run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from raymaas.cli.loglines import duration, eta, figures, is_epoch_line, of_epochs, speed
from raymaas.client.flow import LogText, RunEvent
from raymaas.specs.runs import EpochMetrics, Pending, Running, RunProgress

_BAR_CELLS = 20
_REFRESHES_PER_S = 4


class LiveLine:
    """What is known of a run, as one line. Between two events only the time in it goes on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._step = "waiting for Ray"
        self._progress: RunProgress | None = None
        self._metrics: EpochMetrics | None = None
        self._heard_s = self._began_s = clock()

    def hear(self, event: RunEvent) -> None:
        match event:
            case RunProgress():
                self._progress, self._heard_s = event, self._clock()
            case EpochMetrics():
                self._metrics = event
            case Pending():
                self._step = "waiting for Ray"
            case Running(step=step):
                self._step = step

    def text(self) -> str:
        """The line now."""
        progress, now = self._progress, self._clock()
        if progress is None or progress.epoch == 0:
            return f"{self._step}  {duration(now - self._began_s)}"
        since = now - self._heard_s
        measured = self._metrics.metrics if self._metrics else {}
        parts = (
            f"epoch {of_epochs(progress.epoch, progress.epochs)}",
            _bar(progress),
            figures(measured),
            speed(progress.samples_per_s),
            f"elapsed {duration(progress.spent.seconds + since)}",
            eta(progress, seconds_per_epoch=_seconds_per_epoch(progress, measured.get("seconds"))),
        )
        return "  ".join(part for part in parts if part)

    def __rich__(self) -> Text:
        return Text(self.text(), no_wrap=True, overflow="ellipsis", style="cyan")


@contextmanager
def shown_on(console: Console) -> Iterator[Callable[[RunEvent], None]]:
    """What prints the log of a run as it is told; on a terminal with a live line below, which says what the log's
    lines of epochs say, so those are left out.
    """
    lines = _Lines()

    def show(event: RunEvent) -> None:
        if isinstance(event, LogText):
            for text in lines.whole(event.text):
                if not (console.is_terminal and is_epoch_line(text)):
                    console.print(Text(text), soft_wrap=True)
        line.hear(event)

    line = LiveLine()
    if not console.is_terminal:
        yield show
    else:
        with Live(line, console=console, refresh_per_second=_REFRESHES_PER_S, transient=True):
            yield show
    if rest := lines.rest():
        console.print(Text(rest), soft_wrap=True)


class _Lines:
    """Pieces of a log put together to lines: the log is cut by time, not where lines end."""

    def __init__(self) -> None:
        self._begun = ""

    def whole(self, text: str) -> list[str]:
        """The lines that `text` completes."""
        *lines, self._begun = (self._begun + text).split("\n")
        return lines

    def rest(self) -> str:
        """The line that nothing completed."""
        return self._begun


def _bar(progress: RunProgress) -> str:
    """How much of all epochs is done; empty while their number is unknown."""
    if progress.epochs is None:
        return ""
    done = min(1.0, (progress.epoch - 1 + progress.share) / progress.epochs)
    cells = round(done * _BAR_CELLS)
    return f"{'━' * cells}{'╌' * (_BAR_CELLS - cells)} {done:4.0%}"


def _seconds_per_epoch(progress: RunProgress, measured: float | None) -> float | None:
    """As the last epoch took; in the first one, as long as it would take at its pace so far."""
    if measured is not None or progress.first_step is None or progress.share <= 0 or progress.epoch != 1:
        return measured
    return max(0.0, progress.spent.seconds - progress.first_step.seconds) / progress.share

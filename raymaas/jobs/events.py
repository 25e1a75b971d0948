"""The TensorBoard events of a training, kept among its artifacts in pieces that TensorBoard can follow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from raymaas.registry.artifacts import Artifacts
from raymaas.report.tensorboard import Picture, Scalars, event_file, event_file_name
from raymaas.train.checkpoint import EpochReport

_PIECE_S = 10.0


class EventLog:
    """Event files of one run. A piece is kept at most every ten seconds, and on `flush`."""

    def __init__(self, artifacts: Artifacts, *, now: Callable[[], datetime]) -> None:
        self._artifacts, self._now = artifacts, now
        self._entries: list[Scalars | Picture] = []
        self._pieces = 0

    def epoch(self, report: EpochReport) -> None:
        """Note the curves: training and validation loss under one tag each, every figure, and the speed."""
        values = {"loss/train": report.train_loss, "loss/validation": report.validation_loss}
        values |= {f"validation/{name}": value for name, value in report.figures.items()}
        if report.rows and report.seconds > 0:
            values["speed/samples_per_s"] = report.rows / report.seconds
        self._entries.append(Scalars(report.epoch, self._now(), values))
        if (self._now() - self._entries[0].at).total_seconds() >= _PIECE_S:
            self.flush()

    def picture(self, name: str, png: bytes, *, step: int) -> None:
        """Note a picture under the tag report/`name`."""
        self._entries.append(Picture(step, self._now(), f"report/{name}", png))

    def flush(self) -> None:
        """Keep what was noted. What the store raises is raised, and all is still noted."""
        if not self._entries:
            return
        name = event_file_name(self._artifacts.run_id, begins=self._entries[0].at, number=self._pieces + 1)
        self._artifacts.keep(f"tensorboard/{name}", event_file(self._entries))
        self._pieces += 1
        self._entries = []

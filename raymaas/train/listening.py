"""Listening: what the driver of a training hears of it, in order, while the fit is under way."""

from __future__ import annotations

from raymaas.errors import OutOfBudget
from raymaas.specs.budget import Overspent
from raymaas.specs.jobs import TrainJob
from raymaas.specs.telling import Told
from raymaas.train.checkpoint import EpochReport
from raymaas.train.telling import Allowance


class Listener:
    """Hears everything and remembers nothing."""

    def called(self, job: TrainJob) -> Allowance | None:
        """The driver calls for the fit of `job` now. What it may use is returned, if anything limits it.

        Raises OutOfBudget when nothing is left.
        """
        return None

    def epoch(self, report: EpochReport) -> None:
        """An epoch was measured; one may come again after a worker was replaced."""

    def told(self, told: Told) -> None:
        """A worker told something between the epochs."""

    def drawn(self, name: str, png: bytes, *, epoch: int) -> None:
        """A picture of the report, of the weights after `epoch`."""

    def ended(self) -> None:
        """The fit is over, well or not; its workers are gone."""


def out_of_budget(why: Overspent, run_id: str) -> OutOfBudget:
    """The error that ends a run whose budget is spent; it says how to go on."""
    return OutOfBudget(
        f"the run {why.sentence}; what it trained is kept, and `raymaas runs resume {run_id} --set "
        f"budget.{why.field}=MORE` goes on",
        run=run_id,
    )

"""Watch: what a fit tells of itself while it is under way, and how it is asked to stop early."""

from __future__ import annotations


class Watch:
    """Sees nothing and stops nothing. The loop calls it on every worker alike."""

    def built(self, *, epochs: int, rows: int) -> None:
        """The model stands; ahead are `epochs` epochs at most, of `rows` training rows over all workers."""

    def stepped(self, epoch: int, rows: int) -> None:
        """`rows` rows of `epoch` are done, over all workers. Called after every step: it must cost nothing."""

    def enough(self) -> bool:
        """Whether to stop after the epoch that was just measured. Every worker must be told the same."""
        return False

"""Retention: how long what a run left behind is kept once the run has ended."""

from __future__ import annotations

from pydantic import Field

from raymaas.specs.base import Spec


class Retention(Spec):
    """Days by the store's clock. One at least: a driver told to stop may still be writing."""

    keep_checkpoints_days: int = Field(
        7, ge=1, le=36500, description="Days that Ray's checkpoints of a run are kept after its end."
    )
    keep_trial_files_days: int = Field(
        30, ge=1, le=36500, description="Days that the files of a sweep's trials are kept after its end."
    )
    keep_logs_days: int = Field(
        90, ge=1, le=36500, description="Days that a run's log is kept after its end."
    )
    keep_requests_days: int = Field(
        30,
        ge=1,
        le=36500,
        description="Days that it is kept which requests a version answered, how, and the counts for drift.",
    )

"""EdgeStatus: what an edge agent has done, for whoever watches it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from raymaas.serve.edge.rundir import RunDir, read_file
from raymaas.specs.base import Document, Moment


class EdgeStatus(Document):
    """Written to the run directory whenever it changes."""

    kind = "edge-status"

    revision: str = Field(description="Revision of the table that requests follow; empty before the first.")
    applied_at: Moment
    agent_pid: int
    haproxy_pid: int | None = Field(description="None while HAProxy does not run.")
    haproxy_started_at: float | None = Field(description="Seconds since 1970; tells a reused pid.")
    slots: int | None
    versions: int = Field(description="Versions with a slot.")
    restarts: int = Field(description="How often HAProxy died and was started again by this agent.")
    problem: str | None = Field(default=None, description="Why the newest table is not followed.")
    controller_problem: str | None = Field(default=None, description="Why no newer table can be had.")


def read_status(run_dir: Path) -> EdgeStatus | None:
    """The status last written in `run_dir`, or None before there is one. The agent may have died since."""
    path = RunDir(run_dir.absolute()).status
    raw = read_file(path)
    return None if raw is None else EdgeStatus.unseal(raw, source=str(path))

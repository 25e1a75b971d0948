"""A user's home of raymaas, and what a test asks of the cluster that runs from it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import torch
from local_training import fit_here, trained

from raymaas.client import Client
from raymaas.client.jobfile import JobSource, read_job_as
from raymaas.cluster.plan import CLUSTER_MARKER, ClusterPlan, ProcessTable
from raymaas.cluster.processes import ProcessId, members
from raymaas.cluster.supervisor import read_table
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import job_fields
from raymaas.store import open_store

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


class Written(NamedTuple):
    """What a text says that its program prints, and what it printed."""

    said: str
    printed: str


@dataclass(frozen=True)
class Home:
    """A user's home of raymaas: its own settings, store and run directory, on free ports.

    `chosen` are variables of its environment besides; no other RAY_ or RAYMAAS_ variable reaches it.
    """

    path: Path
    chosen: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "RAYMAAS_"))}
        return kept | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "RAYMAAS_HOME": str(self.path),
            "RAYMAAS_PORT": "0",
            "RAYMAAS_DASHBOARD_PORT": "0",
            "COLUMNS": "200",
            **self.chosen,
        }

    @property
    def run_dir(self) -> Path:
        return self.path / "run"

    def cli(
        self, *arguments: str, timeout_s: float = 300, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `raymaas ...` in the repository's root, as the README does."""
        done = subprocess.run(
            [str(BIN / "raymaas"), *arguments],
            cwd=ROOT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert not check or done.returncode == 0, (
            f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def python(self, program: Path) -> str:
        """What `program` prints after `eval "$(raymaas env)"`."""
        done = subprocess.run(
            [sys.executable, str(program)],
            cwd=ROOT,
            env=self.shell_environment(),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def plan(self) -> ClusterPlan:
        return ClusterPlan.unseal((self.run_dir / "cluster.json").read_bytes(), source="cluster.json")

    def table(self) -> ProcessTable:
        table = read_table(self.run_dir)
        assert table is not None
        return table

    def status(self) -> dict[str, Any]:
        description: dict[str, Any] = json.loads(self.cli("status", "--json", check=False).stdout)
        return description

    def shell_environment(self) -> dict[str, str]:
        """The environment after `eval "$(raymaas env)"`."""
        exports = self.cli("env").stdout.splitlines()
        pairs = (line.removeprefix("export ").split("=", 1) for line in exports)
        return self.environment | {name: value.strip("'") for name, value in pairs}

    def client(self) -> Client:
        return Client(self.plan().url)

    def train_here(self, job: JobSource, *settings: str) -> int:
        """The number of a version that this process trains, for a journey that is about what comes after."""
        store = open_store(self.plan().storage)
        torch.set_num_threads(1)  # as Ray's workers
        with pytest.MonkeyPatch.context() as patch:
            fit_here(patch, store)
            fields = job_fields(read_job_as(TrainJob, job, settings=settings))
            return trained(store, {name: value for name, value in fields.items() if name != "kind"}).version


def everything_of(plan: ClusterPlan, table: ProcessTable) -> list[ProcessId]:
    """Every live process of the cluster, however it was started."""
    return members(table.processes.values(), marker=(CLUSTER_MARKER, plan.cluster_id))


def commands(processes: list[ProcessId]) -> dict[int, str]:
    """Command lines by pid; a process that ended meanwhile is left out."""
    found = {}
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found[each.pid] = " ".join(psutil.Process(each.pid).cmdline())
    return found


def names(processes: list[ProcessId]) -> list[str]:
    return [command[:120] for command in commands(processes).values()]


def wait_until(holds: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"after {timeout_s} s still not: {what}"
        time.sleep(0.1)

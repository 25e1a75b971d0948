"""How the cluster on this machine stands, as one JSON-able description for `raymaas status` and the API."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import raymaas
from raymaas.cluster.plan import SUPERVISOR, ClusterPlan, ProcessTable, service_commands
from raymaas.cluster.processes import is_alive
from raymaas.cluster.supervisor import read_table


def describe(plan: ClusterPlan) -> dict[str, Any]:
    """Where everything is, and each supervised process with its pid, whether it lives, and how often it came back."""
    table = read_table(Path(plan.run_dir)) or ProcessTable()
    processes = {}
    for name in (SUPERVISOR, *service_commands(plan)):
        identity = table.processes.get(name)
        processes[name] = {
            "pid": identity.pid if identity else None,
            "alive": bool(identity and is_alive(identity)),
            "restarts": table.restarts.get(name, 0),
        }
    return {
        "raymaas": raymaas.__version__,
        "mode": plan.mode,
        "ready": table.ready and all(p["alive"] for p in processes.values()),
        "url": plan.url,
        "dashboard_url": plan.dashboard_url,
        "ray_address": plan.ray_address,
        "storage": plan.storage,
        "run_dir": plan.run_dir,
        "processes": processes,
    }


@dataclass(frozen=True)
class PlanView:
    """The description of one plan's cluster, read anew each time."""

    plan: ClusterPlan

    def describe(self) -> dict[str, Any]:
        return describe(self.plan)

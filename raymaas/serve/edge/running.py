"""One whole edge: the agent with its HAProxy, and beside it who tells the controller what is asked."""

from __future__ import annotations

import threading
from pathlib import Path

from raymaas.serve.edge.agent import EdgeAgent
from raymaas.serve.edge.config import EdgeSettings
from raymaas.serve.edge.demand import DemandTeller
from raymaas.serve.edge.rundir import RunDir
from raymaas.serve.edge.source import HttpController


def run_edge(
    settings: EdgeSettings, run_dir: Path, controller: HttpController, *, name: str, stop: threading.Event
) -> None:
    """Be an edge until `stop` is set; `name` tells it from others of the controller. Raises as EdgeAgent.run does."""
    agent = EdgeAgent(settings, run_dir, controller)
    teller = DemandTeller(RunDir.prepare(run_dir), controller.tell, name=name)
    threading.Thread(target=teller.run, args=(stop,), name="edge-demand", daemon=True).start()
    agent.run(stop)

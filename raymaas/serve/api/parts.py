"""What the control API is built from: the registry, and a Protocol for each thing that runs elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from raymaas.registry.drifts import Drifts
from raymaas.registry.keys import Keys
from raymaas.registry.lineage import Lineages
from raymaas.registry.policies import Policies
from raymaas.registry.reports import Reports
from raymaas.registry.requests import Requests
from raymaas.registry.resumption import Resumption
from raymaas.registry.rollout_plans import RolloutPlans
from raymaas.registry.rollouts import Rollouts
from raymaas.registry.runs import Runs
from raymaas.registry.samples import Samples
from raymaas.registry.sampling import SamplingRules
from raymaas.registry.states import States
from raymaas.registry.triggers import Triggers
from raymaas.registry.usage import Usages
from raymaas.registry.versions import Versions
from raymaas.serve.feedback_log import FeedbackWriter
from raymaas.serve.rollouts.conducting import Conductor
from raymaas.specs.api import DeploymentStatus
from raymaas.specs.demand import EdgeDemand
from raymaas.specs.runs import RunSpec
from raymaas.specs.serving import EdgeTable, Scaling


class JobSubmitter(Protocol):
    """Starts and stops runs."""

    def submit(self, spec: RunSpec) -> None:
        """Start a run that is recorded already. Raises Unavailable when nothing was started."""
        ...

    def stop(self, run_id: str, who: str) -> None:
        """Stop a run and record who did; one that has ended stays as it is."""
        ...


class DeploymentView(Protocol):
    """What the cluster says of a model's versions."""

    def statuses(self, model: str, wanted: Mapping[int, Scaling]) -> Mapping[int, DeploymentStatus]:
        """By version: how each that the cluster knows stands; it starts while it is run otherwise than `wanted`."""
        ...


class ClusterView(Protocol):
    """What the cluster says of itself, as JSON values."""

    def describe(self) -> dict[str, Any]: ...


class TableSource(Protocol):
    """Where edge agents get their table."""

    async def table(self, after: str | None, wait_s: float) -> EdgeTable | None:
        """The table once its revision differs from `after`; None when it did not within `wait_s`."""
        ...


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class ControlParts:
    """The parts list of `build_app`.

    `poke` tells the controller that something else is wanted now; `hear_demand` is told what an edge sees asked.
    """

    versions: Versions
    states: States
    policies: Policies
    runs: Runs
    resumption: Resumption
    lineages: Lineages
    reports: Reports
    keys: Keys
    usages: Usages
    drifts: Drifts
    submitter: JobSubmitter
    deployments: DeploymentView
    cluster: ClusterView
    edge_tables: TableSource
    hear_demand: Callable[[EdgeDemand], None]
    edge_secret: str
    requests: Requests
    sampling: SamplingRules
    samples: Samples
    feedback: FeedbackWriter
    triggers: Triggers
    rollouts: Rollouts
    rollout_plans: RolloutPlans
    conductor: Conductor
    poke: Callable[[], None]
    now: Callable[[], datetime] = utc_now

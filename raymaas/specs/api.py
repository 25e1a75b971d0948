"""API documents: bodies of the control plane that are not documents of the store."""

from __future__ import annotations

from typing import Literal

from pydantic import Base64Bytes, Field, JsonValue, model_validator

from raymaas.specs.base import OneLine, Spec
from raymaas.specs.keys import Grant, KeyFacts
from raymaas.specs.names import AliasName, Name
from raymaas.specs.policies import Policy, PolicyRevision
from raymaas.specs.rollouts import RolloutPlan, RolloutState
from raymaas.specs.runs import EpochMetrics, Run, RunFile, RunProgress
from raymaas.specs.sampling import SamplingRule
from raymaas.specs.search import Trial
from raymaas.specs.serving import Change, Sample, Scaling, Shadow, StickyBy
from raymaas.specs.standing import ModelStanding
from raymaas.specs.triggers import TriggerRevision
from raymaas.specs.versions import ModelVersion

VersionSlot = int | str
"""A version number, or an alias standing where a version stands: `3`, `"3"` or `"prod"`."""


class DeployRequest(Spec):
    """Want `version` running."""

    version: VersionSlot
    scaling: Scaling | None = Field(default=None, description="How it runs; absent keeps what it has.")
    why: OneLine = ""


class AliasRequest(Spec):
    """Point an alias at `version`."""

    version: VersionSlot
    why: OneLine = ""


class ShadowRequest(Spec):
    """Send copies of requests to `version` as well."""

    version: VersionSlot
    sample: Sample = 0.1


class TrafficRequest(Spec):
    """Divide the model's unpinned requests. What is absent stays as it is."""

    weights: dict[int, int] | None = Field(default=None, description="Version to percent; sums to 100.")
    sticky: Literal["off"] | StickyBy | None = Field(
        default=None,
        description="header:NAME: always the same version answers whoever sends the same value; off: chance decides.",
    )
    shadow: Literal["off"] | ShadowRequest | None = Field(
        default=None, description="Which version is to get copies of what others answer; off: none."
    )
    why: OneLine = ""

    @model_validator(mode="after")
    def _asks_for_something(self) -> TrafficRequest:
        if self.weights is None and self.sticky is None and self.shadow is None:
            raise ValueError("nothing is to change; give weights such as 1=90 2=10, sticky or shadow")
        return self


class PromoteRequest(Spec):
    """Point `prod` at `version` and give it all traffic."""

    version: VersionSlot
    why: OneLine = ""


class RollbackRequest(Spec):
    """Take back the last move of aliases or traffic that still holds, or all since a revision."""

    to: int | None = Field(default=None, ge=1, description="Go back to this revision of the history.")
    why: OneLine = ""


class PolicyRequest(Spec):
    """Ask `policy` of every version that an alias is pointed at from now on."""

    policy: Policy
    why: OneLine = ""


class SamplingRequest(Spec):
    """Keep what `rule` says of a model's requests and feedback, from now on."""

    rule: SamplingRule
    why: OneLine = ""


class SubmitRequest(Spec):
    """Start a run of `job`, a job document such as `raymaas schema train` describes."""

    job: dict[str, JsonValue]
    code: Base64Bytes | None = Field(
        default=None, description="Archive of the code of your own that the job names, as Base64."
    )


class TriggerRequest(SubmitRequest):
    """Have `job`, a training with a `start`, run when that says."""

    why: OneLine = ""


class TriggerMoveRequest(Spec):
    why: OneLine = ""


class TriggerList(Spec):
    triggers: tuple[TriggerRevision, ...]


class ResumeRequest(Spec):
    """Continue a training run, or branch off from one of its checkpoints."""

    from_epoch: int | None = Field(
        default=None,
        ge=1,
        description="Branch off after this epoch; absent: continue a run that did not succeed.",
    )
    settings: tuple[str, ...] = Field(
        default=(),
        description="Fields of the job to change, such as 'training.epochs=40'; without from_epoch only the budget.",
    )


Standing = Literal["starting", "ready", "unhealthy", "failed", "stopping"]
"""How a version stands: `ready` while a replica answers, `unhealthy` while replicas that ran are replaced and none
answers, `failed` once Ray Serve has stopped trying to start it."""


class DeploymentStatus(Spec):
    """How a version stands in the cluster."""

    status: Standing
    message: str = ""


class Deployment(Spec):
    """A version that is wanted, or still running though no longer wanted."""

    version: int
    wanted: bool
    status: Standing
    message: str
    weight: int = Field(description="Percent of the model's unpinned requests.")
    scaling: Scaling | None


class ModelSummary(Spec):
    """A model in one line."""

    model: Name
    newest: int = Field(description="Newest version.")
    aliases: dict[AliasName, int]
    traffic: dict[int, int]
    sticky: StickyBy | None = Field(default=None, description="By which header a caller is known.")
    shadow: Shadow | None = Field(default=None, description="Which version gets copies of requests.")


class ModelList(Spec):
    models: tuple[ModelSummary, ...]


class VersionList(Spec):
    """One page of versions, newest first."""

    versions: tuple[ModelVersion, ...]
    next_before: int | None = Field(default=None, description="`before` of the next page; null on the last.")


class HistoryEntry(Change):
    """A change, and the revision it made."""

    revision: int


class History(Spec):
    """What was moved, newest first."""

    changes: tuple[HistoryEntry, ...]


class RolloutRequest(Spec):
    """Roll a version out against the one that has the traffic."""

    version: int | str = Field(description="A version or an alias.")
    plan: RolloutPlan | None = Field(default=None, description="Null: the model's own rollout plan.")
    why: OneLine = ""


class RolloutPlanRequest(Spec):
    """Roll versions of a model out by `plan` where nothing else is said."""

    plan: RolloutPlan
    why: OneLine = ""


class RolloutMoveRequest(Spec):
    why: OneLine = ""


class RolloutHistory(Spec):
    """What was decided, newest first."""

    states: tuple[RolloutState, ...]


class PolicyList(Spec):
    """The policies in force, by alias."""

    policies: tuple[PolicyRevision, ...]


class KeyRequest(Spec):
    """Create a key for `grant`."""

    grant: Grant
    why: OneLine = ""


class CreatedKey(Spec):
    """A new key. Nobody can tell it again: only its digest is kept."""

    key: str = Field(description="What the caller sends.", repr=False)
    facts: KeyFacts
    first: bool = Field(description="Until now nobody needed a key; from now on everybody does.")


class KeyList(Spec):
    """Every key there ever was, oldest first."""

    keys: tuple[KeyFacts, ...]


class DeploymentList(Spec):
    deployments: tuple[Deployment, ...]


class RunList(Spec):
    """Runs, newest first."""

    runs: tuple[Run, ...]


class RunMetrics(Spec):
    """What a run measured so far: each finished epoch in order, or each trial that ended."""

    epochs: tuple[EpochMetrics, ...]
    trials: tuple[Trial, ...] = ()
    progress: RunProgress | None = Field(
        default=None, description="How far a training is and what it has used; null until it began."
    )


class RunFiles(Spec):
    """The files that a run has left."""

    files: tuple[RunFile, ...]


class LogPart(Spec):
    """A run's log from one place on."""

    text: str
    next: int = Field(description="Give it as `after` to read on.")
    final: bool = Field(description="The run has ended and nothing follows this text.")


class ClusterStatus(Spec):
    """What runs where, in the words of the cluster."""

    version: str = Field(description="The server's raymaas.")
    cluster: dict[str, JsonValue]
    models: tuple[ModelStanding, ...] = Field((), description="How each deployed model stands.")

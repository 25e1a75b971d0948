"""Serving documents: what is wanted running (ModelState), and what edges are told (EdgeTable)."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from raymaas.specs.base import Document, Moment, OneLine, Spec
from raymaas.specs.buckets import BUCKETS, Layout, in_order
from raymaas.specs.keys import EdgeKey
from raymaas.specs.names import AliasName, Name
from raymaas.specs.runtimes import RuntimeName


class Scaling(Spec):
    """How a version is run."""

    min_replicas: int = Field(
        1,
        ge=0,
        description="Replicas kept running; with 0, one starts for the first request, which waits for it.",
    )
    max_replicas: int = Field(1, ge=1, description="Replicas at most; autoscaled between the two.")
    target_busy: float = Field(
        0.7,
        gt=0,
        le=1,
        description="Fraction of its time that a replica is to be busy: more, and others start.",
    )
    upscale_delay_s: float = Field(5, ge=0, description="For so long they were too busy before others start.")
    downscale_delay_s: float = Field(
        60, ge=0, description="For so long they had little to do before one ends."
    )
    num_cpus: float = Field(0.1, ge=0, description="CPUs reserved in Ray's books, not a limit on compute.")
    num_gpus: float = Field(0, ge=0, description="GPUs reserved per replica.")
    memory_mb: int = Field(0, ge=0, description="Memory reserved per replica in Ray's books; 0: none.")
    pip: tuple[OneLine, ...] = Field(
        (), description="Packages that Ray installs for the replicas, such as tokenizers==0.21.0."
    )
    threads: int = Field(1, ge=1, description="Compute threads a replica may use.")
    runtime: Literal["auto", RuntimeName] = Field(
        "auto",
        description="auto: first of the version's runtimes; of a compressed version the one that is the fastest on the "
        "serving node, among those that were about as fast where it was made.",
    )
    max_latency_ms: float = Field(
        100,
        gt=0,
        description="What a request should take at most: a busy model joins what waits into batches of half of this.",
    )
    result_cache_mb: int = Field(
        0,
        ge=0,
        description="Memory of each replica for answers, given again when the same bytes are asked again.",
    )
    request_log: Literal["all", "errors", "off"] = Field(
        "all",
        description="Which requests are recorded: id, time, status, rows and key, 55 bytes each in the store. Usage is "
        "summed over them. With off, nothing is counted for drift either.",
    )

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Scaling:
        if self.max_replicas < self.min_replicas:
            raise ValueError(
                f"max_replicas ({self.max_replicas}) is below min_replicas ({self.min_replicas})"
            )
        return self


Action = Literal["deploy", "undeploy", "alias", "traffic", "promote", "rollback", "delete"]


class Change(Spec):
    """Who moved what, when and why: one line of a model's history."""

    action: Action
    summary: OneLine = Field(description="From what to what, e.g. 'prod: 2 -> 3'.")
    who: OneLine
    why: OneLine = ""
    at: Moment
    undoes: int | None = Field(
        default=None, ge=1, description="Of a rollback: it took back this revision and all moves since."
    )
    policy: int | None = Field(
        default=None,
        ge=1,
        description="Revision of the alias's policy that allowed it; null when none asked.",
    )

    @model_validator(mode="after")
    def _only_a_rollback_undoes(self) -> Change:
        if (self.action == "rollback") != (self.undoes is not None):
            raise ValueError("a rollback, and nothing else, says in undoes which revision it took back")
        return self


_STICKY = re.compile(r"header:(?!x-raymaas-)[a-z0-9][a-z0-9-]{0,62}")


def check_sticky(text: str) -> str:
    """`text` in lower case if it is `header:NAME`, else ValueError. The edge's own headers are no caller's."""
    if not _STICKY.fullmatch(text.lower()):
        raise ValueError(
            f"{text!r} does not say which header knows a caller: write header:NAME, such as header:x-user, with a name "
            "of letters, digits and dashes that does not begin with x-raymaas-"
        )
    return text.lower()


StickyBy = Annotated[
    str,
    AfterValidator(check_sticky),
    WithJsonSchema({"type": "string", "pattern": "^header:[a-zA-Z0-9][a-zA-Z0-9-]{0,62}$"}),
]


Sample = Annotated[float, Field(ge=0.0001, le=1)]


class Shadow(Spec):
    """A version that gets copies of requests which others answer; what it says is compared and never returned."""

    version: int = Field(ge=1)
    sample: Sample = Field(0.1, description="Share of the infer requests that are copied, chosen by chance.")


class Deletion(Spec):
    """Which version was deleted, by whom and why."""

    version: int = Field(ge=1)
    at: Moment
    who: OneLine
    why: OneLine = ""
    write_id: str


class ModelState(Document):
    """Aliases and the wanted deployment of one model, in one document, so that a promotion is one write."""

    kind = "model-state"

    model: Name
    revision: int = Field(ge=1, description="Counts up by one with each change.")
    write_id: str
    aliases: dict[AliasName, int] = Field(default_factory=dict, description="Alias to version.")
    traffic: dict[int, int] = Field(
        default_factory=dict, description="Version to weight in percent; sums to 100."
    )
    sticky: StickyBy | None = Field(
        default=None,
        description="By which header a caller is known, to whom always the same version answers; null: by none.",
    )
    buckets: tuple[int, ...] | None = Field(
        default=None,
        description="The version of each of 100 buckets that callers fall in; null: versions ascending, each with one "
        "stretch of them.",
    )
    shadow: Shadow | None = Field(default=None, description="Which version gets copies of requests.")
    fallback: int | None = Field(
        default=None,
        description="The version that answers in place of another one that fails on a request which the traffic led it "
        "to; a rollout's old one while it is under way.",
    )
    scaling: dict[int, Scaling] = Field(
        default_factory=dict, description="Version to how it runs; its keys run."
    )
    deletion: Deletion | None = Field(
        default=None, description="The newest one of a version; its tombstone may still have to be written."
    )
    change: Change

    @model_validator(mode="after")
    def _consistent(self) -> ModelState:
        if self.traffic and sum(self.traffic.values()) != 100:
            raise ValueError(f"traffic must sum to 100, got {sum(self.traffic.values())}")
        if any(weight < 0 for weight in self.traffic.values()):
            raise ValueError("traffic weights must not be negative")
        missing = sorted(v for v, weight in self.traffic.items() if weight and v not in self.scaling)
        if missing:
            raise ValueError(f"version {missing[0]} has traffic but is not deployed; deploy it first")
        if self.shadow is not None and self.shadow.version not in self.scaling:
            raise ValueError(
                f"version {self.shadow.version} is to shadow but is not deployed; deploy it first"
            )
        if self.fallback is not None and self.fallback not in self.scaling:
            raise ValueError(
                f"version {self.fallback} is to answer for others but is not deployed; deploy it first"
            )
        if self.buckets is not None and (
            len(self.buckets) != BUCKETS or Counter(self.buckets) != +Counter(self.traffic)
        ):
            raise ValueError("the versions in buckets must be 100, each as often as traffic says")
        if self.change.undoes is not None and self.change.undoes >= self.revision:
            raise ValueError(
                f"revision {self.revision} cannot undo {self.change.undoes}, which is not before it"
            )
        return self

    @property
    def layout(self) -> Layout:
        """Which version has which bucket, whether it is written down or not."""
        return self.buckets or in_order(self.traffic)


class Tombstone(Document):
    """A deleted version: its manifest stays, its number is never given again, its files may be collected."""

    kind = "version-tombstone"

    model: Name
    deletion: Deletion

    @property
    def write_id(self) -> str:
        return self.deletion.write_id


class EdgeTarget(Spec):
    """A version that can be reached, and where: at its replicas' own ports, and through Ray Serve's proxies."""

    model: Name
    version: int = Field(ge=1)
    path_prefix: str = Field(description="Route prefix of its Serve application, e.g. '/models/digits/1'.")
    replicas: tuple[str, ...] = Field(
        (),
        description="host:port of each replica that has announced itself; the proxies answer where none does.",
    )


class EdgeTable(Document):
    """All an edge needs to route: committed to HAProxy as one map, so that a request sees all of it or none."""

    kind = "edge-table"

    revision: str = Field(description="Digest of the content; an agent that has it need do nothing.")
    proxies: tuple[str, ...] = Field(description="host:port of Ray Serve's proxies.")
    targets: tuple[EdgeTarget, ...] = ()
    aliases: dict[Name, dict[AliasName, int]] = Field(
        default_factory=dict, description="Model to alias to version."
    )
    traffic: dict[Name, dict[int, int]] = Field(
        default_factory=dict, description="Model to version to percent."
    )
    buckets: dict[Name, tuple[int, ...]] = Field(
        default_factory=dict,
        description="Model to the version of each of 100 buckets, where its traffic alone would not lay them out so.",
    )
    sticky: dict[Name, str] = Field(
        default_factory=dict, description="Model to the name of the header that a caller is known by."
    )
    shadows: dict[Name, Shadow] = Field(
        default_factory=dict, description="Model to the version that gets copies of the others' requests."
    )
    fallbacks: dict[Name, int] = Field(
        default_factory=dict, description="Model to the version that answers where another one fails."
    )
    keys: tuple[EdgeKey, ...] = Field(
        (),
        description="The live API keys; with none, an edge on loopback answers everybody and others nobody.",
    )

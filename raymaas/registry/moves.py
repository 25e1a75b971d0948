"""Moves: what each change of a model's aliases, traffic or deployments makes of its state. Pure, no I/O.

A move takes the state as it is (None before the first) and a stamp, and returns the next state, one revision
on, with a one-line summary of from what to what. A move that changes nothing returns the state it was given.
The traffic of a state names every deployed version, with weight 0 where it has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from raymaas.errors import InvalidInput, NotFound, Refused
from raymaas.specs.names import check_alias
from raymaas.specs.serving import Change, ModelState, Scaling


@dataclass(frozen=True)
class Stamp:
    """Which model is moved, by whom, why and when; `write_id` marks the write."""

    model: str
    who: str
    why: str
    at: datetime
    write_id: str


def deploy(
    state: ModelState | None, stamp: Stamp, *, version: int, scaling: Scaling | None = None
) -> ModelState:
    """Want `version` running. It gets all traffic if nothing has any yet, else weight 0.

    On a version that is deployed already only its scaling changes; `scaling=None` keeps it. The caller has
    checked that the version exists.
    """
    now = _Wanted.of(state)
    old = now.scaling.get(version)
    new = scaling or old or Scaling()
    if state is not None and new == old:
        return state
    traffic = now.traffic if old else now.traffic | {version: 0 if any(now.traffic.values()) else 100}
    summary = f"{version}: {_scaling_text(old)} -> {_scaling_text(new)}, weight {traffic[version]}"
    return _next(state, stamp, "deploy", summary, _Wanted(now.aliases, traffic, now.scaling | {version: new}))


def undeploy(state: ModelState | None, stamp: Stamp, *, version: int, force: bool = False) -> ModelState:
    """No longer want `version` running.

    Raises NotFound when it is not deployed, and Refused when it has traffic or an alias points at it: move
    those to another version first. Only the last deployed version may be taken with `force`; its aliases
    stay, naming a version that is not running.
    """
    now = _Wanted.of(state)
    if version not in now.scaling:
        raise NotFound(f"version {version} of {stamp.model!r} is not deployed; {_deployed_text(now)}")
    last = len(now.scaling) == 1
    aliases = sorted(alias for alias, target in now.aliases.items() if target == version)
    weight = now.traffic.get(version, 0)
    if last and not force and (aliases or weight):
        raise Refused(
            f"version {version} is the last one deployed of {stamp.model!r}, which would then answer nothing;"
            " force it if that is wanted"
        )
    if weight and not last:
        raise Refused(f"version {version} of {stamp.model!r} has {weight} % of the traffic; move that first")
    if aliases and not last:
        raise Refused(
            f"alias {aliases[0]!r} of {stamp.model!r} points at version {version}; point it at another first"
        )
    remaining = {v: s for v, s in now.scaling.items() if v != version}
    traffic = {v: w for v, w in now.traffic.items() if v != version}
    summary = f"{version}: {_scaling_text(now.scaling[version])}, weight {weight} -> not deployed"
    return _next(state, stamp, "undeploy", summary, _Wanted(now.aliases, traffic, remaining))


def set_alias(state: ModelState | None, stamp: Stamp, *, alias: str, version: int) -> ModelState:
    """Point `alias` at `version`, deployed or not. The caller has checked that the version exists."""
    try:
        check_alias(alias)
    except ValueError as error:
        raise InvalidInput(str(error)) from None
    now = _Wanted.of(state)
    old = now.aliases.get(alias)
    if state is not None and old == version:
        return state
    summary = f"{alias}: {'none' if old is None else old} -> {version}"
    return _next(
        state, stamp, "alias", summary, _Wanted(now.aliases | {alias: version}, now.traffic, now.scaling)
    )


def set_traffic(state: ModelState | None, stamp: Stamp, *, weights: Mapping[int, int]) -> ModelState:
    """Divide the model's unpinned requests by `weights`, version to percent; versions not named get none.

    Raises InvalidInput when the weights are negative or do not sum to 100, and Refused for a version not
    deployed.
    """
    now = _Wanted.of(state)
    if any(weight < 0 for weight in weights.values()) or sum(weights.values()) != 100:
        raise InvalidInput(
            f"weights must be 0 or more and sum to 100, got {_traffic_text(weights)},"
            f" which sum to {sum(weights.values())}"
        )
    for version in sorted(weights.keys() - now.scaling.keys()):
        raise Refused(
            f"version {version} of {stamp.model!r} cannot take traffic, it is not deployed; deploy it first"
            f" ({_deployed_text(now)})"
        )
    traffic = {version: weights.get(version, 0) for version in now.scaling}
    if state is not None and traffic == now.traffic:
        return state
    summary = f"traffic: {_traffic_text(now.traffic)} -> {_traffic_text(traffic)}"
    return _next(state, stamp, "traffic", summary, _Wanted(now.aliases, traffic, now.scaling))


@dataclass(frozen=True)
class _Wanted:
    """The part of a state that moves change."""

    aliases: dict[str, int]
    traffic: dict[int, int]
    scaling: dict[int, Scaling]

    @classmethod
    def of(cls, state: ModelState | None) -> _Wanted:
        return cls(state.aliases, state.traffic, state.scaling) if state else cls({}, {}, {})


def _next(
    state: ModelState | None,
    stamp: Stamp,
    action: Literal["deploy", "undeploy", "alias", "traffic"],
    summary: str,
    wanted: _Wanted,
) -> ModelState:
    return ModelState(
        model=stamp.model,
        revision=state.revision + 1 if state else 1,
        write_id=stamp.write_id,
        aliases=wanted.aliases,
        traffic=wanted.traffic,
        scaling=wanted.scaling,
        change=Change(action=action, summary=summary, who=stamp.who, why=stamp.why, at=stamp.at),
    )


def _scaling_text(scaling: Scaling | None) -> str:
    """What differs from the defaults, after the replicas."""
    if scaling is None:
        return "not deployed"
    low, high = scaling.min_replicas, scaling.max_replicas
    words = [f"{low}..{high} replicas" if high > low else f"{low} replica{'s' if low > 1 else ''}"]
    given = scaling.model_dump(exclude_defaults=True, exclude={"min_replicas", "max_replicas"})
    return " ".join(words + [f"{field}={value}" for field, value in given.items()])


def _traffic_text(weights: Mapping[int, int]) -> str:
    return " ".join(f"{version}={weight}%" for version, weight in sorted(weights.items())) or "none"


def _deployed_text(now: _Wanted) -> str:
    return f"deployed: {', '.join(map(str, sorted(now.scaling))) or 'none'}"

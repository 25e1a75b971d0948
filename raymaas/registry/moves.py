"""Moves: what each change of a model's aliases, traffic or deployments makes of its state. Pure, no I/O.

A move takes the state as it is (None before the first) and a stamp, and returns the next state, one revision
on, with a one-line summary of from what to what. A move that changes nothing returns the state it was given.
The traffic of a state names every deployed version, with weight 0 where it has none. Of the buckets that callers fall
in, a move gives as few to another version as the weights ask for (`raymaas.specs.buckets`).

Rolling back. Moves of aliases and traffic (alias, traffic, promote) can be taken back; deploying and undeploying
cannot, and what is deployed stays as it is. A rollback puts aliases and traffic back as they were before the
newest move that still holds, with the same callers at the same versions, and records that move's revision in
`Change.undoes`; from then on that move and all after it are undone. So a repeated rollback goes further back, and
after a later move it begins with that one. A rollback `to` a revision undoes everything after it, rollbacks too: it
can also go forward again, and the next rollback goes on as it would have at that revision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from raymaas.errors import InvalidInput, NotFound, Refused
from raymaas.specs.buckets import Layout, in_order, moved
from raymaas.specs.names import check_alias
from raymaas.specs.serving import Action, Change, Deletion, ModelState, Scaling, Shadow

PROMOTED_ALIAS = "prod"
OFF = "off"

Past = Callable[[int], ModelState]
"""A model's state as of a revision, which nothing ever changes."""


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
    # Whoever answers for others goes on doing so.
    wanted = replace(now.divided(traffic), scaling=now.scaling | {version: new}, fallback=now.fallback)
    return _next(state, stamp, "deploy", summary, wanted)


def undeploy(state: ModelState | None, stamp: Stamp, *, version: int, force: bool = False) -> ModelState:
    """No longer want `version` running.

    Raises NotFound when it is not deployed, and Refused when it has traffic, an alias points at it, or it
    shadows the others: move those to another version first. Only the last deployed version may be taken with
    `force`; its aliases stay, naming a version that is not running.
    """
    now = _Wanted.of(state)
    if version not in now.scaling:
        raise NotFound(f"version {version} of {stamp.model!r} is not deployed; {_deployed_text(now)}")
    last = len(now.scaling) == 1
    aliases = sorted(alias for alias, target in now.aliases.items() if target == version)
    weight = now.traffic.get(version, 0)
    if last and not force and (aliases or weight):
        users = ([f"{weight} % of the traffic"] if weight else []) + [f"alias {alias!r}" for alias in aliases]
        raise Refused(
            f"version {version} is the last one deployed of {stamp.model!r} and used by {' and '.join(users)};"
            " nothing would answer then; force it if that is wanted"
        )
    if weight and not last:
        raise Refused(f"version {version} of {stamp.model!r} has {weight} % of the traffic; move that first")
    if aliases and not last:
        raise Refused(
            f"alias {aliases[0]!r} of {stamp.model!r} points at version {version}; point it at another first"
        )
    shadows = now.shadow is not None and now.shadow.version == version
    if shadows and not last:
        raise Refused(
            f"version {version} of {stamp.model!r} gets copies of the others' requests; first"
            f" `raymaas traffic {stamp.model} --no-shadow`"
        )
    remaining = {v: s for v, s in now.scaling.items() if v != version}
    traffic = {v: w for v, w in now.traffic.items() if v != version}
    summary = f"{version}: {_scaling_text(now.scaling[version])}, weight {weight} -> not deployed"
    wanted = replace(
        now.divided(traffic),
        scaling=remaining,
        shadow=None if shadows else now.shadow,
        fallback=None if now.fallback == version else now.fallback,
    )
    return _next(state, stamp, "undeploy", summary, wanted)


def delete(state: ModelState | None, stamp: Stamp, *, version: int) -> ModelState:
    """No longer keep `version`; see `registry.deletion`. The caller has checked that it exists.

    Raises Refused when it is deployed or an alias points at it.
    """
    now = _Wanted.of(state)
    if version in now.scaling:
        raise Refused(
            f"version {version} of {stamp.model!r} is deployed; first `raymaas undeploy {stamp.model}@{version}`"
        )
    for alias in sorted(alias for alias, target in now.aliases.items() if target == version):
        raise Refused(
            f"alias {alias!r} of {stamp.model!r} points at version {version}; point it at another first"
        )
    if state is not None and state.deletion is not None and state.deletion.version == version:
        return state
    deletion = Deletion(version=version, at=stamp.at, who=stamp.who, why=stamp.why, write_id=stamp.write_id)
    moved = _next(state, stamp, "delete", f"{version}: kept -> deleted", now)
    return moved.model_copy(update={"deletion": deletion})


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
    return _next(state, stamp, "alias", summary, replace(now, aliases=now.aliases | {alias: version}))


def set_traffic(
    state: ModelState | None,
    stamp: Stamp,
    *,
    weights: Mapping[int, int] | None = None,
    sticky: str | None = None,
    shadow: Shadow | str | None = None,
    fallback: int | None = None,
) -> ModelState:
    """Divide the model's unpinned requests by `weights`, version to percent; versions not named get none. Where one of
    them fails on a request, `fallback` answers; without it nobody does, whatever was said with the weights before.

    `sticky` is the header that callers are known by, `header:x-user`, and `shadow` which version gets copies of
    requests; "off" ends either. What is None stays as it is. Raises InvalidInput when the weights are negative
    or do not sum to 100, and Refused for a version not deployed.
    """
    now = _Wanted.of(state)
    wanted = now if weights is None else now.divided(_checked(weights, now, stamp.model))
    if sticky is not None:
        wanted = replace(wanted, sticky=None if sticky == OFF else sticky)
    if shadow is not None:
        wanted = replace(wanted, shadow=_deployed_shadow(shadow, now, stamp.model))
    if weights is not None and fallback in now.scaling:
        wanted = replace(wanted, fallback=fallback)
    if state is not None and wanted == now:
        return state
    return _next(state, stamp, "traffic", _moved_text(now, wanted), wanted)


def _deployed_shadow(shadow: Shadow | str, now: _Wanted, model: str) -> Shadow | None:
    if not isinstance(shadow, Shadow):
        return None
    if shadow.version not in now.scaling:
        raise Refused(
            f"version {shadow.version} of {model!r} cannot shadow, it is not deployed; first"
            f" `raymaas deploy {model}@{shadow.version}` ({_deployed_text(now)})"
        )
    return shadow


def _checked(weights: Mapping[int, int], now: _Wanted, model: str) -> dict[int, int]:
    """The weight of every deployed version."""
    if any(weight < 0 for weight in weights.values()) or sum(weights.values()) != 100:
        raise InvalidInput(
            f"weights must be 0 or more and sum to 100, got {_traffic_text(weights)},"
            f" which sum to {sum(weights.values())}"
        )
    for version in sorted(weights.keys() - now.scaling.keys()):
        raise Refused(
            f"version {version} of {model!r} cannot take traffic, it is not deployed; deploy it first"
            f" ({_deployed_text(now)})"
        )
    return {version: weights.get(version, 0) for version in now.scaling}


def promote(state: ModelState | None, stamp: Stamp, *, version: int) -> ModelState:
    """Point `prod` at `version` and give it all traffic; the other deployed versions stay, with weight 0.

    Raises Refused when it is not deployed.
    """
    now = _Wanted.of(state)
    if version not in now.scaling:
        raise Refused(
            f"version {version} of {stamp.model!r} cannot be promoted, it is not deployed; first"
            f" `raymaas deploy {stamp.model}@{version}` ({_deployed_text(now)})"
        )
    traffic = {deployed: 100 if deployed == version else 0 for deployed in now.scaling}
    wanted = replace(now.divided(traffic), aliases=now.aliases | {PROMOTED_ALIAS: version})
    if state is not None and wanted == now:
        return state
    return _next(state, stamp, "promote", _moved_text(now, wanted), wanted)


def rollback(state: ModelState | None, stamp: Stamp, *, past: Past, to: int | None = None) -> ModelState:
    """Take back the newest move that still holds, or all since revision `to`; see the module on what that means.

    Aliases and traffic are as they were then, but versions deployed since keep weight 0, and traffic stays as it
    is when then nothing had any. Without `to` it is recorded even if nothing differs, so that the next one goes
    further back. Looks at one past state for each deployment it steps over, and at the one it restores.

    Raises Refused when no move is left, or when traffic or an alias would return to a version that was deployed
    then and is not now; InvalidInput or NotFound for a `to` that is no revision.
    """
    if state is None:
        raise Refused(f"nothing was moved of {stamp.model!r} yet, so there is nothing to roll back")
    undoes = _newest_standing(state, past) if to is None else _revision(to, state) + 1
    now, then = _Wanted.of(state), _Wanted.of(past(undoes - 1) if undoes > 1 else None)
    returning = {version for version, weight in then.traffic.items() if weight} | {
        version
        for alias, version in then.aliases.items()
        if version != now.aliases.get(alias) and version in then.scaling
    }
    for version in sorted(returning - now.scaling.keys()):
        raise Refused(
            f"{stamp.model!r} cannot go back to revision {undoes - 1}: that used version {version}, which is no"
            f" longer deployed; first `raymaas deploy {stamp.model}@{version}` ({_deployed_text(now)})"
        )
    divided = any(then.traffic.values())
    wanted = replace(now, aliases=then.aliases)
    if divided:
        traffic = {version: then.traffic.get(version, 0) for version in now.scaling}
        # Where weights stay as they are, nobody is to see another version.
        layout = now.layout if traffic == now.traffic else then.layout
        wanted = replace(wanted, traffic=traffic, layout=layout, sticky=then.sticky)
        # An emergency does not wait for who only gets copies.
        kept = then.shadow is not None and then.shadow.version in now.scaling
        wanted = replace(wanted, shadow=then.shadow if kept else None)
        wanted = replace(wanted, fallback=then.fallback if then.fallback in now.scaling else None)
    if to is not None and wanted == now:
        return state
    which = f"undoes {undoes}" if to is None else f"as of {to}"
    return _next(state, stamp, "rollback", f"{which}: {_moved_text(now, wanted)}", wanted, undoes=undoes)


def _newest_standing(state: ModelState, past: Past) -> int:
    """The revision of the newest move of aliases or traffic that no rollback has undone."""
    seen = state
    while seen.change.action not in ("alias", "traffic", "promote"):
        older = (seen.change.undoes or seen.revision) - 1
        if older == 0:
            raise Refused(
                f"no move of the aliases or traffic of {state.model!r} is left to roll back;"
                f" `raymaas models history {state.model}` shows what was moved"
            )
        seen = past(older)
    return seen.revision


def _revision(to: int, state: ModelState) -> int:
    if to < 1:
        raise InvalidInput(f"a revision is 1 or more, got {to}")
    if to > state.revision:
        raise NotFound(f"revision {to} of {state.model!r} does not exist; latest is {state.revision}")
    return to


@dataclass(frozen=True)
class _Wanted:
    """The part of a state that moves change."""

    aliases: dict[str, int]
    traffic: dict[int, int]
    scaling: dict[int, Scaling]
    layout: Layout
    sticky: str | None
    shadow: Shadow | None
    fallback: int | None = None

    @classmethod
    def of(cls, state: ModelState | None) -> _Wanted:
        if state is None:
            return cls({}, {}, {}, (), None, None)
        return cls(
            state.aliases,
            state.traffic,
            state.scaling,
            state.layout,
            state.sticky,
            state.shadow,
            state.fallback,
        )

    def divided(self, traffic: dict[int, int]) -> _Wanted:
        """With other weights, as few buckets moved as they ask for, and nobody who answers for others."""
        layout = moved(traffic, self.layout) if any(traffic.values()) else ()
        return replace(self, traffic=traffic, layout=layout, fallback=None)


def _next(
    state: ModelState | None,
    stamp: Stamp,
    action: Action,
    summary: str,
    wanted: _Wanted,
    *,
    undoes: int | None = None,
) -> ModelState:
    return ModelState(
        model=stamp.model,
        revision=state.revision + 1 if state else 1,
        write_id=stamp.write_id,
        aliases=wanted.aliases,
        traffic=wanted.traffic,
        scaling=wanted.scaling,
        sticky=wanted.sticky,
        shadow=wanted.shadow,
        fallback=wanted.fallback,
        buckets=None if wanted.layout == in_order(wanted.traffic) else wanted.layout,
        deletion=state.deletion if state else None,
        change=Change(
            action=action, summary=summary, who=stamp.who, why=stamp.why, at=stamp.at, undoes=undoes
        ),
    )


def _moved_text(old: _Wanted, new: _Wanted) -> str:
    """From what to what aliases, traffic and what goes with it went."""
    parts = [
        f"{alias}: {old.aliases.get(alias, 'none')} -> {new.aliases.get(alias, 'none')}"
        for alias in sorted(old.aliases | new.aliases)
        if old.aliases.get(alias) != new.aliases.get(alias)
    ]
    if old.traffic != new.traffic:
        parts.append(f"traffic: {_traffic_text(old.traffic)} -> {_traffic_text(new.traffic)}")
    if old.sticky != new.sticky:
        parts.append(f"sticky: {old.sticky or 'none'} -> {new.sticky or 'none'}")
    if old.shadow != new.shadow:
        parts.append(f"shadow: {_shadow_text(old.shadow)} -> {_shadow_text(new.shadow)}")
    if old.fallback != new.fallback:
        parts.append(f"answers for others: {old.fallback or 'none'} -> {new.fallback or 'none'}")
    return "; ".join(parts) or "nothing differs any more"


def _shadow_text(shadow: Shadow | None) -> str:
    return f"{shadow.version} of {100 * shadow.sample:g}%" if shadow else "none"


def _scaling_text(scaling: Scaling | None) -> str:
    """What differs from the defaults, after the replicas."""
    if scaling is None:
        return "not deployed"
    low, high = scaling.min_replicas, scaling.max_replicas
    words = [f"{low}..{high} replicas" if high > low else f"{low} replica{'' if low == 1 else 's'}"]
    given = scaling.model_dump(exclude_defaults=True, exclude={"min_replicas", "max_replicas"})
    return " ".join(words + [f"{field}={value}" for field, value in given.items()])


def _traffic_text(weights: Mapping[int, int]) -> str:
    return " ".join(f"{version}={weight}%" for version, weight in sorted(weights.items())) or "none"


def _deployed_text(now: _Wanted) -> str:
    return f"deployed: {', '.join(map(str, sorted(now.scaling))) or 'none'}"

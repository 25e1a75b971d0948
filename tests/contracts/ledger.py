"""Ledger: what the documentation promises of one model's versions and moves, in plain values and with no store.

It is written from what the registry says of itself and shares no code with it. Each method either changes the
ledger or raises the error that the registry must raise, and leaves it as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from raymaas.errors import InvalidInput, NotFound, Refused

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Published:
    run_id: str
    files: Files


@dataclass(frozen=True)
class Revision:
    """What one move left. `scaling` is version to most replicas; `holding` are the moves not taken back by then."""

    action: str
    aliases: Mapping[str, int] = field(default_factory=dict)
    traffic: Mapping[int, int] = field(default_factory=dict)
    scaling: Mapping[int, int] = field(default_factory=dict)
    undoes: int | None = None
    deletion: int | None = None
    holding: tuple[int, ...] = ()

    @property
    def shown(self) -> tuple[object, ...]:
        """What the registry's own history shows of it."""
        return (
            self.action,
            dict(self.aliases),
            dict(self.traffic),
            dict(self.scaling),
            self.undoes,
            self.deletion,
        )


_NOTHING = Revision("nothing")


@dataclass
class Ledger:
    """Of one model. `versions[n - 1]` is version n; `tombstones` says when each deleted one was deleted."""

    versions: list[Published] = field(default_factory=list)
    history: list[Revision] = field(default_factory=list)
    tombstones: dict[int, datetime] = field(default_factory=dict)
    deletion_at: datetime | None = None

    def copy(self) -> Ledger:
        return Ledger([*self.versions], [*self.history], {**self.tombstones}, self.deletion_at)

    @property
    def now(self) -> Revision:
        return self.history[-1] if self.history else _NOTHING

    @property
    def kept(self) -> list[int]:
        """Newest first."""
        return [n for n in range(len(self.versions), 0, -1) if n not in self.tombstones]

    @property
    def deletion_is_pending(self) -> bool:
        """The state names a deletion of which the tombstone is missing."""
        return self.now.deletion is not None and self.now.deletion not in self.tombstones

    def resolve(self, alias: str | None = None) -> int:
        """What the bare model means, or an alias of it."""
        if alias is not None:
            if alias not in self.now.aliases:
                raise NotFound(alias)
            return self.now.aliases[alias]
        if any(self.now.traffic.values()):
            return max((weight, version) for version, weight in self.now.traffic.items())[1]
        if not self.kept:
            raise NotFound("no version")
        return self.kept[0]

    def publish(self, run_id: str, files: Files) -> int:
        """A run has one version, whatever it brings the next time and whether it was deleted since."""
        for number, published in enumerate(self.versions, start=1):
            if published.run_id == run_id:
                return number
        self.versions.append(Published(run_id, files))
        return len(self.versions)

    def deploy(self, version: int, replicas: int | None) -> None:
        now = self.now
        wanted = replicas or now.scaling.get(version, 1)
        if now.scaling.get(version) == wanted:
            return
        traffic = dict(now.traffic)
        if version not in now.scaling:
            traffic[version] = 0 if any(traffic.values()) else 100
        self._move("deploy", traffic=traffic, scaling={**now.scaling, version: wanted})

    def undeploy(self, version: int, *, force: bool) -> None:
        now = self.now
        if version not in now.scaling:
            raise NotFound("not deployed")
        used = bool(now.traffic[version]) or version in now.aliases.values()
        if used and not (force and len(now.scaling) == 1):
            raise Refused("in use")
        self._move("undeploy", traffic=_without(now.traffic, version), scaling=_without(now.scaling, version))

    def alias(self, alias: str, version: int) -> None:
        if self.now.aliases.get(alias) != version:
            self._move("alias", aliases={**self.now.aliases, alias: version})

    def traffic(self, weights: Mapping[int, int]) -> None:
        if sum(weights.values()) != 100:
            raise InvalidInput("not 100")
        if any(version not in self.now.scaling for version in weights):
            raise Refused("not deployed")
        traffic = {version: weights.get(version, 0) for version in self.now.scaling}
        if traffic != self.now.traffic:
            self._move("traffic", traffic=traffic)

    def promote(self, version: int) -> None:
        now = self.now
        if version not in now.scaling:
            raise Refused("not deployed")
        traffic = {deployed: 100 if deployed == version else 0 for deployed in now.scaling}
        if (now.aliases.get("prod"), now.traffic) != (version, traffic):
            self._move("promote", aliases={**now.aliases, "prod": version}, traffic=traffic)

    def rollback(self, to: int | None = None) -> None:
        if not self.history:
            raise Refused("nothing was moved")
        if to is None:
            if not self.now.holding:
                raise Refused("nothing left")
            undoes = self.now.holding[-1]
        elif to > len(self.history):
            raise NotFound("no such revision")
        else:
            undoes = to + 1
        now, then = self.now, self.history[undoes - 2] if undoes > 1 else _NOTHING
        gone = set(then.scaling) - set(now.scaling)
        if any(then.traffic[version] for version in gone) or any(
            version in gone and now.aliases.get(alias) != version for alias, version in then.aliases.items()
        ):
            raise Refused("no longer deployed")
        traffic = dict(now.traffic)
        if any(then.traffic.values()):
            traffic = {version: then.traffic.get(version, 0) for version in now.scaling}
        if to is not None and (traffic, then.aliases) == (now.traffic, now.aliases):
            return
        self._move("rollback", aliases=then.aliases, traffic=traffic, undoes=undoes, holding=then.holding)

    def delete(self, version: int, at: datetime) -> None:
        self.decide_deletion(version, at)
        self.bury()

    def decide_deletion(self, version: int, at: datetime) -> None:
        """The first half of a deletion: from here on it is certain, and no move may name the version."""
        self.bury()
        repeated = self.now.deletion == version
        if not repeated and version not in self.kept:
            raise NotFound("no such version")
        if version in self.now.scaling or version in self.now.aliases.values():
            raise Refused("in use")
        if not repeated:
            self._move("delete", deletion=version)
            self.deletion_at = at

    def bury(self) -> None:
        """The second half of the newest deletion."""
        if self.deletion_is_pending:
            assert self.now.deletion is not None
            assert self.deletion_at is not None
            self.tombstones[self.now.deletion] = self.deletion_at

    def _move(self, action: str, **changes: object) -> None:
        after: Revision = replace(self.now, action=action, undoes=None)
        after = replace(after, **changes)  # type: ignore[arg-type]
        named = {*after.scaling, *after.aliases.values()} - {*self.now.scaling, *self.now.aliases.values()}
        if any(version not in self.kept or version == self.now.deletion for version in named):
            raise NotFound("no such version")
        if action in ("alias", "traffic", "promote"):
            after = replace(after, holding=(*self.now.holding, len(self.history) + 1))
        self.history.append(after)


def _without(values: Mapping[int, int], version: int) -> dict[int, int]:
    return {known: value for known, value in values.items() if known != version}

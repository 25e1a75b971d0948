"""Routes: the slot of each version and the version of each of 100 traffic buckets, as ONE map file.

A line of the map is `<key> <slot>/<version>`, and a request looks up exactly one key:

    digits#7    the bucket a request without a version fell in, 0 to 99
    digits/3    version 3, pinned
    digits/prod the version an alias points at

Names hold neither `#` nor `/` and no alias is a number, so keys cannot collide. Nothing here acts: `plan`
takes the table and the routes so far, and gives the routes to be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from raymaas.errors import IntegrityError, InvalidInput, Refused
from raymaas.serve.edge.config import BUCKETS, slot_name
from raymaas.specs.serving import EdgeTable

Target = tuple[str, int]


@dataclass(frozen=True)
class Routes:
    """What the edge routes: `slots` by (model, version), `buckets` by model, `aliases` by model."""

    slots: Mapping[Target, int] = field(default_factory=dict)
    buckets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    aliases: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def entries(self) -> dict[str, str]:
        """Key to value of every line of the map."""
        keys = {f"{model}/{version}": (model, version) for model, version in self.slots}
        for model, versions in self.buckets.items():
            keys |= {f"{model}#{bucket}": (model, version) for bucket, version in enumerate(versions)}
        for model, aliases in self.aliases.items():
            keys |= {f"{model}/{alias}": (model, version) for alias, version in aliases.items()}
        return {key: f"{slot_name(self.slots[target])}/{target[1]}" for key, target in sorted(keys.items())}

    def to_map(self) -> str:
        return "".join(f"{key} {value}\n" for key, value in self.entries().items())

    @classmethod
    def from_map(cls, text: str) -> Routes:
        """The routes `to_map` wrote as `text`. Raises IntegrityError naming the line it cannot read."""
        slots: dict[Target, int] = {}
        buckets: dict[str, dict[int, int]] = {}
        aliases: dict[str, dict[str, int]] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                key, value = line.split(" ")
                slot_text, version_text = value.split("/")
                slot, version = int(slot_text.removeprefix("slot")), int(version_text)
                model, hash_, bucket = key.partition("#")
                if hash_:
                    buckets.setdefault(model, {})[int(bucket)] = version
                    continue
                model, pointer = key.split("/")
            except ValueError:
                raise IntegrityError(f"line {number} of the edge's map is not a route: {line!r}") from None
            if pointer.isdigit():
                slots[model, version] = slot
            else:
                aliases.setdefault(model, {})[pointer] = version
        routes = cls(slots, {m: tuple(b[i] for i in sorted(b)) for m, b in buckets.items()}, aliases)
        pointed = [(m, v) for m, vs in routes.buckets.items() for v in vs]
        pointed += [(m, v) for m, named in aliases.items() for v in named.values()]
        complete = all(len(versions) == BUCKETS for versions in routes.buckets.values())
        if not complete or not slots.keys() >= set(pointed):
            raise IntegrityError(
                "the edge's map is cut short: it lacks buckets, or versions that it points at"
            )
        return routes


def slots_for(table: EdgeTable, *, have: int, at_most: int) -> int:
    """How many slots hold every target: `have`, doubled as often as needed.

    Raises Refused when that is more than `at_most`.
    """
    wanted = len(_targets(table))
    if wanted > at_most:
        raise Refused(
            f"{wanted} versions are deployed and an edge serves {at_most}; undeploy some, or raise max_slots"
        )
    while have < wanted:
        have *= 2
    return min(have, at_most)


def plan(table: EdgeTable, current: Routes, *, slots: int) -> Routes:
    """The routes that `table` asks for, changing as little of `current` as it can.

    A version keeps its slot, and a slot that was free already is given out first. A model's buckets follow
    its weights exactly, and no more buckets change version than the weights demand. The share of a version
    that is not among the targets goes to those that are, in proportion. A model or alias without a live
    version has no route.

    Raises InvalidInput for a target with another path prefix than the edge writes, and Refused when the
    slots do not suffice.
    """
    targets = _targets(table)
    assigned = _assign(targets, current.slots, slots=slots)
    buckets = {}
    for model, weights in sorted(table.traffic.items()):
        live = {v: weight for v, weight in weights.items() if weight > 0 and (model, v) in assigned}
        if live:
            buckets[model] = fill_buckets(share_out(live), current.buckets.get(model, ()))
    aliases = {
        model: {alias: version for alias, version in named.items() if (model, version) in assigned}
        for model, named in sorted(table.aliases.items())
    }
    return Routes(assigned, buckets, {model: named for model, named in aliases.items() if named})


def share_out(weights: Mapping[int, int]) -> dict[int, int]:
    """Positive weights as whole buckets: unchanged if they sum to 100, else by largest remainder."""
    total = sum(weights.values())
    shares = {version: weight * BUCKETS // total for version, weight in weights.items()}
    left = BUCKETS - sum(shares.values())
    by_remainder = sorted(weights, key=lambda version: (-(weights[version] * BUCKETS % total), version))
    return {version: shares[version] + (version in by_remainder[:left]) for version in weights}


def fill_buckets(counts: Mapping[int, int], current: tuple[int, ...]) -> tuple[int, ...]:
    """100 versions, each as often as `counts` says; a bucket keeps its version while that has any left."""
    left = Counter(counts)
    kept: list[int | None] = [None] * BUCKETS
    for bucket, version in enumerate(current):
        if left[version] > 0:
            kept[bucket] = version
            left[version] -= 1
    spare = (version for version in sorted(left) for _ in range(left[version]))
    return tuple(next(spare) if version is None else version for version in kept)


def _targets(table: EdgeTable) -> list[Target]:
    for target in table.targets:
        expected = f"/models/{target.model}/{target.version}"
        if target.path_prefix != expected:
            raise InvalidInput(
                f"{target.model}@{target.version} is served at {target.path_prefix!r} and the edge routes to "
                f"{expected!r}; start its application with that route prefix"
            )
    return sorted({(target.model, target.version) for target in table.targets})


def _assign(targets: list[Target], current: Mapping[Target, int], *, slots: int) -> dict[Target, int]:
    kept = {target: current[target] for target in targets if target in current and current[target] < slots}
    # A slot that is being freed may still be answering; it comes last.
    in_use = set(current.values())
    free = sorted(set(range(slots)) - set(kept.values()), key=lambda slot: (slot in in_use, slot))
    new = [target for target in targets if target not in kept]
    if len(new) > len(free):
        raise Refused(f"{len(targets)} versions are deployed and this edge has {slots} slots; undeploy some")
    return kept | dict(zip(new, free, strict=False))

"""Routes: the slot of each version and the version of each of 100 traffic buckets, as ONE map file.

A line of the map is `<key> <slot>/<version>`, and a request is sent where one line says:

    digits#7    the bucket a request without a version fell in, 0 to 99
    digits/3    version 3, pinned
    digits/prod the version an alias points at

The line of a bucket may go on with `/<header>`, where the model knows its callers by that header: who sends it is
looked up again, under the bucket of its own. And any line with `/<header or nothing>/<version>:<of 10,000>`, where so
many infer requests are marked to be copied to another version; 0:0 says to none. That of a bucket may end with
`/<version>`, the one that answers where this one fails. Names hold neither `#` nor `/` and no alias is a number, so
keys cannot collide. Nothing here acts: `plan` takes the table and the routes so far, and gives the routes to
be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from raymaas.errors import IntegrityError, InvalidInput, Refused
from raymaas.serve.edge.config import slot_name
from raymaas.specs.buckets import BUCKETS, Layout, among, in_order
from raymaas.specs.serving import EdgeTable

Target = tuple[str, int]

_NOT_COPIED = "0:0"


@dataclass(frozen=True)
class Routes:
    """What the edge routes: `slots` by (model, version), and by model `buckets`, `aliases`, the `sticky` header, the
    version that `shadows`, with how many of 10,000 requests, and the one that answers for others."""

    slots: Mapping[Target, int] = field(default_factory=dict)
    buckets: Mapping[str, Layout] = field(default_factory=dict)
    aliases: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    sticky: Mapping[str, str] = field(default_factory=dict)
    shadows: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    fallbacks: Mapping[str, int] = field(default_factory=dict)

    def entries(self) -> dict[str, str]:
        """Key to value of every line of the map."""
        lines = {f"{model}/{version}": self._value(model, version) for model, version in self.slots}
        for model, versions in self.buckets.items():
            known_by = self.sticky.get(model, "")
            for bucket, version in enumerate(versions):
                fallback = self.fallbacks.get(model, version)
                lines[f"{model}#{bucket}"] = self._value(model, version, known_by, fallback=fallback)
        for model, aliases in self.aliases.items():
            lines |= {f"{model}/{alias}": self._value(model, version) for alias, version in aliases.items()}
        return dict(sorted(lines.items()))

    def _value(self, model: str, version: int, known_by: str = "", *, fallback: int | None = None) -> str:
        value = f"{slot_name(self.slots[model, version])}/{version}"
        shadow, of_10000 = self.shadows.get(model, (version, 0))
        if fallback not in (None, version):
            copied = f"{shadow}:{of_10000}" if shadow != version else _NOT_COPIED
            return f"{value}/{known_by}/{copied}/{fallback}"
        if shadow != version:
            return f"{value}/{known_by}/{shadow}:{of_10000}"
        return f"{value}/{known_by}" if known_by else value

    def to_map(self) -> str:
        return "".join(f"{key} {value}\n" for key, value in self.entries().items())

    @classmethod
    def from_map(cls, text: str) -> Routes:
        """The routes `to_map` wrote as `text`. Raises IntegrityError naming the line it cannot read."""
        slots: dict[Target, int] = {}
        buckets: dict[str, dict[int, int]] = {}
        aliases: dict[str, dict[str, int]] = {}
        sticky: dict[str, str] = {}
        shadows: dict[str, tuple[int, int]] = {}
        fallbacks: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                key, value = line.split(" ")
                slot_text, version_text, *more = value.split("/")
                slot, version = int(slot_text.removeprefix("slot")), int(version_text)
                model, hash_, bucket = key.partition("#")
                pointer = ""
                if not hash_:
                    model, pointer = key.split("/")
                if more[:1] not in ([], [""]):
                    sticky[model] = more[0]
                if more[1:] and more[1] != _NOT_COPIED:
                    shadow, of_10000 = more[1].split(":")
                    shadows[model] = int(shadow), int(of_10000)
                if more[2:]:
                    fallbacks[model] = int(more[2])
                if hash_:
                    buckets.setdefault(model, {})[int(bucket)] = version
                    continue
            except ValueError:
                raise IntegrityError(f"line {number} of the edge's map is not a route: {line!r}") from None
            if pointer.isdigit():
                slots[model, version] = slot
            else:
                aliases.setdefault(model, {})[pointer] = version
        routes = cls(
            slots,
            {m: tuple(b[i] for i in sorted(b)) for m, b in buckets.items()},
            aliases,
            sticky,
            shadows,
            fallbacks,
        )
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

    A version keeps its slot, and a slot that was free already is given out first. A model's buckets are as the
    table lays them out, whatever they were; those of a version that is not among the targets go to those that
    are. A model or alias without a live version has no route.

    Raises InvalidInput for a target with another path prefix than the edge writes, and Refused when the
    slots do not suffice.
    """
    targets = _targets(table)
    assigned = _assign(targets, current.slots, slots=slots)
    buckets = {}
    for model, weights in sorted(table.traffic.items()):
        layout = table.buckets.get(model) or in_order(weights)
        if live := among(layout, [version for version in layout if (model, version) in assigned]):
            buckets[model] = live
    aliases = {
        model: {alias: version for alias, version in named.items() if (model, version) in assigned}
        for model, named in sorted(table.aliases.items())
    }
    sticky = {model: name for model, name in sorted(table.sticky.items()) if model in buckets}
    shadows = {
        model: (shadow.version, round(shadow.sample * 10_000))
        for model, shadow in sorted(table.shadows.items())
        if (model, shadow.version) in assigned
    }
    fallbacks = {
        model: version
        for model, version in sorted(table.fallbacks.items())
        if set(buckets.get(model, ())) - {version} and (model, version) in assigned
    }
    named_aliases = {m: named for m, named in aliases.items() if named}
    return Routes(assigned, buckets, named_aliases, sticky, shadows, fallbacks)


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

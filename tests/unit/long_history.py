"""A registry with a past of any length, and what each of its operations asks of the store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from registry_examples import FILES, WatchedStore, draft

from raymaas.registry.layout import state_key, version_key
from raymaas.registry.moves import deploy, promote
from raymaas.registry.resolve import resolve
from raymaas.registry.states import States
from raymaas.registry.versions import Versions
from raymaas.specs.names import Reference
from raymaas.store import LocalStore, Store

NEW_FILES = {name: b"new " + data for name, data in FILES.items()}


def age(store: Store, count: int) -> None:
    """Make `digits` have `count` versions and as many moves, of which all but the first and last are empty files."""
    first = Versions(store).publish(draft("run-1"), FILES)
    state = States(store).move("digits", partial(deploy, version=1), who="ana")
    between = [
        key(n)
        for n in range(2, count)
        for key in (partial(version_key, "digits"), partial(state_key, "digits"))
    ]
    if isinstance(store, LocalStore):
        # Without the syncs of a real creation: there may be 200,000.
        for folder in {(store.root / key).parent for key in between}:
            folder.mkdir(exist_ok=True)
        for key in between:
            os.mknod(store.root / key)
    else:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda key: store.create(key, b""), between))
    newest = first.model_copy(update={"version": count, "run_id": f"run-{count}"})
    store.create(version_key("digits", count), newest.seal())
    store.create(state_key("digits", count), state.model_copy(update={"revision": count}).seal())


@dataclass(frozen=True)
class Cost:
    """The store's calls, sorted, and the milliseconds they took."""

    calls: tuple[str, ...]
    milliseconds: float


def costs(store: Store, count: int) -> dict[str, Cost]:
    """What each operation costs on a store that was aged to `count`, and checks that it does what it should."""
    found: dict[str, Cost] = {}

    def measured(what: str, act: Callable[[Any], object]) -> object:
        watched = WatchedStore(store)
        began = time.perf_counter()
        result = act(watched)
        found[what] = Cost(tuple(sorted(watched.calls)), (time.perf_counter() - began) * 1e3)
        return result

    newest = measured("newest", lambda s: Versions(s).newest("digits").version)
    given = measured("get", lambda s: Versions(s).get("digits", count).version)
    page = measured("first page", lambda s: [v.version for v in Versions(s).list("digits", limit=1)])
    assert (newest, given, page) == (count, count, [count])
    target = measured("resolve", lambda s: resolve(Reference.parse("digits"), Versions(s), States(s)))
    assert target in (1, count)  # The version that was promoted last.
    made = measured("publish", lambda s: Versions(s).publish(draft(f"another-{count}"), NEW_FILES).version)
    assert made == count + 1
    for what, step in (("deploy", deploy), ("promote", promote)):
        measured(
            what, lambda s, step=step: States(s).move("digits", partial(step, version=count + 1), who="ana")
        )
    return found

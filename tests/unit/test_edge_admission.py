"""The keys map: which line a key has, and that an edge without one lets nobody in."""

from __future__ import annotations

from typing import Any

from raymaas.serve.edge.admission import admission_entries, to_map
from raymaas.specs.keys import EdgeKey, RateLimit
from raymaas.specs.serving import EdgeTable, EdgeTarget


def key(number: int, **changes: Any) -> EdgeKey:
    return EdgeKey(
        **{"name": f"caller{number}", "key_id": f"{number:08x}", "sha256": f"{number:064x}"} | changes
    )


def table(*keys: EdgeKey) -> EdgeTable:
    targets = tuple(
        EdgeTarget(model=model, version=version, path_prefix=f"/models/{model}/{version}")
        for model, version in (("digits", 1), ("digits", 2), ("churn", 1))
    )
    return EdgeTable(revision="r", proxies=(), targets=targets, keys=keys)


def test_without_keys_only_loopback_is_open() -> None:
    assert admission_entries(table(), on_loopback=True) == {"open": "yes"}
    assert admission_entries(table(), on_loopback=False) == {}


def test_all_that_is_asked_of_a_key_is_in_its_line() -> None:
    limited = key(2, scopes=("predict", "admin"), limit=RateLimit(requests_per_s=20, burst=5))
    entries = admission_entries(table(key(1), limited), on_loopback=True)
    assert entries == {
        f"{1:064x}": "00000001/caller1/p/0/0/any",
        f"{2:064x}": "00000002/caller2/pa/50000/200000/any",
    }
    assert to_map(entries).splitlines()[0] == f"{1:064x} 00000001/caller1/p/0/0/any"


def test_a_key_for_some_models_has_a_line_for_each_that_is_served() -> None:
    entries = admission_entries(table(key(1, models=("dig*", "gone"))), on_loopback=False)
    assert entries.pop(f"{1:064x}").endswith("/some")
    assert entries == {"00000001:digits": "yes"}

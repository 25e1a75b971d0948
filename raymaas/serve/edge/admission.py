"""Admission: who may ask what, and how often, as lines of the keys map and the rules of HAProxy that read them.

A line of the map is one of

    open yes                         nobody needs a key
    <sha256> <id>/<name>/<scopes>/<interval us>/<tolerance us>/<any|some>
    <id>:<model> yes                 a key for `some` models may ask this one

All that is asked of a key is in one line, so a request sees all of a change to it or nothing. A map without lines lets
nobody in.

Rates follow the generic cell rate algorithm (ITU-T I.371): of each key an edge remembers one number, when its bucket
will be full again. Edges do not know of each other's, and forget when HAProxy is replaced.
"""

from __future__ import annotations

from raymaas.serve.edge.refusals import refuse, refuse_for
from raymaas.serve.edge.rundir import KEYS_MAP_NAME
from raymaas.specs.keys import EdgeKey
from raymaas.specs.serving import EdgeTable

KEY_HEADER = "x-raymaas-key"

_OPEN = "open"
# The number is kept in 32 bits of microseconds, which come round every 71 minutes: a bucket that takes longer than
# half of that to fill could not be told from a full one. RateLimit refuses those.
_WRAP = 2**32
_TABLE = "limits"
_FORGOTTEN_AFTER = "40m"
_KEYS_WITH_LIMITS = 100_000


def admission_entries(table: EdgeTable, *, on_loopback: bool) -> dict[str, str]:
    """Key to value of every line of the map. Without keys only an edge `on_loopback` is open."""
    if not table.keys:
        return {_OPEN: "yes"} if on_loopback else {}
    models = sorted({target.model for target in table.targets})
    entries = {key.sha256: _described(key) for key in table.keys}
    return entries | {
        f"{key.key_id}:{model}": "yes"
        for key in table.keys
        if key.models
        for model in models
        if key.may_ask(model)
    }


def to_map(entries: dict[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in entries.items())


def _described(key: EdgeKey) -> str:
    scopes = "".join(scope[0] for scope in key.scopes)
    interval_us = max(1, round(1e6 / key.limit.requests_per_s)) if key.limit else 0
    tolerance_us = interval_us * (key.limit.burst - 1) if key.limit else 0
    fields = (key.key_id, key.name, scopes, interval_us, tolerance_us, "some" if key.models else "any")
    return "/".join(map(str, fields))


def admission_rules() -> str:
    """For the frontend: sets txn.caller, a line of the map, or refuses. `api` must be declared.

    Requests for health pass without a key.
    """
    looked_up = f"sha2(256),hex,lower,map_str({KEYS_MAP_NAME})"
    unknown = (
        "send a live API key, as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'; `raymaas keys create` makes one."
        " Without any keys an edge answers on loopback only"
    )
    cannot_predict = "this key has no scope predict, which asking models needs; use another key"
    cannot_change = "this key has no scope admin, which the control plane needs; use another key"
    over = "this key is over its rate limit at this edge; send the request again after the seconds in Retry-After"
    return _lines(
        f"acl open str({_OPEN}),map_str({KEYS_MAP_NAME}) -m found",
        "acl health path /v2/health/live /v2/health/ready",
        "acl data path /v2",
        "acl data path_beg /v2/",
        # What came of an answer is told by who asked.
        "acl data path_reg ^/api/v1/(models/[^/]+/)?feedback$",
        "acl bearer req.fhdr(authorization,-1),word(1,' ') -m str -i bearer",
        "http-request set-var(txn.given) req.fhdr(x-api-key,-1)",
        "http-request set-var(txn.given) req.fhdr(authorization,-1),word(2,' ') if bearer",
        f"http-request set-var(txn.caller) var(txn.given),{looked_up} if !open",
        "http-request unset-var(txn.given)",
        "acl known var(txn.caller) -m found",
        "acl predicts var(txn.caller),field(3,/) -m sub p",
        "acl administers var(txn.caller),field(3,/) -m sub a",
        *refuse(401, unknown, "!open !known !health", header="WWW-Authenticate 'Bearer realm=\"raymaas\"'"),
        *refuse(403, cannot_predict, "known data !health !predicts"),
        *refuse(403, cannot_change, "known !data !administers"),
        "http-request set-var(txn.interval_us) var(txn.caller),field(4,/)"
        " if known !{ var(txn.caller),field(4,/) -m str 0 }",
        "acl limited var(txn.interval_us) -m found",
        "http-request set-var(txn.tolerance_us) var(txn.caller),field(5,/) if limited",
        f"http-request track-sc0 var(txn.caller),field(1,/) table {_TABLE} if limited",
        f"http-request set-var(txn.now_us) date(0,us),mod({_WRAP}) if limited",
        # How long until the bucket is full. What says longer than it ever takes is a moment that is over.
        "http-request set-var(txn.full_us) var(txn.tolerance_us),add(txn.interval_us) if limited",
        f"http-request set-var(txn.ahead_us) sc_get_gpt0(0),sub(txn.now_us),add({_WRAP}),mod({_WRAP})"
        " if limited { sc_get_gpt0(0) gt 0 }",
        "http-request set-var(txn.ahead_us) int(0) if limited !{ var(txn.ahead_us) -m found }",
        "http-request set-var(txn.ahead_us) int(0) if limited { var(txn.full_us),sub(txn.ahead_us) lt 0 }",
        "http-request set-var(txn.over_us) var(txn.ahead_us),sub(txn.tolerance_us) if limited",
        "http-request set-var(txn.wait_s) var(txn.over_us),add(999999),div(1000000) if limited",
        *refuse_for("txn.wait_s", over, "limited { var(txn.over_us) -m int gt 0 }"),
        f"http-request sc-set-gpt0(0) var(txn.now_us),add(txn.ahead_us),add(txn.interval_us),mod({_WRAP})"
        " if limited",
    )


def model_rules() -> str:
    """For the frontend, after `routed` is declared and txn.model set: the models that a key is not for."""
    return _lines(
        "acl narrowed var(txn.caller),field(6,/) -m str some",
        f"acl granted var(txn.grant),map_str({KEYS_MAP_NAME}) -m found",
        "http-request set-var-fmt(txn.grant) '%[var(txn.caller),field(1,/)]:%[var(txn.model)]' if routed narrowed",
        *refuse(403, "this key is not for this model; use another key", "routed narrowed !granted"),
    )


def limits_backend() -> str:
    """Where the rules keep their numbers."""
    return f"""\
backend {_TABLE}
    stick-table type string len 32 size {_KEYS_WITH_LIMITS} expire {_FORGOTTEN_AFTER} store gpt0
"""


def _lines(*rules: str) -> str:
    return "".join(f"    {rule.strip()}\n" for rule in rules)

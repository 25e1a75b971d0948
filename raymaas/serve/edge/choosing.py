"""Choosing: the rules of HAProxy that find the version a request is for, and send it to that version's slot.

A path that names a version or an alias comes before the header x-raymaas-version, and that before the traffic. There,
chance chooses one of 100 buckets, unless the line that it meets says that the model knows its callers by a header: then
a hash of model and value chooses, so that it is not always the same callers who see new versions first. A line may also
ask for some infer requests to be marked with the version that is to get a copy of them, and for those that were not
pinned with the version that answers where this one fails.
"""

from __future__ import annotations

from collections.abc import Sequence

from raymaas.serve.edge.admission import model_rules
from raymaas.serve.edge.refusals import data_body, quoted
from raymaas.serve.edge.rundir import MAP_NAME
from raymaas.specs.buckets import BUCKETS

VERSION_HEADER = "x-raymaas-version"
SHADOW_HEADER = "x-raymaas-shadow"
FALLBACK_HEADER = "x-raymaas-fallback"
FELL_BACK_HEADER = "x-raymaas-fell-back"

_SERVE_PATH = (
    "/models/%[var(txn.model)]/%[var(txn.version)]/v2/models/%[var(txn.model)]/versions/%[var(txn.version)]"
)
_UNREADABLE = f"{VERSION_HEADER} is neither a version's number, such as 3, nor an alias, such as prod"


def remember_version_header() -> str:
    """For the frontend, before callers' headers of our names are deleted."""
    return f"    http-request set-var(txn.asked) req.fhdr({VERSION_HEADER},-1)\n"


def choice_rules(sticky: Sequence[str]) -> str:
    """For the frontend, after admission: sets txn.route, a value of the map, and rewrites the path by it.

    `sticky` are the names of headers by which models may know their callers. Without any, no rule is about that.
    """
    of_version = "/v2/models/%[var(txn.model)]/versions/%[var(txn.asked)]"
    return _lines(
        "acl models path_beg /v2/models/",
        "acl pinned path,field(5,/) -m str versions",
        "acl asked var(txn.asked) -m found",
        "acl readable var(txn.asked) -m reg ^[a-z0-9][a-z0-9._-]{0,62}$",
        f"http-request return status 400 {data_body(_UNREADABLE)} if asked models !pinned !readable",
        "http-request set-var(txn.model) path,field(4,/) if models",
        f"http-request set-var-fmt(txn.key) {quoted(f'%[var(txn.model)]#%[rand({BUCKETS})]')}"
        " if models !pinned !asked",
        f"http-request set-var-fmt(txn.key) {quoted('%[var(txn.model)]/%[var(txn.asked)]')}"
        " if asked models !pinned",
        f"http-request set-var-fmt(txn.key) {quoted('%[var(txn.model)]/%[path,field(6,/)]')} if models pinned",
        "http-request set-var(txn.rest) path,field(5,/,0) if models !pinned",
        "http-request set-var(txn.rest) path,field(7,/,0) if models pinned",
        f"http-request set-var(txn.route) var(txn.key),map_str({MAP_NAME})",
        *(_sticky_rules(sticky) if sticky else ()),
        "http-request set-var(txn.version) var(txn.route),field(2,/)",
        "acl routed var(txn.route) -m found",
        "acl shadowed var(txn.route),field(4,/) -m found",
        "http-request set-var(txn.of_10000) var(txn.route),field(4,/),field(2,:)"
        " if shadowed { var(txn.rest) -m str infer }",
        f"http-request set-header {SHADOW_HEADER} %[var(txn.route),field(4,/),field(1,:)]"
        " if { var(txn.of_10000) -m found } { rand(10000),sub(txn.of_10000) lt 0 }",
        # Only the lines of buckets have it: who pins a version means that one.
        f"http-request set-header {FALLBACK_HEADER} %[var(txn.route),field(5,/)]"
        " if { var(txn.route),field(5,/) -m found } { var(txn.rest) -m str infer }",
        *model_rules().splitlines(),
        # What answers for a version that is not served is to see it in the path; which is pinned from then on.
        f"http-request set-path {of_version}/%[var(txn.rest)] if asked models !pinned !routed"
        " { var(txn.rest) -m found }",
        f"http-request set-path {of_version} if asked models !pinned !routed",
        f"http-request set-path {_SERVE_PATH} if routed",
        "http-request set-path %[path]/%[var(txn.rest)] if routed { var(txn.rest) -m found }",
    )


def _sticky_rules(names: Sequence[str]) -> list[str]:
    """Where the line of a bucket names a header, and the request has it: a second look, for the caller's own bucket."""
    of_caller = quoted("%[var(txn.model)]#%[var(txn.bucket)]")
    read = [
        f"http-request set-var(txn.caller_value) req.fhdr({name},-1) if {{ var(txn.known_by) -m str {name} }}"
        for name in names
    ]
    return [
        "http-request set-var(txn.known_by) var(txn.route),field(3,/)",
        *read,
        "acl known_caller var(txn.caller_value) -m len gt 0",
        "http-request set-var(txn.bucket) var(txn.model),concat(/,txn.caller_value),xxh32,"
        f"mod({BUCKETS}) if known_caller",
        f"http-request set-var-fmt(txn.key) {of_caller} if known_caller",
        f"http-request set-var(txn.route) var(txn.key),map_str({MAP_NAME}) if known_caller",
    ]


def _lines(*rules: str) -> str:
    return "".join(f"    {rule.strip()}\n" for rule in rules)

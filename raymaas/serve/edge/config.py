"""EdgeSettings, and the haproxy.cfg they mean: a strict HTTP/1.1 front proxy that routes by a single map."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence

from pydantic import Field, SecretStr, field_validator

from raymaas.serve.edge.admission import KEY_HEADER, admission_rules, limits_backend
from raymaas.serve.edge.choosing import FELL_BACK_HEADER, choice_rules, remember_version_header
from raymaas.serve.edge.refusals import api_body, data_error, quoted, refuse
from raymaas.serve.edge.rundir import SOCKET_NAME
from raymaas.specs.base import Spec, sha256_hex

EDGE_HEADER = "x-raymaas-edge"
FELL_BACK_TABLE = "fell_back"
"""The stick table that counts, by slot, how often another version answered in place of one that failed."""
_CHECK_TIMEOUT_S = 2.0
_MOST_SLOTS = 4096

# A refused connection or one check that is refused takes a replica out; a slow one has three checks' time. It comes
# back with its first good check.
REPLICA = "check inter 500ms fastinter 100ms fall 3 rise 1 observe layer4 error-limit 1 on-error mark-down"
PROXY = "backup"


class EdgeSettings(Spec):
    """What an edge listens on, where the control plane is, and its limits. A change needs a reload."""

    bind_host: str = Field(default="127.0.0.1", description="IP address to listen on.")
    port: int = Field(default=8080, ge=1, le=65535, description="TCP port to listen on.")
    control: str = Field(description="ip:port of the control plane, which answers what no version answers.")
    secret: SecretStr = Field(description="Sent to replicas in x-raymaas-edge; they answer 401 without it.")
    max_body_bytes: int = Field(default=16 * 2**20, ge=1, description="Largest request body; beyond it 413.")
    max_header_bytes: int = Field(
        default=16 * 2**10, ge=1024, le=32 * 2**10, description="All headers of a request."
    )
    buffer_bytes: int = Field(
        64 * 2**10, ge=64 * 2**10, le=2**20, description="A request that fits can be resent."
    )
    header_timeout_s: float = Field(
        default=5.0, gt=0, description="A client must have sent its headers by then."
    )
    body_timeout_s: float = Field(default=10.0, gt=0, description="And a body, or its first buffer_bytes.")
    silence_timeout_s: float = Field(
        default=30.0, gt=0, description="A client may pause this long within a request."
    )
    keep_alive_s: float = Field(default=60.0, gt=0, description="An idle connection is kept this long.")
    connect_timeout_s: float = Field(
        default=0.25, gt=0, description="To reach a replica; or to pause before a retry."
    )
    answer_timeout_s: float = Field(default=60.0, gt=0, description="A replica has begun to answer, or 504.")
    retire_s: float = Field(default=30.0, gt=0, description="How long a replaced HAProxy may finish.")
    max_connections: int = Field(default=2000, ge=10, description="Client connections at once.")
    slots: int = Field(default=64, ge=1, le=_MOST_SLOTS, description="Versions that fit without a reload.")
    max_slots: int = Field(
        default=1024, ge=1, le=_MOST_SLOTS, description="Versions that can be served at all."
    )
    threads: int = Field(
        default_factory=lambda: max(1, (os.cpu_count() or 1) // 4),
        ge=1,
        le=64,
        description="Of HAProxy; one sends some 10,000 requests a second to replicas.",
    )
    access_log: bool = Field(default=True, description="One JSON line per request in access.log.")

    @property
    def on_loopback(self) -> bool:
        return ipaddress.ip_address(self.bind_host).is_loopback

    @field_validator("bind_host")
    @classmethod
    def _ip(cls, host: str) -> str:
        return str(ipaddress.ip_address(host))

    @field_validator("control")
    @classmethod
    def _address(cls, address: str) -> str:
        return check_address(address)

    @field_validator("secret")
    @classmethod
    def _header_safe(cls, secret: SecretStr) -> SecretStr:
        text = secret.get_secret_value()
        if not re.fullmatch(r"[A-Za-z0-9_-]{16,}", text):
            # Without the value: an error message is not a place for a secret.
            raise ValueError("the edge's secret must be 16 or more of a-z A-Z 0-9 _ -")
        return secret


def check_address(address: str) -> str:
    """`address` if it is `ip:port` or `[ip]:port`, else ValueError.

    No host names: HAProxy would resolve one when it starts and never again.
    """
    problem = f"{address!r} is not an address such as 127.0.0.1:8000 or [::1]:8000"
    host, _, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        version = ipaddress.ip_address(bare).version
    except ValueError:
        raise ValueError(problem) from None
    bracketed = bare != host
    if bracketed != (version == 6) or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError(problem)
    return address


def slot_name(slot: int) -> str:
    return f"slot{slot:02d}"


def server_name(address: str) -> str:
    """A server is named by its address, so nothing has to remember which is which; without brackets."""
    return address.replace("[", "").replace("]", "")


def config_digest(settings: EdgeSettings, *, slots: int, sticky: Collection[str] = ()) -> str:
    """Tells whether a running HAProxy has these settings; servers and routes are no part of it."""
    return sha256_hex(render(settings, slots=slots, sticky=sticky, servers_of=lambda slot: {}).encode())


def render(
    settings: EdgeSettings,
    *,
    slots: int,
    servers_of: Callable[[int], Mapping[str, str]],
    sticky: Collection[str] = (),
) -> str:
    """The whole haproxy.cfg, to be read in the run directory. It holds the secret: keep it 0600.

    `servers_of` gives the servers of a slot, by name, so that a HAProxy that starts has no moment without them.
    `sticky` are the headers that models know their callers by: HAProxy reads no header whose name it learns later.
    """
    backends = (
        f"backend {slot_name(slot)} from slots\n{_servers(servers_of(slot))}" for slot in range(slots)
    )
    front = _front(settings, sorted(sticky))
    sections = (_process(settings), front, limits_backend(), _control(settings), _slots(settings))
    return "\n".join([*sections, *backends])


def _servers(described: Mapping[str, str]) -> str:
    return "".join(f"    server {name} {about}\n" for name, about in described.items())


def _process(settings: EdgeSettings) -> str:
    # noreuseport: with SO_REUSEPORT a second edge on the same port would start, and take half the requests.
    # idle-close-on-response: a reload would otherwise reset connections that a client is about to use.
    return f"""\
global
    nbthread {settings.threads}
    maxconn {settings.max_connections}
    noreuseport
    hard-stop-after {_ms(settings.retire_s)}
    stats socket unix@{SOCKET_NAME} mode 600 level admin expose-fd listeners
    tune.bufsize {settings.buffer_bytes}

defaults base
    mode http
    option http-restrict-req-hdr-names delete
    option http-ignore-probes
    option idle-close-on-response
    timeout connect {_ms(settings.connect_timeout_s)}
    timeout client {_ms(settings.silence_timeout_s)}
    timeout server {_ms(settings.answer_timeout_s)}
    timeout http-request {_ms(settings.header_timeout_s)}
    timeout http-keep-alive {_ms(settings.keep_alive_s)}
    retries 3
    option redispatch 1
{data_error(400, "the request is not well-formed HTTP/1.1")}
{data_error(408, "the request did not arrive in time; send it again")}
{data_error(500, "the edge failed on this request; its log says why")}
{data_error(502, "the answer to this request was cut off or malformed; send it again")}
{data_error(503, "no replica of this version can be reached; send the request again")}
{data_error(504, f"no answer within {settings.answer_timeout_s:g} s; send fewer rows or ask later")}
"""


_LOG_LINE = (
    '{"at":%Ts.%ms,"id":"%[var(txn.id)]","client":"%ci","method":"%HM","path":"%[var(txn.path),json(utf8s)]",'
    '"status":%ST,"key":"%[var(txn.caller),field(1,/)]","route":"%[var(txn.route)]","connect_ms":%Tc,"answer_ms":%Tr,"total_ms":%Ta,"bytes_in":%U,'
    '"bytes_out":%B,"retries":"%rc","end":"%tsc"}'
)


def _front(settings: EdgeSettings, sticky: Sequence[str]) -> str:
    """Checks in order, then ONE route is looked up: a request sees all of a table's routes or nothing of them."""
    checks = [
        *refuse(
            405,
            "the edge takes GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS",
            "!plain_method",
            header="Allow 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'",
        ),
        # HAProxy drops Content-Length when both are sent, so no rule can tell "both" from "chunked only".
        *refuse(411, "send the body with Content-Length; not Transfer-Encoding", "encoded_body"),
        *refuse(431, f"the headers exceed {settings.max_header_bytes} bytes; send fewer", "long_headers"),
        *refuse(400, "the path holds '..', '.' or a broken % escape", "!decoded_path or dotted_path"),
        *refuse(404, "nothing is at this path; see /api/v1 and /v2", "internal_path"),
        *refuse(
            413,
            f"the body is larger than {settings.max_body_bytes} bytes; send fewer rows per request",
            f"{{ req.body_size gt {settings.max_body_bytes} }}",
        ),
    ]
    # Only here and not in `global`, or events of servers would stand between the requests.
    log = f"    log stdout format raw daemon info\n    log-format {quoted(_LOG_LINE)}\n"
    host = f"[{settings.bind_host}]" if ":" in settings.bind_host else settings.bind_host
    return f"""\
frontend edge from base
    bind {host}:{settings.port} proto h1
{log if settings.access_log else ""}
    http-request set-var(txn.id) req.fhdr(x-request-id,-1)
    http-request set-var-fmt(txn.id) {quoted(_FRESH_ID)} unless {{ var(txn.id) -m reg ^[A-Za-z0-9._-]{{1,128}}$ }}
    http-after-response set-header x-request-id %[var(txn.id)]
    http-request set-var(txn.path) path
    http-request set-var(txn.decoded) path,url_dec

    acl api path_beg /api/
    acl plain_method method GET HEAD POST PUT PATCH DELETE OPTIONS
    acl encoded_body req.hdr(transfer-encoding) -m found
    acl long_headers req.hdrs,length gt {settings.max_header_bytes}
    acl decoded_path var(txn.decoded) -m found
    acl dotted_path var(txn.decoded) -m sub /./ /../
    acl dotted_path var(txn.decoded) -m end /. /..
    acl internal_path var(txn.decoded) -m beg -i /internal //
{"".join(line + chr(10) for line in checks)}
    http-request return status 200 content-type application/json string {quoted('{"live":true}')} \
if {{ path /v2/health/live }}

{admission_rules()}
    # Who asks is kept in the control plane's histories and grants nothing: what callers say of themselves, or the name
    # of their key. Nor does how long callers say they wait. Every other name of ours is ours alone.
    http-request set-var(txn.user) req.fhdr(x-raymaas-user,-1) if api
    http-request set-var(txn.user) var(txn.caller),field(2,/) if known
    http-request set-var(txn.timeout_ms) req.fhdr(x-raymaas-timeout-ms,-1)
{remember_version_header()}    http-request del-header x-raymaas- -m beg
    http-request set-header x-raymaas-timeout-ms %[var(txn.timeout_ms)] if {{ var(txn.timeout_ms) -m found }}
    http-request set-header x-raymaas-user %[var(txn.user)] if {{ var(txn.user) -m found }}
    http-request set-header {KEY_HEADER} %[var(txn.caller),field(1,/)] if known
    # An upgraded connection is a tunnel past every check above.
    http-request del-header upgrade
    http-request set-header x-request-id %[var(txn.id)]
    http-request set-header x-forwarded-for %[src]
    http-request wait-for-body time {_ms(settings.body_timeout_s)}

{choice_rules(sticky)}
    use_backend %[var(txn.route),field(1,/)] if routed
    use_backend control_api if api
    default_backend control
"""


# Begins with its milliseconds since 1970 in 12 hexadecimal digits: recorded requests are found by that.
_FRESH_ID = "%[date(0,ms),hex,bytes(4),lower]-%[uuid()]"


def _control(settings: EdgeSettings) -> str:
    # Without the secret, which /internal asks for: a path that slips past the front is still refused.
    away = "the control plane does not answer; try again, or look at its log on the head node"
    return f"""\
backend control from base
    retries 1
{data_error(503, away)}
    server control {settings.control}

backend control_api from base
    retries 1
    http-error status 503 {api_body(503, away)}
    http-error status 504 {api_body(504, away)}
    server control {settings.control}
"""


def _slots(settings: EdgeSettings) -> str:
    # Serve's proxies have no active checks: they are busy Python processes, and a check that times out under load
    # would take the only one away. A refused or cut connection moves to another server at once, and so does a 503: of a
    # replica that is about to leave, or whose port was another version's a moment ago.
    # A replica whose model failed says so with 500, and brings the answer of the version that answers for it, which the
    # caller gets with 200. HAProxy's statistics then know of no failure, so a table counts them, by slot.
    fell_back = f"if {{ res.hdr({FELL_BACK_HEADER}) -m found }}"
    return f"""\
defaults slots from base
    balance leastconn
    option allbackups
    option httpchk GET /v2/health/live
    timeout check {_ms(_CHECK_TIMEOUT_S)}
    http-reuse always
    retry-on conn-failure empty-response 503
    http-request del-header authorization
    http-request del-header x-api-key
    http-request set-header {EDGE_HEADER} {settings.secret.get_secret_value()}
    http-response track-sc1 be_name table {FELL_BACK_TABLE} {fell_back}
    http-response sc-inc-gpc0(1) {fell_back}
    http-response set-status 200 {fell_back}

backend {FELL_BACK_TABLE}
    stick-table type string len 16 size {_MOST_SLOTS} store gpc0
"""


def _ms(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"

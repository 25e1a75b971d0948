"""EdgeAgent: keeps one HAProxy running and following the controller's table; the only writer of its socket.

Everything a restart needs lies in the run directory, so requests are routed while the controller or the agent
is away: an agent that comes back adopts the HAProxy it finds, and a HAProxy that comes back has the last map.
"""

from __future__ import annotations

import logging
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from raymaas.errors import IntegrityError, InvalidInput, RaymaasError, Refused
from raymaas.serve.edge.admission import admission_entries, to_map
from raymaas.serve.edge.config import EdgeSettings, config_digest
from raymaas.serve.edge.haproxy import HAProxy, adopt, find_binary, start
from raymaas.serve.edge.routes import Routes, plan, slots_for
from raymaas.serve.edge.rundir import KEYS_MAP_NAME, RunDir, read_file, replace_file
from raymaas.serve.edge.runtime import RuntimeSocket
from raymaas.serve.edge.servers import Addresses, plan_servers
from raymaas.serve.edge.source import TableSource
from raymaas.serve.edge.status import EdgeStatus
from raymaas.specs.serving import EdgeTable

_log = logging.getLogger(__name__)

_TICK_S = 0.2
_LONG_POLL_S = 10.0
_CONTROLLER_RETRY_S = 1.0
_FIRST_RETRY_S = 0.2
_LAST_RETRY_S = 5.0
_SERVER_RETRY_S = 1.0
_STOP_GRACE_S = 2.0
_LOG_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Decision:
    """What HAProxy shall be: everything that can be refused has been."""

    table: EdgeTable
    slots: int
    sticky: frozenset[str]
    routes: Routes
    addresses: Addresses


def decide(
    table: EdgeTable,
    followed: EdgeTable,
    current: Routes,
    *,
    have_slots: int,
    max_slots: int,
    have_sticky: frozenset[str] = frozenset(),
) -> Decision:
    """How to follow `table`. Raises InvalidInput or Refused for a table that no retry can help.

    A table with versions but no proxy keeps the last proxies: a server that may answer is better than none. Headers
    that HAProxy can know callers by stay, so that only a new one asks for another HAProxy.
    """
    if table.targets and not table.proxies:
        table = table.model_copy(update={"proxies": followed.proxies})
    slots = slots_for(table, have=have_slots, at_most=max_slots)
    routes = plan(table, current, slots=slots)
    sticky = have_sticky | frozenset(routes.sticky.values())
    return Decision(table, slots, sticky, routes, Addresses.of(table, routes))


class EdgeAgent:
    """One per edge host; `run` is its whole life."""

    def __init__(
        self,
        settings: EdgeSettings,
        run_dir: Path,
        source: TableSource,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._dir = RunDir.prepare(run_dir)
        self._source = source
        self._now = now
        self._monotonic = monotonic
        self._binary = find_binary()
        self._runtime = RuntimeSocket(self._dir.socket)
        self._inbox: queue.SimpleQueue[EdgeTable | Exception] = queue.SimpleQueue()

        self._haproxy: HAProxy | None = None
        self._retired: list[HAProxy] = []
        self._routes = Routes()
        self._followed = EdgeTable(revision="", proxies=())
        self._followed_since = now()
        self._wanted = self._followed
        self._restarts = 0

        self._failures = 0
        self._retry_at = monotonic()
        self._servers_retry_at: float | None = None
        self._table_problem: str | None = None
        self._haproxy_problem: str | None = None
        self._controller_problem: str | None = None
        self._written: EdgeStatus | None = None

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set, then end HAProxy too. Leaving by an exception leaves HAProxy serving.

        Raises Refused at once when the port is taken or another agent holds the run directory, and
        Unavailable when HAProxy does not start. Later troubles go to the status and are tried again.
        """
        with self._dir.exclusive():
            self._resume()
            # Not joined: a long poll may outlast everything else, and it changes nothing any more.
            threading.Thread(target=self._poll, args=(stop,), name="edge-table-poll", daemon=True).start()
            while not stop.is_set():
                self._receive()
                self._tick()
            self._end()

    def _resume(self) -> None:
        """Take up what the run directory holds: the table, the map, and a HAProxy that still runs."""
        self._followed, self._routes = self._read_table(), self._read_routes()
        self._wanted = self._followed
        self._haproxy = adopt(self._dir)
        if self._haproxy is not None:
            _log.info("adopted HAProxy, pid %d", self._haproxy.pid)
        self._act(self._decide(self._followed))
        self._write_status()

    def _poll(self, stop: threading.Event) -> None:
        """The long poll's thread: it only puts tables into the inbox."""
        after = self._followed.revision or None
        while not stop.is_set():
            try:
                table = self._source(after, _LONG_POLL_S)
            except RaymaasError as error:
                self._controller_problem = str(error)
                stop.wait(_CONTROLLER_RETRY_S)
                continue
            except Exception as error:
                self._inbox.put(error)
                return
            self._controller_problem = None
            if table is not None and table.revision != after:
                after = table.revision
                self._inbox.put(table)

    def _receive(self) -> None:
        """Wait a tick at most for a newer table."""
        try:
            item = self._inbox.get(timeout=_TICK_S)
        except queue.Empty:
            return
        if isinstance(item, Exception):
            raise item
        self._wanted, self._table_problem = item, None
        self._failures, self._retry_at = 0, self._monotonic()

    def _tick(self) -> None:
        now_s = self._monotonic()
        if self._haproxy is not None and not self._haproxy.alive():
            _log.warning("HAProxy, pid %d, died; starting it again", self._haproxy.pid)
            self._haproxy, self._restarts = None, self._restarts + 1
        behind = self._haproxy is None or self._wanted.revision != self._followed.revision
        servers_due = self._servers_retry_at is not None and now_s >= self._servers_retry_at
        if (behind or servers_due) and now_s >= self._retry_at:
            self._attempt()
        self._retired = [process for process in self._retired if process.alive()]
        _trim_log(self._dir.access_log)
        self._write_status()

    def _attempt(self) -> None:
        """Follow the wanted table, or note why not: for good if it is refused, until the next try if not."""
        try:
            decision = self._decide(self._wanted)
        except (Refused, InvalidInput) as error:
            _log.error("edge table %s is not followed: %s", self._wanted.revision, error)
            self._wanted, self._table_problem = self._followed, str(error)
            return
        try:
            self._act(decision)
        except (RaymaasError, OSError) as error:
            _log.warning("edge table %s, to be tried again: %s", self._wanted.revision, error)
            self._haproxy_problem = str(error)
            self._retry_at = self._monotonic() + min(_LAST_RETRY_S, _FIRST_RETRY_S * 2**self._failures)
            self._failures += 1

    def _decide(self, table: EdgeTable) -> Decision:
        running = self._haproxy
        return decide(
            table,
            self._followed,
            self._routes,
            have_slots=max(running.slots if running else 0, self._settings.slots),
            max_slots=self._settings.max_slots,
            have_sticky=running.sticky if running else frozenset(),
        )

    def _act(self, to: Decision) -> None:
        """Write it down, then do it; harmless to repeat."""
        replace_file(self._dir.table, to.table.seal())
        replace_file(self._dir.map, to.routes.to_map().encode())
        keys = admission_entries(to.table, on_loopback=self._settings.on_loopback)
        replace_file(self._dir.keys_map, to_map(keys).encode())
        running = self._haproxy
        wanted = config_digest(self._settings, slots=to.slots, sticky=to.sticky)
        if running is None or running.config_digest != wanted:
            self._haproxy = start(
                self._binary,
                self._dir,
                self._settings,
                slots=to.slots,
                sticky=to.sticky,
                servers_of=to.addresses.of_slot,
                replacing=running,
            )
            _log.info("started HAProxy, pid %d, with %d slots", self._haproxy.pid, to.slots)
            self._retired += [running] if running is not None else []
            self._servers_retry_at = None
        else:
            self._change_servers(to)
            # Keys first: whoever may ask a new version may do so from its first moment.
            self._runtime.commit_map(keys, name=KEYS_MAP_NAME)
            self._runtime.commit_map(to.routes.entries())
        if to.table.revision != self._followed.revision:
            _log.info("routes follow edge table %s", to.table.revision)
            self._followed_since = self._now()
        self._routes, self._followed = to.routes, to.table
        self._haproxy_problem, self._failures = None, 0

    def _change_servers(self, to: Decision) -> None:
        self._runtime.change_servers(plan_servers(to.addresses, self._runtime.servers(), slots=to.slots))
        left = plan_servers(to.addresses, self._runtime.servers(), slots=to.slots)
        self._servers_retry_at = self._monotonic() + _SERVER_RETRY_S if left else None

    def _end(self) -> None:
        for process in self._retired:
            process.stop(grace_s=0)
        if self._haproxy is not None:
            self._haproxy.stop(grace_s=_STOP_GRACE_S)
        self._haproxy = None
        self._write_status()

    def _write_status(self) -> None:
        running = self._haproxy
        status = EdgeStatus(
            revision=self._followed.revision,
            applied_at=self._followed_since,
            agent_pid=os.getpid(),
            haproxy_pid=running.pid if running else None,
            haproxy_started_at=running.process.create_time() if running else None,
            slots=running.slots if running else None,
            versions=len(self._routes.slots),
            restarts=self._restarts,
            problem=self._haproxy_problem or self._table_problem,
            controller_problem=self._controller_problem,
        )
        if status != self._written:
            replace_file(self._dir.status, status.seal())
            self._written = status

    def _read_table(self) -> EdgeTable:
        raw = read_file(self._dir.table)
        try:
            return self._followed if raw is None else EdgeTable.unseal(raw, source=str(self._dir.table))
        except (IntegrityError, InvalidInput) as error:
            _log.warning("%s; waiting for the controller's", error)
            return self._followed

    def _read_routes(self) -> Routes:
        raw = read_file(self._dir.map)
        try:
            return Routes() if raw is None else Routes.from_map(raw.decode(errors="replace"))
        except IntegrityError as error:
            _log.warning("%s; slots are given out anew", error)
            return Routes()


def _trim_log(path: Path) -> None:
    """Keep the access log and one older part of it, each of about 64 MiB.

    Copied and cut, not renamed: HAProxy holds the file open, and appends.
    """
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        shutil.copyfile(path, path.with_suffix(".log.1"))
        os.truncate(path, 0)

"""Processes are known by pid and start time, found by session or marker, and ended for good."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raymaas.cluster.ports import free_ports, require_free
from raymaas.cluster.processes import ProcessId, end, identify, is_alive, members
from raymaas.errors import Refused

SLEEP = "import time; print('up', flush=True); time.sleep(300)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(300)"


def start(code: str, **options: object) -> tuple[subprocess.Popen[str], ProcessId]:
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    identity = identify(process.pid)
    assert identity is not None
    return process, identity


@pytest.fixture
def sleeper() -> Iterator[tuple[subprocess.Popen[str], ProcessId]]:
    process, identity = start(SLEEP)
    yield process, identity
    process.kill()
    process.wait()


def test_a_reused_pid_is_not_the_process_that_had_it(
    sleeper: tuple[subprocess.Popen[str], ProcessId],
) -> None:
    _, identity = sleeper
    former = identity.model_copy(update={"started": identity.started - 60})

    assert is_alive(identity)
    assert not is_alive(former)
    end([former], grace_s=0.0)
    assert is_alive(identity), "a process that only shares the pid was ended"


def test_a_zombie_is_not_alive() -> None:
    process, identity = start("print('up', flush=True)")
    deadline = time.monotonic() + 10
    while is_alive(identity) and time.monotonic() < deadline:
        time.sleep(0.01)

    assert not is_alive(identity)
    process.wait()


def test_who_ignores_the_polite_signal_is_killed() -> None:
    process, identity = start(STUBBORN)

    end([identity], grace_s=0.2)

    assert process.wait(timeout=5) == -9


def test_a_session_is_found_after_its_leader_died(tmp_path: Path) -> None:
    note = tmp_path / "child"
    parent = (
        f"import subprocess, sys; "
        # A child that says it is up after nobody reads that any more would die of it.
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}], stdout=subprocess.DEVNULL);"
        f"open({str(note)!r}, 'w').write(str(child.pid)); print('up', flush=True); child.wait()"
    )
    process, leader = start(parent)
    child = int(note.read_text())
    process.kill()
    process.wait()

    found = members([leader])

    assert [p.pid for p in found] == [child]
    end(found, grace_s=1.0)
    assert members([leader]) == []


def test_a_marked_process_is_found_in_a_session_of_its_own() -> None:
    process, identity = start(SLEEP, env=dict(os.environ, RAYMAAS_CLUSTER="some-cluster"))

    assert members([], marker=("RAYMAAS_CLUSTER", "some-cluster")) == [identity]
    assert members([], marker=("RAYMAAS_CLUSTER", "another")) == []
    process.kill()
    process.wait()


def test_a_taken_port_is_named_with_its_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(Refused, match=rf"port {port} on 127.0.0.1, wanted for the edge.*--port"):
            require_free("127.0.0.1", port, what="the edge", setting="--port")


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(8)

    assert len(set(ports)) == 8
    assert not [port for port in ports if port >= 32_768], (
        "the kernel may hand it out to a connection meanwhile"
    )
    for port in ports:
        require_free("127.0.0.1", port, what="a test", setting="nothing")

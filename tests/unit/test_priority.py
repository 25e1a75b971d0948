"""Giving way: a thread lowers its own priority, and that of threads it starts, and nobody else's."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from raymaas.priority import give_way


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_a_thread_gives_way_with_those_it_starts_and_no_other_does() -> None:
    before = niceness()

    def started_by_it() -> int:
        with ThreadPoolExecutor(1) as inner:
            return inner.submit(niceness).result()

    with ThreadPoolExecutor(1, initializer=give_way) as giving:
        assert giving.submit(niceness).result() == 15
        assert giving.submit(started_by_it).result() == 15
    assert niceness() == before

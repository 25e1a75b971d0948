"""Hammering: clients in several processes and threads ask one store at once and note when each asked what."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from linearizability import Create, Delete, KeyAct, LogAct, Look, Move, Operation, Read

from raymaas.errors import AlreadyExists, NotFound, OutcomeUnknown, Unavailable
from raymaas.registry.moves import Stamp, set_alias
from raymaas.registry.once import write_bytes
from raymaas.registry.states import States
from raymaas.specs.serving import ModelState
from raymaas.store import Store

KEYS = ("hot/1", "hot/2", "hot/3")
MODEL = "digits"

KeyHistories = dict[str, list[Operation[KeyAct]]]
LogHistory = list[Operation[LogAct]]


@dataclass(frozen=True)
class Crowd:
    """How many clients there are, and how often each asks: `threads` in each of `processes`, or in this one if 0.

    `deleting` is the share of deletions, below a half.
    """

    processes: int
    threads: int
    times: int
    deleting: float
    seed: int


Client = Callable[[Store, Crowd, int, Any], list[Any]]
"""Asks as client `number` of the crowd; gives what it noted. All wait for each other at a barrier, once."""


def hammer_keys(store: Store, crowd: Crowd) -> KeyHistories:
    """The history of each key."""
    histories: KeyHistories = defaultdict(list)
    for key, operation in _gather(store, crowd, ask_about_keys):
        histories[key].append(operation)
    return histories


def hammer_log(store: Store, crowd: Crowd) -> LogHistory:
    """The history of the state log of `MODEL`, of which version 1 exists."""
    return _gather(store, crowd, move_and_look)


def ask_about_keys(store: Store, crowd: Crowd, number: int, meet: Any) -> list[tuple[str, Operation[KeyAct]]]:
    rng = random.Random(f"{crowd.seed}/{number}")
    meet.wait()
    noted = []
    for time_asked in range(crowd.times):
        key, kind = rng.choice(KEYS), rng.random()
        began = time.monotonic()
        act: KeyAct | None
        if kind < crowd.deleting:
            act = _delete(store, key)
            answered = act is not None
            act = act or Delete()
        elif kind < 0.5:
            act = _create(store, key, f"client {number}, time {time_asked}".encode())
            answered = act is None or act.won is not None
        else:
            act, answered = _read(store, key), True
        if act is not None:
            noted.append(
                (key, Operation(act, began, time.monotonic()) if answered else Operation(act, began))
            )
    return noted


def _create(store: Store, key: str, value: bytes) -> Create | None:
    """None when the store said that nothing was done: then its value must never be read."""
    try:
        write_bytes(store, key, value)
    except AlreadyExists:
        return Create(value, False)
    except OutcomeUnknown:
        return Create(value, None)
    except Unavailable:
        return None
    return Create(value, True)


def _read(store: Store, key: str) -> Read | None:
    with suppress(Unavailable):
        try:
            return Read(store.read(key))
        except NotFound:
            return Read(None)
    return None


def _delete(store: Store, key: str) -> Delete | None:
    with suppress(OutcomeUnknown):
        store.delete(key)
        return Delete()
    return None


def move_and_look(store: Store, crowd: Crowd, number: int, meet: Any) -> LogHistory:
    """All decide on the empty log before any of them writes, so one wins then and the others lose."""
    states, rng = States(store), random.Random(f"{crowd.seed}/{number}")
    noted: LogHistory = []
    has_met = False
    for time_asked in range(crowd.times):
        began = time.monotonic()
        if has_met and rng.random() < 0.3:
            with suppress(Unavailable):
                state = states.current(MODEL)
                noted.append(Operation(Look(state.revision if state else 0), began, time.monotonic()))
            continue
        decided_on: list[int] = []
        alias = f"by-{number}-{time_asked}"
        step = partial(_decide, decided_on, None if has_met else meet, alias)
        won: bool | None = True
        try:
            states.move(MODEL, step, who=f"client {number}", why=alias)
        except AlreadyExists:
            won = False
        except OutcomeUnknown:
            won = None
        except Unavailable:
            has_met = has_met or bool(decided_on)
            continue
        has_met = True
        act = Move(decided_on[-1], won)
        noted.append(Operation(act, began) if won is None else Operation(act, began, time.monotonic()))
    return noted


def _decide(
    decided_on: list[int], meet: Any | None, alias: str, state: ModelState | None, stamp: Stamp
) -> ModelState:
    decided_on.append(state.revision if state else 0)
    if meet is not None:
        meet.wait()
    return set_alias(state, stamp, alias=alias, version=1)


def _gather(store: Store, crowd: Crowd, client: Client) -> list[Any]:
    if not crowd.processes:
        return _ask_at_once(store, crowd, client, 0, threading.Barrier(crowd.threads, timeout=120))
    # Spawned, not forked: the test process has threads.
    context = multiprocessing.get_context("spawn")
    meet = context.Barrier(crowd.processes * crowd.threads, timeout=120)
    answers = context.Queue()
    processes = [
        context.Process(target=_answer, args=(store, crowd, client, number, meet, answers))
        for number in range(crowd.processes)
    ]
    for process in processes:
        process.start()
    gathered = [answers.get(timeout=240) for _ in processes]
    for process in processes:
        process.join()
    for failed in (each for each in gathered if isinstance(each, Exception)):
        raise failed
    return [noted for each in gathered for noted in each]


def _answer(store: Store, crowd: Crowd, client: Client, number: int, meet: Any, answers: Any) -> None:
    try:
        answers.put(_ask_at_once(store, crowd, client, number, meet))
    except Exception as error:
        answers.put(error)


def _ask_at_once(store: Store, crowd: Crowd, client: Client, process: int, meet: Any) -> list[Any]:
    first = process * crowd.threads
    with ThreadPoolExecutor(crowd.threads) as pool:
        asked = [pool.submit(client, store, crowd, first + n, meet) for n in range(crowd.threads)]
        return [noted for each in asked for noted in each.result()]

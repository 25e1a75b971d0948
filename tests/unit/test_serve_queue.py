"""The replica's queue: who is computed with whom, who is refused, dropped or forgotten, and what is told of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from compute_rig import BAD, Clock, Doubler, rows

from raymaas.errors import DeadlineExceeded, QuotaExceeded
from raymaas.serve.compute_queue import ComputeQueue, QueueLimits

ON_A_THREAD = {"inline_s": -1.0}


class Bench:
    """A queue before a model that can be held up."""

    def __init__(
        self, *, joins: bool = True, batch_s: float = 0.0, row_s: float = 0.0, **limits: Any
    ) -> None:
        self.clock = Clock()
        self.model = Doubler(self.clock, batch_s=batch_s, row_s=row_s)
        self.queue = ComputeQueue(
            self.model, joins=joins, limits=QueueLimits(**ON_A_THREAD | limits), clock=self.clock
        )

    async def ask(self, *values: float, method: str = "infer", timeout_s: float | None = None) -> list[float]:
        (answer,) = (await self.queue(method, rows(*values), timeout_s=timeout_s)).values()
        return answer[:, 0].tolist()

    async def begin(self, *values: float) -> asyncio.Task[list[float]]:
        """Ask, and come back when the model has begun with it and is held up."""
        self.model.open.clear()
        self.model.begun.clear()
        asked = asyncio.create_task(self.ask(*values))
        await asyncio.to_thread(self.model.begun.wait, 30)
        return asked

    async def queued(self, *asked: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
        """Each of these in the queue, in that order."""
        before = self.queue.figures().waiting
        tasks = [asyncio.create_task(each) for each in asked]
        while self.queue.figures().waiting < before + len(asked):
            await asyncio.sleep(0)
        return tasks

    def go_on(self) -> None:
        self.model.open.set()


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Any:
    made: list[Bench] = []

    def make(**settings: Any) -> Bench:
        made.append(Bench(**settings))
        return made[-1]

    yield make
    for each in made:
        each.go_on()
        each.queue.close()


Make = Callable[..., Bench]


def test_an_idle_model_is_asked_at_once_and_a_busy_one_for_all_that_wait(bench: Make) -> None:
    b = bench(row_s=1e-3)

    async def scene() -> list[list[float]]:
        assert await b.ask(0) == [0]
        first = await b.begin(1)
        waiting = await b.queued(b.ask(2, 3), b.ask(4), b.ask(5))
        b.go_on()
        return await asyncio.gather(first, *waiting)

    assert asyncio.run(scene()) == [[2], [4, 6], [8], [10]]
    assert b.model.batches == [[0], [1], [2, 3, 4, 5]]


def test_requests_of_one_moment_are_joined_even_when_the_model_is_idle(bench: Make) -> None:
    b = bench(row_s=1e-3)

    async def scene() -> None:
        await b.ask(0)
        await asyncio.gather(*(b.ask(value) for value in range(1, 6)))

    asyncio.run(scene())
    assert b.model.batches == [[0], [1, 2, 3, 4, 5]]


def test_only_like_requests_are_joined_and_the_oldest_goes_first(bench: Make) -> None:
    b = bench(row_s=1e-3)
    wide = {"x": np.full((1, 3), 7, np.float32)}

    async def scene() -> list[Any]:
        await b.ask(0)
        first = await b.begin(1)
        others = (
            b.queue("infer", wide),
            b.ask(2),
            b.ask(3, method="negate"),
            b.ask(4),
            b.ask(5, method="negate"),
        )
        waiting = await b.queued(*others)
        b.go_on()
        return await asyncio.gather(first, *waiting)

    _, of_wide, *answers = asyncio.run(scene())
    assert of_wide["double"].tolist() == [[14, 14, 14]]
    assert answers == [[4], [-6], [8], [-10]]
    assert b.model.batches[2] == [7]
    # A line that is new is not joined until it is known how long its rows take.
    assert b.model.batches[3:] == [[2, 4], [3], [5]]


def test_a_batch_takes_no_more_than_half_of_the_latency_target(bench: Make) -> None:
    b = bench(row_s=1e-3, batch_s=2e-3, target_s=0.04)

    async def scene() -> None:
        await b.ask(0)
        for _ in range(6):
            first = await b.begin(0)
            waiting = await b.queued(*(b.ask(1) for _ in range(60)))
            b.go_on()
            await asyncio.gather(first, *waiting)

    asyncio.run(scene())
    largest = max(len(batch) for batch in b.model.batches)
    assert 8 <= largest <= 18  # 2 ms and 18 rows of a millisecond are 20 ms
    assert len(b.model.batches[-1]) < 60


def test_a_request_that_alone_takes_longer_than_the_target_is_computed_alone(bench: Make) -> None:
    b = bench(row_s=1.0)

    async def scene() -> None:
        await b.ask(0)
        await asyncio.gather(b.ask(1), b.ask(2))

    asyncio.run(scene())
    assert b.model.batches == [[0], [1], [2]]


def test_a_model_whose_rows_depend_on_each_other_is_asked_for_one_request_at_a_time(bench: Make) -> None:
    b = bench(row_s=1e-3, joins=False)

    async def scene() -> None:
        await b.ask(0)
        await asyncio.gather(b.ask(1, 2), b.ask(3))

    asyncio.run(scene())
    assert b.model.batches == [[0], [1, 2], [3]]


@pytest.mark.parametrize("limits", [{}, {"inline_s": 1.0}])
@pytest.mark.parametrize("seed", range(4))
def test_answers_are_never_mixed_between_callers(bench: Make, seed: int, limits: dict[str, float]) -> None:
    b = bench(row_s=1e-5, **limits)
    draw = random.Random(seed)
    cancelled = 0

    async def caller(number: int) -> None:
        nonlocal cancelled
        for turn in range(8):
            values = [float(number * 1000 + turn * 10 + row) for row in range(draw.randint(1, 4))]
            bad = draw.random() < 0.1
            if bad:
                values[draw.randrange(len(values))] = BAD
            asked = asyncio.create_task(b.ask(*values))
            for _ in range(draw.randint(0, 3)):
                await asyncio.sleep(0)
            if draw.random() < 0.1 and asked.cancel():
                cancelled += 1
            try:
                assert await asked == [2 * value for value in values]
                assert not bad
            except ValueError:
                assert bad
            except asyncio.CancelledError:
                pass

    async def scene() -> None:
        await asyncio.gather(*(caller(number) for number in range(32)))

    asyncio.run(scene())
    assert cancelled
    assert any(BAD in batch for batch in b.model.batches)
    assert any(len(batch) > 4 for batch in b.model.batches)


def test_a_bad_row_fails_alone_and_says_what_it_would_say_alone(bench: Make) -> None:
    b = bench(row_s=1e-5)

    async def scene() -> list[Any]:
        await b.ask(0)
        return await asyncio.gather(b.ask(1), b.ask(BAD, 2), b.ask(3), return_exceptions=True)

    first, second, third = asyncio.run(scene())
    assert (first, third) == ([2], [6])
    assert str(second) == "a bad row among 2"
    assert b.queue.figures().failed == 1


def test_what_is_computed_soon_enough_is_computed_on_the_event_loop(bench: Make) -> None:
    b = bench(row_s=1e-3, inline_s=2.5e-3)

    async def scene() -> None:
        await b.ask(0)  # nobody knows yet how long it takes
        await b.ask(1)
        await b.ask(2, 3, 4)

    asyncio.run(scene())
    assert b.model.threads == {"compute", "MainThread"}
    b.model.threads.clear()
    asyncio.run(b.ask(1, 2))
    assert b.model.threads == {"MainThread"}
    b.model.threads.clear()
    asyncio.run(b.ask(1, 2, 3))
    assert b.model.threads == {"compute"}


def test_a_warm_queue_knows_how_long_a_row_takes(bench: Make) -> None:
    b = bench(row_s=1e-3, inline_s=2.5e-3)
    b.queue.warm_up(rows(0, 0, 0))
    b.model.threads.clear()
    assert asyncio.run(b.ask(1)) == [2]
    assert b.model.threads == {"MainThread"}


def test_who_comes_alone_is_answered_at_once_and_who_comes_in_company_is_joined(bench: Make) -> None:
    b = bench(row_s=1e-3, inline_s=1.0)
    b.queue.warm_up(rows(0))

    def at_once() -> bool:
        """Whether a request is answered without ever giving way to the event loop."""
        asked = b.ask(1)
        try:
            asked.send(None)
        except StopIteration:
            return True
        asked.close()
        return False

    async def scene() -> None:
        assert [at_once() for _ in range(10)] == [True] * 10
        await asyncio.gather(*(b.ask(value) for value in range(40)))
        assert max(len(batch) for batch in b.model.batches) > 10
        assert not at_once()
        await b.ask(1)
        assert at_once()

    asyncio.run(scene())


@pytest.mark.parametrize("limits", [{"most_requests": 3}, {"most_bytes": 24}, {"longest_wait_s": 2.5}])
def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(bench: Make, limits: dict[str, Any]) -> None:
    b = bench(row_s=1.0, **limits)

    async def scene() -> QuotaExceeded:
        await b.ask(0)
        first = await b.begin(1)
        waiting = await b.queued(b.ask(2), b.ask(3), b.ask(4))
        with pytest.raises(
            QuotaExceeded, match=r"queue is full: 3 requests wait for the model, about 3\.0 s"
        ) as raised:
            await b.ask(5)
        b.go_on()
        assert await asyncio.gather(first, *waiting) == [[2], [4], [6], [8]]
        assert await b.ask(5) == [10]
        return raised.value

    assert asyncio.run(scene()).retry_after_s == pytest.approx(3.0)
    assert b.queue.figures().refused == 1


def test_expired_work_is_dropped_and_not_computed(bench: Make) -> None:
    b = bench(row_s=1e-3)

    async def scene() -> None:
        await b.ask(0)
        first = await b.begin(1)
        other = (await b.queued(b.ask(3)))[0]
        with pytest.raises(DeadlineExceeded, match="the 5 ms that this request allowed ran out"):
            await b.ask(2, timeout_s=0.005)
        assert b.queue.figures().waiting == 1
        b.go_on()
        assert await asyncio.gather(first, other) == [[2], [6]]

    asyncio.run(scene())
    assert b.model.batches == [[0], [1], [3]]
    assert b.queue.figures().expired == 1


def test_what_expired_unnoticed_is_dropped_when_its_turn_comes(bench: Make) -> None:
    b = bench(row_s=1.0)

    async def scene() -> None:
        await b.ask(0)
        first = await b.begin(1)
        late = (await b.queued(b.ask(2, timeout_s=0.5)))[0]
        b.go_on()  # the model takes a second of its clock, and no time at all of the loop's
        await first
        with pytest.raises(DeadlineExceeded):
            await late

    asyncio.run(scene())
    assert b.model.batches == [[0], [1]]


def test_a_deadline_that_passes_while_the_model_computes_ends_the_wait(bench: Make) -> None:
    b = bench(row_s=1e-3)

    async def scene() -> None:
        await b.ask(0)
        b.model.open.clear()
        with pytest.raises(DeadlineExceeded):
            await b.ask(1, timeout_s=0.005)
        b.go_on()
        assert await b.ask(2, timeout_s=30) == [4]

    asyncio.run(scene())
    assert b.queue.figures().waiting == 0


def test_a_batch_is_kept_short_enough_for_the_deadline_of_a_request_in_it(bench: Make) -> None:
    b = bench(row_s=1e-3)

    async def scene() -> None:
        for _ in range(4):
            await b.ask(0)
        first = await b.begin(1)
        waiting = await b.queued(b.ask(2, timeout_s=30.0), *(b.ask(3) for _ in range(20)))
        b.clock.now_s += 29.994
        b.go_on()
        await asyncio.gather(first, *waiting)

    asyncio.run(scene())
    assert 2 <= len(b.model.batches[5]) <= 5


@pytest.mark.parametrize("batches_begun", [0, 1])
def test_work_whose_caller_went_away_is_dropped_unless_it_has_begun(bench: Make, batches_begun: int) -> None:
    b = bench(row_s=1e-3)

    async def scene() -> None:
        await b.ask(0)
        first = await b.begin(1)
        waiting = await b.queued(b.ask(2), b.ask(3))
        gone = first if batches_begun else waiting[0]
        gone.cancel()
        assert [str(r) for r in await asyncio.gather(gone, return_exceptions=True)] == [""]
        b.go_on()
        await asyncio.gather(*(each for each in (first, *waiting) if each is not gone))

    asyncio.run(scene())
    assert b.model.batches[1:] == ([[1], [2, 3]] if batches_begun else [[1], [3]])
    assert b.queue.figures().abandoned == 1 - batches_begun
    assert b.queue.figures().waiting == 0


def test_many_kinds_of_request_are_not_remembered_for_ever(bench: Make) -> None:
    b = bench(row_s=1e-3)

    async def scene() -> None:
        for width in range(1, 200):
            await b.queue("infer", {"x": np.zeros((1, width), np.float32)})

    asyncio.run(scene())
    assert len(b.queue._lines) <= 64


def test_the_load_is_told_by_the_clock(bench: Make) -> None:
    b = bench(row_s=1.0)

    async def scene() -> None:
        await b.ask(1)
        b.clock.now_s += 3
        first = await b.begin(2, 3)
        assert b.queue.figures().computing == 1
        b.clock.now_s += 1
        assert b.queue.computing_for_s() == pytest.approx(1)
        assert b.queue.figures().compute_s == pytest.approx(2)
        waiting = await b.queued(b.ask(4))
        b.clock.now_s += 1
        b.go_on()
        await asyncio.gather(first, *waiting)

    asyncio.run(scene())
    figures = b.queue.figures()
    assert b.queue.computing_for_s() == 0
    assert (figures.rows, figures.compute_s) == (4, pytest.approx(6))
    assert figures.queue_s == pytest.approx(3)
    assert [(size, each.batches, each.requests) for size, each in figures.batches.items()] == [
        (1, 2, 2),
        (2, 1, 1),
    ]


def test_a_caller_that_goes_away_as_its_batch_is_made_is_left_out(bench: Make) -> None:
    b = bench(row_s=1e-3)

    async def scene() -> None:
        await b.ask(0)
        gone, other = asyncio.create_task(b.ask(1)), asyncio.create_task(b.ask(2))
        await asyncio.sleep(0)  # both are in the queue, which is about to be looked at
        gone.cancel()
        assert await other == [4]

    asyncio.run(scene())
    assert b.model.batches == [[0], [2]]
    assert (b.queue.figures().abandoned, b.queue.figures().waiting) == (1, 0)


def test_what_failed_teaches_nothing_about_the_pace(bench: Make) -> None:
    b = bench(row_s=1e-3)

    async def scene() -> None:
        await b.ask(0)
        b.model.row_s = 10.0
        with pytest.raises(ValueError, match="a bad row"):
            await b.ask(BAD)
        b.model.row_s = 1e-3
        await asyncio.gather(b.ask(1), b.ask(2), b.ask(3))

    asyncio.run(scene())
    assert b.model.batches[-1] == [1, 2, 3]

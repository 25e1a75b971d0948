"""Demand: edges' figures are added up, and an edge that is silent leaves no sum that could be taken for complete."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raymaas.errors import Unavailable
from raymaas.serve.demand import FRESH_FOR, GONE_AFTER, DemandBook, together
from raymaas.serve.edge.demand import Counted, DemandTeller, Rates, Tally, parse_statistics
from raymaas.serve.edge.rundir import RunDir
from raymaas.specs.demand import Demand, EdgeDemand, VersionDemand

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def told(edge: str, **in_flight: int) -> EdgeDemand:
    asked = {f"{model}@1": VersionDemand(in_flight=n, requests_per_s=n / 2) for model, n in in_flight.items()}
    return EdgeDemand(edge=edge, versions=asked)


def test_what_edges_see_is_added_up_by_version() -> None:
    heard = {"a": (NOW, told("a", digits=3)), "b": (NOW - FRESH_FOR, told("b", digits=4, faces=1))}
    assert together(heard, now=NOW) == Demand(
        at=NOW,
        versions={
            "digits@1": VersionDemand(in_flight=7, requests_per_s=3.5),
            "faces@1": VersionDemand(in_flight=1, requests_per_s=0.5),
        },
    )


def test_there_is_no_sum_while_an_edge_is_silent() -> None:
    late = NOW - FRESH_FOR - timedelta(seconds=1)
    assert together({"a": (NOW, told("a", digits=0)), "b": (late, told("b", digits=9))}, now=NOW) is None
    assert together({}, now=NOW) is None


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, time: timedelta) -> None:
        self.now += time


def test_a_new_book_listens_before_it_publishes_and_forgets_an_edge_that_is_gone() -> None:
    clock, published = Clock(), list[Demand]()
    book = DemandBook(published.append, now=clock)
    book.hear(told("a", digits=1))
    assert not published, "another edge may not have told yet"
    clock.pass_(FRESH_FOR + timedelta(seconds=1))
    book.hear(told("a", digits=1))
    book.hear(told("b", digits=2))
    assert [demand.versions["digits@1"].in_flight for demand in published] == [1, 3]

    clock.pass_(FRESH_FOR + timedelta(seconds=1))
    book.hear(told("a", digits=5))
    assert len(published) == 2, "b is silent and may be answering"
    clock.pass_(GONE_AFTER)
    book.hear(told("a", digits=5))
    assert published[-1] == Demand(
        at=clock.now, versions={"digits@1": VersionDemand(in_flight=5, requests_per_s=2.5)}
    )


def test_requests_are_counted_from_one_look_to_the_next() -> None:
    versions = {"digits@1": "slot00", "digits@2": "slot01"}
    rates = Rates(10.0)

    def look(now_s: float, first: int, second: int) -> list[float]:
        counted = {"slot00": Counted(2, first), "slot01": Counted(0, second), "slot02": Counted(0, 0)}
        asked = rates.since_last(counted, versions, now_s)
        assert asked["digits@1"].in_flight == 2
        return [one.requests_per_s for one in asked.values()]

    assert look(12.0, 100, 50) == [0, 0], "what came before the first look is not known"
    assert look(14.0, 110, 50) == [5, 0]
    assert look(16.0, 8, 0) == [4, 0], "a HAProxy that was started since then counts from 0"
    versions["digits@3"] = versions.pop("digits@2")
    assert look(18.0, 8, 1_000) == [0, 0], "the slot's former requests are another version's"


def test_statistics_of_another_shape_are_refused() -> None:
    with pytest.raises(Unavailable, match=r"HAProxy 2\.8"):
        parse_statistics("# pxname,svname,mode,scur\nslot00,BACKEND,http,1\n")


@pytest.mark.parametrize("trouble", [Unavailable("it is away"), OSError("no such file")])
def test_an_edge_tells_again_after_whatever_was_in_the_way(
    trouble: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop, tries, heard = threading.Event(), list[Exception]([trouble, trouble]), list[EdgeDemand]()

    def tell(demand: EdgeDemand) -> None:
        if tries:
            raise tries.pop()
        heard.append(demand)
        stop.set()

    teller = DemandTeller(RunDir.prepare(tmp_path), tell, name="a")
    monkeypatch.setattr(teller, "seen", lambda: told("a", digits=1))
    teller.run(stop, every_s=0)
    assert heard == [told("a", digits=1)]
    assert len(caplog.records) == 1, "it warns once"


def test_outcomes_are_counted_over_restarts_of_haproxy_and_changes_of_slots() -> None:
    tally = Tally()

    def look(slot: str, answered: int, failed: int) -> tuple[int, int]:
        counted = {slot: Counted(0, 0, answered, failed)}
        total = tally.after(counted, {"digits@1": slot})["digits@1"]
        return total.answered, total.failed

    assert look("slot00", 100, 7) == (0, 0), "what the slot counted before is another's"
    assert look("slot00", 110, 8) == (10, 1)
    assert look("slot00", 5, 1) == (15, 2), "a HAProxy that was started since then counts from 0"
    assert look("slot01", 900, 90) == (15, 2)
    assert look("slot01", 901, 90) == (16, 2)
    assert Tally().name != tally.name

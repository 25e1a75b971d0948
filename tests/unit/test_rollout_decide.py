"""A rollout advances when it may, goes back when it must, waits when it cannot know, and names its numbers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout_examples import plan, seen, seens, stamp

from raymaas.errors import InvalidInput, Refused
from raymaas.rollout import decide as rollout
from raymaas.rollout.decide import begin, decide, pause, resume
from raymaas.rollout.guards import findings
from raymaas.specs.rollouts import Finding, Guards, RolloutState, Seen, SeenBoth, TailRecord


def begun(**changed: Any) -> RolloutState:
    return begin(None, stamp(), new=2, old=1, plan=plan(**changed), cursor="0")


GOOD = SeenBoth(new=seen(600, errors=1, pairs=200, disagreed=4), old=seen(3000, seed=1))
NOTHING = SeenBoth()


def later(state: RolloutState, seconds: float, what: SeenBoth = GOOD) -> RolloutState:
    return decide(state, stamp(seconds), seen=what, cursor=str(seconds))


def finding(state: RolloutState, guard: str) -> Finding:
    (found,) = (each for each in state.findings if each.guard == guard)
    return found


def test_a_good_version_goes_through_all_steps_and_is_promoted_after_the_last() -> None:
    state, shares = begun(), []
    for number in range(1, 5):
        shares.append(state.percent)
        assert state.phase == "advancing"
        state = later(state, 60 * number)
    assert shares == [1, 10, 50, 100]
    assert (state.phase, state.percent, state.revision) == ("promoted", 100, 5)
    assert state.whole.new.requests == 2400
    assert state.decision.summary.startswith(
        "Promoted digits@2, which kept its bounds: 4 of 2,400 requests failed"
    )


def test_a_step_takes_its_time_however_good_the_version_is() -> None:
    state = later(begun(), 59.9)
    assert (state.step, state.decision.action) == (0, "measure")
    state = later(state, 60)
    assert (state.step, state.decision.action, state.since) == (1, "advance", stamp(60).at)
    assert state.this_step == NOTHING
    assert state.decision.summary.startswith("From 1 % to 10 %: 2 of 1,200 requests failed, 0.167 % (")
    assert "%), at most 0.5 %; p99 is " in state.decision.summary
    assert "8 of 400 compared answers differ, 2 % (" in state.decision.summary
    assert later(state, 119.9).step == 1


def test_it_waits_for_requests_and_says_how_many_are_missing() -> None:
    few = SeenBoth(new=seen(120, pairs=40), old=seen(3000))
    state = later(begun(), 60, few)
    assert (state.step, state.phase) == (0, "advancing")
    assert state.decision.summary == (
        "Waits for traffic at 1 %: 120 of 500 requests of version 2, 40 of 100 compared answers"
    )
    assert later(state, 61, NOTHING) is state, "the same is not said twice"
    assert later(state, 62).step == 1, "as soon as there are enough"


def test_it_waits_for_an_old_version_to_compare_with() -> None:
    state = later(begun(), 60, SeenBoth(new=GOOD.new))
    assert "0 of 100 answered requests of version 1 to compare with" in state.decision.summary
    assert state.step == 0


def test_a_version_beyond_its_bound_but_not_surely_takes_the_step_once_more() -> None:
    doubtful = SeenBoth(new=seen(600, errors=5, pairs=200), old=GOOD.old)
    state = later(begun(), 60, doubtful)
    assert (state.phase, state.step, state.due) == ("advancing", 0, stamp(120).at)
    assert state.decision.summary.startswith(
        "Stays at 1 % for another 60 s: the error rate is 0.833 % in this step, beyond 0.5 %, but the evidence is "
    )
    state = later(state, 119)
    assert state.step == 0, "although the rate is within its bound again"
    assert later(state, 120).step == 1


def test_a_plan_may_limit_how_long_a_step_waits_and_then_the_version_goes_back() -> None:
    few = SeenBoth(new=seen(120, pairs=40), old=seen(3000))
    state = later(begun(give_up_after_s=300), 60, few)
    assert later(state, 299, NOTHING).phase == "advancing"
    ended = later(state, 300, NOTHING)
    assert (ended.phase, ended.percent) == ("rolled_back", 0)
    assert ended.decision.summary.startswith("Gave up after 300 s at 1 %, digits@1 answers again: 120 of 500")
    assert later(state, 300).step == 1, "not in the moment in which it may advance"
    doubtful = SeenBoth(new=seen(600, errors=5, pairs=200), old=GOOD.old)
    over = later(later(begun(give_up_after_s=100), 60, doubtful), 121, NOTHING)
    assert (over.phase, "beyond 0.5 %" in over.decision.summary) == ("rolled_back", True)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 4)), min_size=4, max_size=15), st.data())
def test_no_step_takes_longer_than_the_plan_allows_whatever_is_seen(
    intervals: list[tuple[int, int]], data: st.DataObject
) -> None:
    limit_s, now_s = data.draw(st.integers(5, 20)), 0.0
    doubtful = {"guards": Guards(max_error_rate=0.01), "min_requests": 20, "alpha": 1e-9}
    state = begun(steps=(10, 100), every_s=4, give_up_after_s=limit_s, **doubtful)
    for requests, errors in intervals:
        now_s += data.draw(st.integers(1, 4))
        state = later(state, now_s, SeenBoth(new=Seen(requests=requests + errors, errors=errors)))
        in_step_s = (stamp(now_s).at - state.since).total_seconds()
        assert not state.under_way or in_step_s < limit_s
        if state.decision.summary.startswith("Gave up"):
            assert (state.phase, in_step_s >= limit_s) == ("rolled_back", True)


def test_the_step_that_is_taken_once_more_ends_when_the_plan_gives_up() -> None:
    doubtful = SeenBoth(new=seen(600, errors=5, pairs=200), old=GOOD.old)
    state = later(begun(give_up_after_s=100), 60, doubtful)
    assert state.due == stamp(100).at
    assert state.decision.summary.startswith("Stays at 1 % for another 40 s: ")
    assert later(state, 99, NOTHING).under_way
    assert later(state, 100, NOTHING).phase == "rolled_back"


def test_the_time_of_a_pause_is_none_of_the_steps() -> None:
    few = SeenBoth(new=seen(120, pairs=40), old=seen(3000))
    state = later(begun(give_up_after_s=300), 60, few)
    state = resume(pause(state, stamp(100, who="ana")), stamp(1000, who="ana"))
    assert later(state, 1299, NOTHING).phase == "advancing"
    assert later(state, 1300, NOTHING).phase == "rolled_back"


@pytest.mark.parametrize(
    ("guard", "intervals", "bad", "sentence"),
    [
        (
            "errors",
            1,
            SeenBoth(new=seen(600, errors=30, pairs=200), old=GOOD.old),
            "30 of 600 requests failed, 5 %",
        ),
        (
            "disagreement",
            1,
            SeenBoth(new=seen(600, pairs=200, disagreed=40), old=GOOD.old),
            "40 of 200 compared answers",
        ),
        ("p99", 3, SeenBoth(new=seen(600, slower=3, pairs=200), old=GOOD.old), "p99 is 2.7"),
    ],
)
def test_each_guard_rolls_back_by_itself_and_names_its_numbers(
    guard: str, intervals: int, bad: SeenBoth, sentence: str
) -> None:
    state = later(begun(), 1, SeenBoth(old=seen(1000)))
    for second in range(intervals):
        assert state.phase == "advancing"
        state = later(state, 2 + second, bad)
    assert (state.phase, state.percent, state.decision.action) == ("rolled_back", 0, "roll_back")
    crossed = [found.guard for found in state.findings if found.log_evidence >= found.log_needed]
    assert crossed == [guard]
    assert state.decision.summary.startswith(f"Rolled back digits@2 from 1 %: {sentence}")
    assert f"{finding(state, guard).hits:,} of {finding(state, guard).trials:,}" in state.decision.summary
    unguarded = begun(guards=Guards(**({"max_error_rate": 0.5} | _without(guard))))
    unguarded = later(unguarded, 1, SeenBoth(old=seen(1000)))
    for second in range(intervals):
        unguarded = later(unguarded, 2 + second, bad)
    assert unguarded.phase == "advancing", "without that guard"


def _without(guard: str) -> dict[str, float]:
    fields = {"errors": "max_error_rate", "p99": "max_p99_ratio", "disagreement": "max_disagreement"}
    bounds = {"max_error_rate": 0.005, "max_p99_ratio": 1.2, "max_disagreement": 0.05}
    return {field: bound for field, bound in bounds.items() if field != fields[guard]}


def test_alpha_is_divided_over_the_guards_in_force() -> None:
    alone = begun(guards=Guards(max_error_rate=0.005))
    assert finding(alone, "errors").log_needed < finding(begun(), "errors").log_needed
    assert len(alone.findings) == 1


def test_a_version_that_fails_in_a_late_step_goes_back_though_it_was_good_before() -> None:
    state = begun(guards=Guards(max_error_rate=0.005))
    state = later(state, 60, SeenBoth(new=Seen(requests=50_000, errors=20)))
    state = later(state, 61, SeenBoth(new=Seen(requests=1000, errors=40)))
    assert (state.phase, state.step) == ("rolled_back", 1)


def test_a_person_pauses_and_resumes_and_meanwhile_it_is_measured_but_does_not_advance() -> None:
    state = rollout.pause(begun(), stamp(30, who="ada", why="lunch"))
    assert (state.phase, state.decision.who, state.decision.why) == ("paused", "ada", "lunch")
    assert rollout.pause(state, stamp(31)) is state
    state = later(state, 500)
    assert (state.phase, state.step, state.whole.new.requests) == ("paused", 0, 600)
    state = rollout.resume(state, stamp(600, who="ada"))
    assert (state.phase, state.since, state.due) == ("advancing", stamp(600).at, stamp(660).at)
    assert rollout.resume(state, stamp(601)) is state
    assert later(state, 659).step == 0
    assert later(state, 660).step == 1


def test_a_paused_rollout_still_goes_back() -> None:
    state = rollout.pause(begun(), stamp(30))
    assert later(state, 31, SeenBoth(new=seen(600, errors=60), old=GOOD.old)).phase == "rolled_back"


@pytest.mark.parametrize(
    ("move", "phase", "percent"), [("abort", "aborted", 0), ("promote", "promoted", 100)]
)
def test_a_person_ends_a_rollout_and_then_nothing_moves_it(move: str, phase: str, percent: int) -> None:
    state = getattr(rollout, move)(begun(), stamp(5, who="ada", why="enough"))
    assert (state.phase, state.percent, state.decision.who) == (phase, percent, "ada")
    assert later(state, 60, SeenBoth(new=seen(600, errors=600))) is state
    for other in ("pause", "resume", "abort", "promote"):
        with pytest.raises(
            Refused, match=r"the rollout of digits@2 cannot be .* it has ended: .* begin another"
        ):
            getattr(rollout, other)(state, stamp(6))


def test_one_rollout_at_a_time_and_the_next_begins_afresh() -> None:
    state = later(begun(), 10)
    with pytest.raises(Refused, match="'digits' is being rolled out to version 2, at 1 %"):
        begin(state, stamp(20), new=3, old=1, plan=plan())
    ended = rollout.abort(state, stamp(20))
    again = begin(ended, stamp(30), new=3, old=1, plan=plan())
    assert (again.revision, again.step, again.whole, again.began) == (4, 0, NOTHING, stamp(30).at)
    with pytest.raises(InvalidInput, match="version 3 of 'digits' cannot be rolled out against itself"):
        begin(None, stamp(), new=3, old=3, plan=plan())


def test_each_state_is_one_revision_on_and_its_cursor_is_where_its_sums_end() -> None:
    state = later(begun(), 10)
    assert (state.revision, state.cursor, state.write_id) == (2, "10", "w10")
    assert later(state, 11, NOTHING) is state


@settings(max_examples=30)
@given(st.lists(st.tuples(seens(), seens()), max_size=12), st.data())
def test_a_process_that_is_killed_anywhere_goes_on_from_the_document_and_decides_the_same(
    intervals: list[tuple[Seen, Seen]], data: st.DataObject
) -> None:
    straight = restarted = begun(min_requests=20, min_pairs=1, every_s=2)
    for number, (new, old) in enumerate(intervals, 1):
        what = SeenBoth(new=new, old=old)
        straight = later(straight, number, what)
        if data.draw(st.booleans()):
            restarted = RolloutState.unseal(restarted.seal(), source="killed")
        restarted = later(restarted, number, what)
    assert restarted.seal() == straight.seal()
    assert straight.model_validate(straight.model_dump()) == straight


@settings(max_examples=30)
@given(st.lists(seens(), min_size=1, max_size=8), st.integers(0, 8))
def test_the_evidence_of_errors_and_disagreement_is_that_of_the_sums_in_any_grouping(
    parts: list[Seen], cut: int
) -> None:
    asked = plan(guards=Guards(max_error_rate=0.3, max_disagreement=0.6), every_s=1000)

    def after(groups: list[Seen]) -> RolloutState:
        state = begin(None, stamp(), new=2, old=1, plan=asked)
        for number, group in enumerate(groups):
            state = later(state, number, SeenBoth(new=group))
        return state

    one_by_one = after(parts)
    if not one_by_one.under_way:  # it went back at an earlier look, which others do not have
        return
    grouped = after([sum(parts[:cut], Seen()), sum(parts[cut:], Seen())])
    assert grouped.whole == one_by_one.whole
    assert grouped.findings == one_by_one.findings
    both = SeenBoth(new=sum(parts, Seen()))
    assert findings(asked, both, both, TailRecord()) == one_by_one.findings

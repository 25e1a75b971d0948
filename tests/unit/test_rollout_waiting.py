"""What a rollout waits for is told as people would ask: time, traffic, a rate within its bound, or somebody."""

from __future__ import annotations

from rollout_examples import plan, seen, stamp

from raymaas.rollout.decide import abort, begin, decide, pause
from raymaas.rollout.sentences import waiting_text
from raymaas.specs.rollouts import Guards, RolloutState, Seen, SeenBoth

GUARDED = plan(guards=Guards(max_error_rate=0.01))


def measured(seconds: float, new: Seen) -> RolloutState:
    begun = begin(None, stamp(), new=2, old=1, plan=GUARDED)
    return decide(begun, stamp(seconds), seen=SeenBoth(new=new), cursor="1")


def told(state: RolloutState, seconds: float) -> str:
    return waiting_text(state, stamp(seconds).at)


def test_the_steps_time_and_the_traffic_it_lacks() -> None:
    state = measured(20, seen(120))
    assert told(state, 20) == "the step's time, 40 s more; traffic: 120 of 500 requests of version 2"
    assert told(state, 60) == "traffic: 120 of 500 requests of version 2"


def test_a_rate_beyond_its_bound_in_this_step() -> None:
    doubtful = measured(61, seen(600, errors=7))
    assert doubtful.phase == "advancing"
    assert told(doubtful, 121) == "the error rate to be within 1 %, 1.17 % in this step"


def test_nothing_when_the_next_round_advances_it() -> None:
    assert told(measured(20, seen(600)), 60) == ""


def test_somebody_when_it_was_paused() -> None:
    assert told(pause(measured(20, seen(120)), stamp(30)), 90) == "somebody to resume it"
    assert not abort(measured(20, seen(120)), stamp(30)).under_way

"""The front as it moves: a sentence for every recipe that ends, and files that are those of that moment."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from compression_examples import LIMITS, RUN, found, trial, tried
from registry_examples import memory_store

from raymaas.jobs.front import MovingFront, Scale, line_of, view_of, won
from raymaas.registry.artifacts import Artifacts
from raymaas.registry.fronts import Fronts
from raymaas.specs.search import Broken, Stopped, Trial
from raymaas.specs.selecting import Best, Chosen
from raymaas.store import Store

SCALE = Scale("digits", LIMITS, original_bytes=10_000)


def moving(store: Store, said: list[str], *known: Trial) -> MovingFront:
    return MovingFront(SCALE, known=known, trials=4, fronts=Fronts(store, RUN), say=said.append)


def table(store: Store) -> dict[str, dict[str, str]]:
    read = csv.DictReader(io.StringIO(Artifacts(store, RUN).read("front.csv").decode()))
    return {row["trial"]: row for row in read}


def test_each_trial_is_told_with_its_place_on_the_front_of_that_moment() -> None:
    said: list[str] = []
    front = moving(memory_store(), said, trial("t-0", 500, 0.97))

    for one in (trial("t-1", 400, 0.96), trial("t-2", 450, 0.955), trial("t-3", 100, 0.90)):
        front.hear(one)

    assert said == [
        "trial 2 of 4: 400 bytes, 1/25.0, accuracy 0.9600 (as the parent), passes the gate, on the front now; "
        "quantize.bits 3",
        "trial 3 of 4: 450 bytes, 1/22.2, accuracy 0.9550 (0.005 worse than the parent), passes the gate, beaten; "
        "quantize.bits 3",
        "trial 4 of 4: 100 bytes, 1/100.0, accuracy 0.9000 (0.06 worse than the parent), fails the gate, on the front "
        "now; quantize.bits 3",
    ]


def test_those_that_were_ended_early_or_failed_are_told_with_why() -> None:
    stopped = Stopped(reason="it lost 70 points", metrics={"bytes": 10.0}, reports=1, seconds=1.0)
    early = Trial(run_id=RUN, trial="t-1", point={"quantize.bits": 2}, outcome=stopped)
    failed = Trial(run_id=RUN, trial="t-2", point={}, outcome=Broken(error="out of memory"))

    assert line_of(early, [early], LIMITS, of=2) == (
        "trial 1 of 2: ended early, it lost 70 points; quantize.bits 2"
    )
    one = trial("t-3", 400, 0.96)
    gone_on = one.model_copy(update={"outcome": one.outcome.model_copy(update={"reused": ("prune",)})})
    assert ", on the front now, prune taken from another trial; quantize.bits 3" in line_of(
        gone_on, [gone_on], LIMITS, of=2
    )
    assert line_of(failed, [early, failed], LIMITS, of=2) == "trial 2 of 2: failed, out of memory; the recipe"


def test_the_files_are_those_of_the_moment_and_the_last_ones_show_what_was_chosen() -> None:
    store, said = memory_store(), list[str]()
    front = moving(store, said)
    front.hear(trial("t-1", 400, 0.955))
    assert table(store)["t-1"]["front"] == "1"
    front.hear(trial("t-2", 300, 0.96))
    assert [table(store)[name]["front"] for name in ("t-1", "t-2")] == ["0", "1"]

    chosen = Chosen(
        run_id=RUN,
        at=store.now(),
        best=(Best(rule="smallest", trial="t-2"),),
        tried=(tried("t-2", found("onnx-int8", p50_ms=0.25)),),
    )
    front.settle([trial("t-1", 400, 0.955), trial("t-2", 300, 0.96)], chosen)

    assert said[-1] == f"the front is kept; `raymaas runs front {RUN} --to FOLDER` brings it"
    assert (table(store)["t-2"]["chosen"], table(store)["t-2"]["runtime"]) == ("smallest", "onnx-int8")
    assert {file.name for file in Artifacts(store, RUN).list()} == {"front.csv", "front.png", "front.html"}
    assert b"chosen: smallest" in Artifacts(store, RUN).read("front.html")


def test_a_store_that_does_not_take_the_files_is_told_once_and_costs_nothing_else() -> None:
    class Full:
        """A store without room."""

        def first(self, prefix: str) -> str | None:
            return None

        def create(self, key: str, data: bytes) -> None:
            raise OSError("no space left")

    said: list[str] = []
    front = moving(Full(), said)  # type: ignore[arg-type]

    front.hear(trial("t-1", 400, 0.955))
    front.hear(trial("t-2", 300, 0.96))
    chosen = Chosen(
        run_id=RUN,
        at=memory_store().now(),
        best=(Best(rule="smallest", trial="t-2"),),
        tried=(tried("t-2", found("torch")),),
    )
    front.settle([trial("t-2", 300, 0.96)], chosen)

    assert not any("the front is kept" in line for line in said)
    assert sum("could not be kept: no space left" in line for line in said) == 1
    assert sum(line.startswith("trial") for line in said) == 2


def test_while_nothing_has_figures_there_are_no_files() -> None:
    store, said = memory_store(), list[str]()

    moving(store, said).hear(Trial(run_id=RUN, trial="t", point={}, outcome=Broken(error="e")))

    assert Artifacts(store, RUN).list() == ()
    assert len(said) == 1


def test_the_knee_of_those_that_pass_is_marked() -> None:
    trials = [trial("a", 100, 0.951), trial("b", 120, 0.959), trial("c", 400, 0.96), trial("d", 90, 0.5)]

    assert [dot.name for dot in view_of(trials, SCALE).dots if dot.is_knee] == ["b"]
    tight = replace(SCALE, limits=replace(SCALE.limits, max_bytes=110))
    assert [dot.name for dot in view_of(trials, tight).dots if dot.is_knee] == ["a"]


def test_what_was_won_is_a_share_of_what_could_be() -> None:
    # It takes no bytes but one tenth, and loses a quarter of what may be lost.
    share = 0.9 * 0.75

    assert won([trial("a", 1000, 0.9575)], SCALE).startswith(f"hypervolume {share:.3f} of")
    strict = Scale("digits", type(LIMITS)(LIMITS.gate.model_copy(update={"max_loss": 0.0}), reached=0.96), 10)
    assert "nothing may be lost" in won([trial("a", 1000, 0.9575)], strict)
    assert won([], SCALE).startswith("hypervolume 0.000")

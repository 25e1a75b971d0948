"""The front of a search is replaced while it goes on and settled at the end; readers never see a file twice or none."""

from __future__ import annotations

from pathlib import Path

import pytest
from registry_examples import memory_store

from raymaas.errors import NotFound
from raymaas.registry.artifacts import Artifacts
from raymaas.registry.choices import Choices
from raymaas.registry.fronts import Fronts
from raymaas.specs.selecting import Best, Chosen, Rule, Tried
from raymaas.store import LocalStore, Store


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return memory_store() if request.param == "memory" else LocalStore(tmp_path)


def test_the_newest_state_is_what_is_read_and_the_only_one_that_is_kept(store: Store) -> None:
    front = Fronts(store, "run-1")
    for state in (b"one", b"two!", b"three"):
        front.replace("front.csv", state)

        assert Artifacts(store, "run-1").read("front.csv") == state
        assert [(file.name, file.bytes) for file in front.list()] == [("front.csv", len(state))]

    assert len(store.list("runs/run-1/front/")) == 1


def test_a_settled_file_lies_at_its_own_key_and_never_changes(store: Store) -> None:
    front = Fronts(store, "run-1")
    front.replace("front.html", b"moving")
    front.settle("front.html", b"settled")
    front.settle("front.html", b"another")
    front.replace("front.html", b"too late")

    assert front.read("front.html") == b"settled"
    assert store.read("runs/run-1/front.html") == b"settled"


def test_a_file_that_was_replaced_while_it_was_read_is_read_again(store: Store) -> None:
    class Slow:
        """The store, in which the file is replaced between looking up its newest state and reading that."""

        replaced = False

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def read(self, key: str) -> bytes:
            if not self.replaced:
                self.replaced = True
                Fronts(store, "run-1").replace("front.png", b"new")
            return store.read(key)

    Fronts(store, "run-1").replace("front.png", b"old")

    assert Fronts(Slow(), "run-1").read("front.png") == b"new"  # type: ignore[arg-type]


def test_a_file_that_was_replaced_while_it_was_looked_for_is_listed(store: Store) -> None:
    class Slow:
        """The store, in which the file is replaced between looking up its newest state and asking for its size."""

        replaced = False

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def size(self, key: str) -> int:
            if not self.replaced:
                self.replaced = True
                Fronts(store, "run-1").replace("front.png", b"newer")
            return store.size(key)

    Fronts(store, "run-1").replace("front.png", b"old")

    found = Fronts(Slow(), "run-1").list()  # type: ignore[arg-type]

    assert [(file.name, file.bytes) for file in found] == [("front.png", 5)]


def test_a_run_without_a_front_has_none_of_its_files(store: Store) -> None:
    assert Artifacts(store, "run-1").list() == ()
    with pytest.raises(NotFound, match=r"has no file 'front\.csv'"):
        Artifacts(store, "run-1").read("front.csv")


def test_the_files_of_a_front_are_among_those_of_its_run(store: Store) -> None:
    artifacts = Artifacts(store, "run-1")
    artifacts.front.replace("front.csv", b"x")
    artifacts.keep("report/report.md", b"page")

    assert [file.name for file in artifacts.list()] == ["front.csv", "report/report.md"]


def test_of_two_choices_of_a_run_the_first_counts(store: Store) -> None:
    choices = Choices(store)
    assert choices.of_run("run-1") is None

    def chosen(trial: str) -> Chosen:
        return Chosen(
            run_id="run-1",
            at=store.now(),
            best=(Best(rule="smallest", trial=trial),),
            tried=(Tried(trial=trial),),
        )

    first = choices.keep(chosen("a"))

    assert choices.keep(chosen("b")) == first
    assert choices.of_run("run-1") == first
    assert list(first.by_trial()) == ["a"]


def test_a_trial_that_is_best_by_several_rules_is_chosen_once_and_the_order_of_the_rules_is_kept() -> None:
    rules: list[tuple[Rule, str]] = [("smallest", "b"), ("fastest", "a"), ("knee", "b")]
    chosen = Chosen(
        run_id="run-1",
        at=memory_store().now(),
        best=tuple(Best(rule=rule, trial=trial) for rule, trial in rules),
        tried=(Tried(trial="a"),),
    )

    read = Chosen.unseal(chosen.seal(), source="choice")

    assert list(read.by_trial().items()) == [("b", ("smallest", "knee")), ("a", ("fastest",))]

"""Identity: one version is one version, however often and by whatever way it comes, and finds its parent again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from exchange_examples import forge, publish, publish_child
from registry_examples import memory_store

from raymaas.errors import IntegrityError
from raymaas.exchange.folder import read_folder, write_folder
from raymaas.exchange.identity import identity
from raymaas.exchange.incoming import bring_in
from raymaas.exchange.parcel import pack
from raymaas.registry.tombstones import Tombstones
from raymaas.registry.versions import Versions
from raymaas.specs.serving import Deletion
from raymaas.specs.versions import ModelVersion
from raymaas.store import Store


def carry(source: Versions, version: ModelVersion, to: Versions, *, model: str | None = None) -> ModelVersion:
    return bring_in(to, pack(source, version, origin="memory://"), model=model)


def delete(store: Store, version: ModelVersion) -> None:
    gone = Deletion(version=version.version, at=store.now(), who="ana", why="", write_id="w")
    Tombstones(store).set(version.model, gone)


def test_importing_twice_or_at_once_gives_one_version() -> None:
    home, away = Versions(memory_store()), Versions(memory_store())
    parcel = pack(home, publish(home), origin="memory://")
    with ThreadPoolExecutor(4) as pool:
        brought = list(pool.map(lambda _: bring_in(away, parcel), range(4)))
    assert brought == [away.get("small", 1)] * 4
    assert bring_in(away, parcel) == brought[0]
    assert [v.version for v in away.list("small")] == [1]


def test_another_name_makes_another_version() -> None:
    home, away = Versions(memory_store()), Versions(memory_store())
    version = publish(home)
    assert carry(home, version, away).model == "small"
    assert carry(home, version, away, model="other").model == "other"
    assert away.models() == ["other", "small"]


def test_another_version_of_the_same_files_is_another_version() -> None:
    home, away = Versions(memory_store()), Versions(memory_store())
    carried = [carry(home, publish(home, f"run-{n}"), away) for n in (1, 2)]
    assert [v.version for v in carried] == [1, 2]


def test_each_version_of_one_run_is_brought_in_once() -> None:
    home, away = Versions(memory_store()), Versions(memory_store())
    made = [publish(home, "run-1", part=part) for part in (None, "t-2")]

    carried = [carry(home, version, away) for version in (*made, *made)]

    assert [v.version for v in carried] == [1, 2, 1, 2]
    assert [carry(away, version, home) for version in carried[:2]] == made


def test_a_version_that_comes_home_is_the_one_that_left() -> None:
    home, away = Versions(memory_store()), Versions(memory_store())
    publish(home, "before")
    version = publish(home)
    abroad = carry(home, version, away)
    assert carry(away, abroad, home) == version
    assert [v.version for v in home.list("small")] == [2, 1]


def test_over_three_registries_it_stays_the_same_and_its_manifest_does_not_grow() -> None:
    first, second, third = (Versions(memory_store()) for _ in range(3))
    version = publish(first)
    there = carry(first, version, second, model="renamed")
    onward = carry(second, there, third)
    assert (onward.model, onward.version) == ("renamed", 1)
    assert carry(first, version, third, model="renamed") == onward
    assert identity(first, version) == identity(second, there) == identity(third, onward)
    assert abs(len(there.seal()) - len(onward.seal())) < 20
    assert onward.lineage.imported is not None
    assert onward.lineage.imported.manifest["model"] == "small"


def test_a_deleted_version_can_be_brought_in_again_under_a_new_number() -> None:
    home, store = Versions(memory_store()), memory_store()
    away = Versions(store)
    version = publish(home)
    for number in (1, 2, 3):
        brought = carry(home, version, away)
        assert brought.version == carry(home, version, away).version == number
        delete(store, brought)


def test_a_parent_that_came_before_is_found_and_numbers_are_those_of_here() -> None:
    home, away = Versions(memory_store()), Versions(memory_store())
    parent = publish(home, "parent")
    child = publish_child(home, parent, "child")
    grandchild = publish_child(home, child, "grandchild")
    publish(away, "in the way".replace(" ", "-"))
    numbers = [carry(home, version, away).version for version in (parent, child, grandchild)]
    assert numbers == [2, 3, 4]
    brought = away.get("small", 4).lineage
    assert brought.parent == 3
    assert brought.compression is not None
    assert brought.compression.original == 2
    assert brought.imported is not None
    kept = ModelVersion.unseal(home.sealed("small", 3), source="").lineage
    assert brought.compression.recipe == kept.compression.recipe  # type: ignore[union-attr]


def test_without_its_parent_no_number_of_elsewhere_is_taken_for_one_of_here() -> None:
    home, away = Versions(memory_store()), Versions(memory_store())
    parent = publish(home, "parent")
    child = publish_child(home, parent, "child")
    grandchild = publish_child(home, child, "grandchild")
    publish(away, "a-stranger-numbered-1")
    orphan = carry(home, child, away)
    assert (orphan.lineage.parent, orphan.lineage.compression) == (None, None)
    assert orphan.lineage.parent_digest == identity(home, parent)
    assert orphan.lineage.imported is not None
    assert orphan.lineage.imported.manifest["lineage"]["parent"] == 1  # type: ignore[index, call-overload]
    below = carry(home, grandchild, away)
    assert (below.lineage.parent, below.lineage.compression) == (orphan.version, None)


def test_a_child_made_abroad_finds_its_parent_by_the_same_number_in_a_twin_registry() -> None:
    home, away = Versions(memory_store()), Versions(memory_store())
    child = publish_child(away, carry(home, publish(home), away), "child")
    brought = carry(away, child, home)
    assert (brought.version, brought.lineage.parent) == (2, 1)


def test_a_manifest_that_claims_another_first_publication_is_refused(tmp_path: Path) -> None:
    home, away = Versions(memory_store()), Versions(memory_store())
    abroad = carry(home, publish(home), away)
    write_folder(pack(away, abroad, origin="memory://"), tmp_path / "out")
    write_folder(pack(away, abroad, origin="memory://"), tmp_path / "bad")
    forge(
        tmp_path / "out",
        lambda body: body["files"].pop("evaluation.safetensors", body["files"].pop("model.onnx")),
    )
    (tmp_path / "out" / "model.onnx").unlink()
    forge(tmp_path / "bad", lambda body: body["lineage"]["imported"]["manifest"].update(version=7))
    for folder, said in (("out", "does not name the same files"), ("bad", "does not match its own digest")):
        store = memory_store()
        with pytest.raises(IntegrityError, match=said):
            bring_in(Versions(store), read_folder(tmp_path / folder))
        assert store.list("") == []

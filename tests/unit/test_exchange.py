"""Exchange: a version that leaves as a folder comes back as the same version, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exchange_examples import SIGNATURE, bundle, forge, publish, rows
from onnx import TensorProto, helper
from registry_examples import Crash, CrashingStore, memory_store
from safetensors.numpy import load, save

from raymaas.bundle.files import FILES_OF_RUNTIME, GRAPH, WEIGHTS
from raymaas.bundle.probes import PROBES
from raymaas.bundle.runtimes.opening import open_runtime
from raymaas.errors import IntegrityError, InvalidInput, NotFound, OutcomeUnknown, Refused, Unavailable
from raymaas.exchange.folder import read_folder, write_folder
from raymaas.exchange.identity import digest_of
from raymaas.exchange.incoming import bring_in
from raymaas.exchange.parcel import pack
from raymaas.registry.layout import blob_key, version_key
from raymaas.registry.versions import Versions
from raymaas.specs.base import sha256_hex
from raymaas.specs.versions import ModelVersion
from raymaas.store import LocalStore, MemoryStore, Store


@pytest.fixture
def home() -> Versions:
    """A registry with one version."""
    versions = Versions(memory_store())
    publish(versions)
    return versions


@pytest.fixture
def exported(home: Versions, tmp_path: Path) -> Path:
    folder = tmp_path / "exported"
    write_folder(pack(home, home.get("small", 1), origin="memory://"), folder)
    return folder


def probabilities(versions: Versions, version: ModelVersion, runtime: str) -> np.ndarray:
    opened = open_runtime(version, partial(versions.read_file, version), runtime=runtime)
    return opened.run({"x": rows(20, seed=1)})["probabilities"]


def hashes(version: ModelVersion) -> dict[str, str]:
    return {name: entry.sha256 for name, entry in version.files.items()}


def refuses(folder: Path, said: str, error: type[Exception] = IntegrityError) -> None:
    """Importing `folder` raises, and nothing at all is in the store afterwards."""
    store = memory_store()
    with pytest.raises(error, match=said):
        bring_in(Versions(store), read_folder(folder))
    assert store.list("") == []


def replaced(folder: Path, name: str, data: bytes) -> None:
    """Another file under a name of the version, with a manifest that says so."""
    (folder / name).write_bytes(data)
    forge(folder, lambda body: body["files"][name].update(sha256=sha256_hex(data), bytes=len(data)))


def test_a_folder_holds_the_files_the_manifest_of_the_store_and_the_card(
    home: Versions, exported: Path
) -> None:
    names = {*bundle().files, "manifest.json", "README.md"}
    assert {path.name for path in exported.iterdir()} == names
    assert (exported / "manifest.json").read_bytes() == home.sealed("small", 1)
    assert (exported / "README.md").read_text().startswith("# small@1\n")
    for name, data in bundle().files.items():
        assert (exported / name).read_bytes() == data


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_what_was_exported_is_imported_as_the_same_version(
    home: Versions, exported: Path, kind: str, tmp_path: Path
) -> None:
    away = Versions(memory_store() if kind == "memory" else LocalStore(tmp_path / "away"))
    publish(away, "another-run")
    original, version = home.get("small", 1), bring_in(away, read_folder(exported))
    assert away.get("small", 2) == version
    assert hashes(version) == hashes(original)
    for runtime in original.runtimes:
        np.testing.assert_array_equal(
            probabilities(away, version, runtime), probabilities(home, original, runtime)
        )
    own = {"version", "created_at", "run_id", "write_id", "files", "lineage"}
    assert version.model_dump(exclude=own) == original.model_dump(exclude=own)
    assert version.lineage.model_copy(update={"imported": None}) == original.lineage
    imported = version.lineage.imported
    assert imported is not None
    assert imported.origin == exported.as_uri()
    assert ModelVersion.unseal(home.sealed("small", 1), source="").model_dump(mode="json").items() <= (
        imported.manifest.items()
    )


def test_a_version_goes_straight_from_one_store_to_another_and_on(tmp_path: Path, home: Versions) -> None:
    told: list[tuple[str, str]] = []
    local = Versions(LocalStore(tmp_path))
    parcel = pack(home, home.get("small", 1), origin="x", on_read=lambda name, _: told.append(("read", name)))
    there = bring_in(local, parcel, on_kept=lambda name, _: told.append(("kept", name)))
    assert sorted(told) == sorted((did, name) for did in ("read", "kept") for name in parcel.files)
    memory = Versions(memory_store())
    on = bring_in(memory, pack(local, there, origin="y"), model="renamed")
    assert (on.model, on.version) == ("renamed", 1)
    assert memory.read_files(on) == home.read_files(home.get("small", 1))


def test_an_export_goes_to_an_absent_or_empty_folder_only(home: Versions, tmp_path: Path) -> None:
    parcel = pack(home, home.get("small", 1), origin="memory://")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name in ("taken", "file", "link"):
        with pytest.raises(Refused, match="give another folder"):
            write_folder(parcel, tmp_path / name)
    assert (tmp_path / "taken" / "mine").read_text() == (tmp_path / "file").read_text() == "mine"
    for name in ("empty", "new/deep"):
        write_folder(parcel, tmp_path / name)
        assert read_folder(tmp_path / name).files == parcel.files
    assert not list(tmp_path.rglob(".*"))


def test_an_export_that_fails_at_any_step_leaves_nothing(
    home: Versions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parcel = pack(home, home.get("small", 1), origin="memory://")
    real, steps = os.fsync, 0

    def full_at(step: int) -> Callable[[int], None]:
        left = iter(range(step))

        def fsync(descriptor: int) -> None:
            if next(left, None) is None:
                raise OSError(28, "No space left on device")
            real(descriptor)

        return fsync

    # Each file, and their folder before it is renamed.
    while steps < len(parcel.files) + 3:
        monkeypatch.setattr(os, "fsync", full_at(steps))
        with pytest.raises(Unavailable, match="No space left on device; nothing was exported"):
            write_folder(parcel, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []
        steps += 1
    monkeypatch.setattr(os, "fsync", full_at(steps))
    with pytest.raises(OutcomeUnknown, match="may not survive"):
        write_folder(parcel, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert read_folder(tmp_path / "out").files == parcel.files


def test_a_damaged_blob_is_not_exported() -> None:
    store = memory_store()
    versions = Versions(store)
    manifest = publish(versions)
    key = blob_key(manifest.files[GRAPH])
    store.delete(key)
    store.create(key, b"other bytes")
    with pytest.raises(IntegrityError, match=r"model\.onnx of small@1 is damaged"):
        pack(versions, manifest, origin="memory://")


@pytest.mark.parametrize("name", [*FILES_OF_RUNTIME["torch"], GRAPH, "manifest.json"])
def test_a_flipped_byte_in_any_file_is_refused(exported: Path, name: str) -> None:
    path = exported / name
    data = bytearray(path.read_bytes())
    for at in {0, len(data) // 2, len(data) - 1}:
        flipped = bytes(data[:at]) + bytes([data[at] ^ 1]) + bytes(data[at + 1 :])
        path.write_bytes(flipped)
        refuses(exported, "export" if name != "manifest.json" else "manifest.json")
    path.write_bytes(bytes(data) + b"\0")
    refuses(exported, "export" if name != "manifest.json" else "manifest.json")


@pytest.mark.parametrize("name", [GRAPH, PROBES])
def test_a_missing_file_is_refused(exported: Path, name: str) -> None:
    (exported / name).unlink()
    refuses(exported, f"{name} is missing")


def test_an_extra_file_is_refused_wherever_it_lies(exported: Path) -> None:
    (exported / "deep" / "er").mkdir(parents=True)
    (exported / "deep" / "er" / "payload.py").write_text("")
    refuses(exported, r"deep/er/payload\.py in .* is not named")


def test_a_changed_card_is_nobodys_business(exported: Path) -> None:
    (exported / "README.md").write_text("my own words")
    assert bring_in(Versions(memory_store()), read_folder(exported)).version == 1


def test_a_link_is_refused_even_to_the_right_bytes(exported: Path, tmp_path: Path) -> None:
    (exported / GRAPH).rename(tmp_path / "elsewhere")
    (exported / GRAPH).symlink_to(tmp_path / "elsewhere")
    refuses(exported, "is a link")


def test_a_linked_folder_and_a_pipe_are_refused(exported: Path, tmp_path: Path) -> None:
    (exported / "sub").symlink_to(tmp_path)
    refuses(exported, "is a link")
    (exported / "sub").unlink()
    (exported / GRAPH).unlink()
    os.mkfifo(exported / GRAPH)
    refuses(exported, "no plain file")


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "a/../../outside", ".hidden", "manifest.json", ""]
)
def test_a_name_that_leads_out_of_the_folder_is_refused(exported: Path, name: str) -> None:
    (exported.parent / "outside").write_bytes(b"secret")
    entry = {"sha256": sha256_hex(b"secret"), "bytes": 6, "copy_id": "0" * 17 + "-" + "0" * 16}
    forge(exported, lambda body: body["files"].update({name: entry}))
    refuses(exported, "names a file that cannot be one|names itself")


def test_a_folder_without_a_version_is_not_found(tmp_path: Path) -> None:
    refuses(tmp_path / "none", "is not a folder", NotFound)
    refuses(tmp_path, "has no manifest.json", NotFound)


def test_only_the_digest_that_was_asked_for_is_taken(home: Versions, exported: Path) -> None:
    digest = digest_of(home.sealed("small", 1))
    forge(exported, lambda body: body.update(description="better than it is"))
    read_folder(exported)
    with pytest.raises(IntegrityError, match="another version"):
        read_folder(exported, digest=digest)


def test_a_newer_format_is_refused_by_name(exported: Path) -> None:
    forge(exported, lambda body: body.update(format=99))
    refuses(exported, "has format 99 .* Upgrade", InvalidInput)


@pytest.mark.parametrize(
    "name", ["architecture.json", "model.onnx", "model.safetensors", "probes.safetensors"]
)
def test_a_file_that_no_runtime_can_read_is_refused(exported: Path, name: str) -> None:
    replaced(exported, name, b"garbage")
    refuses(exported, "cannot be|damaged|does not fit")


def test_a_version_that_does_not_give_its_own_answers_is_refused(exported: Path) -> None:
    tensors = load(bundle().files[WEIGHTS])
    replaced(exported, WEIGHTS, save({name: array + np.float32(0.5) for name, array in tensors.items()}))
    refuses(exported, "'torch' does not reproduce this version")


@pytest.mark.parametrize("location", ["secret.bin", "../secret.bin"])
def test_a_graph_cannot_read_files_of_the_importer(
    exported: Path, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = tmp_path / "working"
    working.mkdir()
    (working / location).write_bytes(np.zeros((12, 512), dtype=np.float32).tobytes())
    monkeypatch.chdir(working)
    secret = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[12, 512], data_location=TensorProto.EXTERNAL
    )
    secret.external_data.add(key="location", value=location)
    tensor = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["logits"]),
        helper.make_node("Identity", ["logits"], ["probabilities"]),
    ]
    outputs = [tensor(spec.name, shape=["B", 512]) for spec in SIGNATURE.outputs]
    graph = helper.make_graph(nodes, "g", [tensor("x", shape=["B", 12])], outputs, [secret])
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    replaced(exported, GRAPH, model.SerializeToString())
    refuses(exported, r"model\.onnx cannot be loaded: .*[Ee]xternal data path")


def test_a_version_that_no_runtime_here_knows_is_refused(exported: Path) -> None:
    forge(exported, lambda body: body.update(runtimes=["tensorrt"]))
    refuses(exported, "none that this raymaas knows", InvalidInput)


def test_an_import_that_is_cut_off_is_done_again_without_a_trace(exported: Path) -> None:
    parcel = read_folder(exported)
    store: Store = memory_store()
    for crash_at in (3, 9, 15, 21):
        crashing: Any = CrashingStore(store, crash_at, "after")
        with pytest.raises(Crash):
            bring_in(Versions(crashing), parcel)
    versions = Versions(store)
    assert bring_in(versions, parcel).version == 1
    assert isinstance(store, MemoryStore)
    assert store.list("models/small/versions/") == [version_key("small", 1)]

"""What serves a coded version: every artifact is judged in its own runtime, and what was judged is what answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from local_training import fit_here, trained
from onnx import numpy_helper
from registry_examples import accounting, memory_store

from raymaas.bundle import artifacts
from raymaas.bundle.files import CODED, GRAPHS, files_of_runtime
from raymaas.bundle.hollow import filled, parsed
from raymaas.bundle.probes import PROBES
from raymaas.bundle.resident import resident_of
from raymaas.bundle.rmz.container import read, write
from raymaas.bundle.rmz.tensors import Quantized
from raymaas.bundle.runtimes import opening
from raymaas.bundle.runtimes.onnx import OnnxRuntime
from raymaas.bundle.runtimes.opening import load_runtime, open_runtime
from raymaas.compress.passes.compute import ComputeConfig
from raymaas.compress.recipe import carry_out
from raymaas.compress.subject import Subject
from raymaas.data.split import Parts
from raymaas.errors import IntegrityError, RunFailed
from raymaas.jobs import speed
from raymaas.jobs.computing import Computed, computed, passes_found
from raymaas.jobs.ground import parent_of
from raymaas.jobs.origin import rows_of_version
from raymaas.registry.versions import VersionDraft, Versions
from raymaas.specs.accounting import Calibration
from raymaas.specs.compression import FineTuning, Gate
from raymaas.specs.jobs import Component
from raymaas.specs.runtimes import RUNTIMES, RuntimeName
from raymaas.specs.versions import CompressionLineage, ModelVersion

PRUNE = Component(use="prune", config={"sparsity": 0.5, "epochs": 0})
QUANTIZE = Component(use="quantize", config={"bits": 6, "epochs": 0})
GATE = Gate(metric="accuracy", max_loss=0.05)
INTEGERS = ComputeConfig(candidates=("onnx", "onnx-int8"), calibration_rows=64)


@dataclass
class Case:
    """A trained version, and a coded one of it."""

    versions: Versions
    parent: ModelVersion
    rows: Parts
    stages: list[tuple[str, bytes]]

    @property
    def coded(self) -> bytes:
        return self.stages[-1][1]

    def computed(self, wanted: ComputeConfig = INTEGERS, *, reached: float = 0.9) -> Computed:
        return computed(
            self.coded, self.parent, self.versions, self.rows, gate=GATE, reached=reached, wanted=wanted
        )


def no_process(*_: object, **__: object) -> None:
    """A process takes seconds: what one takes is measured by the one test that is about it."""
    raise RunFailed("there are no processes here")


@pytest.fixture(scope="module")
def case() -> Iterator[Case]:
    with pytest.MonkeyPatch.context() as patch:
        store = memory_store()
        fit_here(patch, store)
        parent = trained(
            store,
            {
                "model": "digits",
                "data": {"use": "digits"},
                "architecture": {"use": "mlp", "config": {"hidden": [48], "input_scale": 0.0625}},
                "training": {"epochs": 12},
                "transforms": [{"use": "standardize"}],
            },
        )
        patch.setattr(speed, "_TIMED_S", 0.01)
        patch.setattr(speed, "resident_of", no_process)
        versions, stages = Versions(store), []
        rows = rows_of_version(store, parent)
        subject = Subject.of(parent_of(versions, parent), rows.train, FineTuning(), seed=0)
        for step in (PRUNE, QUANTIZE):
            made = carry_out([step], subject)
            stages.append((step.use, write(subject.architecture, made.tensors)))
        yield Case(versions, parent, rows, stages)


@pytest.fixture(scope="module")
def all_of_it(case: Case) -> Computed:
    return case.computed(ComputeConfig(calibration_rows=64))


@pytest.fixture(scope="module")
def version(case: Case, all_of_it: Computed) -> ModelVersion:
    """Published with all that was found."""
    compression = CompressionLineage(
        recipe=(PRUNE, QUANTIZE),
        trial="t-1",
        original=case.parent.version,
        original_bytes=case.parent.weights_bytes,
        parent_evaluation=case.parent.evaluation,
        accounting=all_of_it.in_accounting(accounting()),
    )
    kept = {field: getattr(case.parent, field) for field in VersionDraft.model_fields if field != "part"}
    bundle = all_of_it.bundle
    draft = VersionDraft(
        **kept
        | {
            "run_id": "compress-digits-1",
            "runtimes": bundle.runtimes,
            "weights_file": bundle.weights_file,
            "lineage": case.parent.lineage.model_copy(update={"compression": compression, "parent": 1}),
        }
    )
    return case.versions.publish(draft, bundle.files)


def test_every_candidate_is_judged_timed_and_weighed_beside_the_original(all_of_it: Computed) -> None:
    assert {finding.runtime for finding in all_of_it.findings} == set(RUNTIMES)
    assert all_of_it.calibration == Calibration(rows=64, method="minmax")
    for finding in all_of_it.findings:
        assert finding.passed
        assert finding.value is not None
        assert finding.value > 0.85
    assert {finding.runtime for finding in all_of_it.original} == {"onnx", "torch"}
    for finding in (*all_of_it.findings, *all_of_it.original):
        assert [latency.rows for latency in finding.latencies] == [1, 64]
        assert all(0 < latency.p50_ms <= latency.p99_ms for latency in finding.latencies)
        assert finding.file_bytes is not None
        assert finding.resident_bytes is None


def test_a_process_that_serves_a_graph_needs_no_torch(
    case: Case, all_of_it: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "resident_of", resident_of)
    facts = parent_of(case.versions, case.parent).facts
    signature = case.parent.signature.model_copy(update={"inputs": (facts.input,)})
    networks = {
        name: speed.Ready.of(name, all_of_it.bundle.files, signature=signature, weights_file=CODED)
        for name in ("onnx-int8", "torch")
    }
    found = speed.resident(networks, case.rows.validation.x_ND)
    for memory in found.values():
        assert 0 < memory.before < memory.after
    assert found["onnx-int8"].after < found["torch"].after - 50e6


def test_graphs_hold_no_weights_and_integers_are_the_files_own_levels(
    case: Case, all_of_it: Computed
) -> None:
    files, tensors = all_of_it.bundle.files, read(case.coded).tensors
    weights = sum(tensor.dense().nbytes for tensor in tensors.values())
    for name in GRAPHS.values():
        assert len(files[name]) < weights / 3
    graph = parsed(filled(files[GRAPHS["onnx-int8"]], tensors))
    inside = {each.name: numpy_helper.to_array(each) for each in graph.graph.initializer}
    hidden = tensors["hidden.0.weight"]
    assert isinstance(hidden, Quantized)
    assert hidden.bits == 6
    found = [name for name, array in inside.items() if np.array_equal(array, hidden.levels)]
    assert len(found) == 1
    assert inside[found[0]].dtype == np.int8
    np.testing.assert_array_equal(inside[found[0].removesuffix("_quantized") + "_scale"], hidden.scale)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_is_served_answers_as_what_was_judged(
    case: Case, all_of_it: Computed, version: ModelVersion, runtime: RuntimeName
) -> None:
    asked: list[str] = []

    def fetch(name: str) -> bytes:
        asked.append(name)
        return case.versions.read_file(version, name)

    served = open_runtime(version, fetch, runtime=runtime)
    judged = load_runtime(runtime, all_of_it.bundle.files, signature=version.signature)

    inputs = case.rows.validation.inputs(version.signature.inputs)
    assert served.name == runtime
    ours, theirs = judged.run(inputs), served.run(inputs)
    assert ours.keys() == theirs.keys()
    for name, output in theirs.items():
        np.testing.assert_array_equal(output, ours[name])
    own = files_of_runtime(runtime, weights_file=CODED)
    assert set(asked) == {*own, "transforms.json"}
    assert CODED in own
    assert not ({*GRAPHS.values()} - {GRAPHS.get(runtime)}) & set(asked)


def broken(graph: bytes) -> bytes:
    """The same graph with the scale of its input a hundred times too large."""
    proto = onnx.load_model_from_string(graph)
    first = next(node.input[1] for node in proto.graph.node if node.op_type == "QuantizeLinear")
    scale = next(each for each in proto.graph.initializer if each.name == first)
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * 100, scale.name))
    return proto.SerializeToString()


@pytest.fixture
def with_a_broken_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    made = artifacts.static_int8
    monkeypatch.setattr(artifacts, "static_int8", lambda *given, **named: broken(made(*given, **named)))


@pytest.mark.usefixtures("with_a_broken_scale")
def test_an_artifact_that_lost_too_much_is_not_served_and_the_next_is(case: Case) -> None:
    found = case.computed()

    assert found.bundle.runtimes == ("onnx",)
    assert GRAPHS["onnx-int8"] not in found.bundle.files
    good, bad = found.findings
    assert (good.runtime, good.passed, good.reason) == ("onnx", True, "")
    assert (bad.runtime, bad.passed) == ("onnx-int8", False)
    assert bad.value is not None
    assert bad.value < 0.85
    assert f"accuracy is {bad.value:.4f} there, beside 0.9000 of the parent; 0.05 may be lost" in bad.reason


@pytest.mark.usefixtures("with_a_broken_scale")
def test_when_no_artifact_is_good_enough_nothing_is_served(case: Case) -> None:
    with pytest.raises(RunFailed, match=r"no runtime passes.*onnx-int8: accuracy is 0\.\d+.*Search gentler"):
        case.computed(ComputeConfig(candidates=("onnx-int8",)))


def test_what_cannot_be_built_is_said_and_the_rest_goes_on(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object, **__: object) -> bytes:
        raise NotImplementedError("no kernel for it\nand more")

    monkeypatch.setattr(artifacts, "export_onnx", cannot)
    found = case.computed(ComputeConfig(candidates=("onnx-int8", "torch")))
    assert found.bundle.runtimes == ("torch",)
    assert [(each.runtime, each.reason) for each in found.findings] == [
        ("torch", ""),
        ("onnx-int8", "no kernel for it"),
    ]
    assert found.calibration is None


def test_coarse_probes_are_the_runtimes_own_and_still_refuse_a_wrong_graph(
    case: Case, all_of_it: Computed, version: ModelVersion
) -> None:
    files = dict(all_of_it.bundle.files)
    name = GRAPHS["onnx-int8"]
    files[name] = broken(files[name])
    with pytest.raises(IntegrityError, match="'onnx-int8' does not reproduce this version"):
        open_runtime(version, files.__getitem__, runtime="onnx-int8")
    other = {**all_of_it.bundle.files, PROBES: case.versions.read_file(case.parent, PROBES)}
    with pytest.raises(IntegrityError, match="'onnx' does not reproduce this version"):
        open_runtime(version, other.__getitem__, runtime="onnx")


class Now:
    """A clock that asking a runtime moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **costs_s: float) -> None:
        self.now, asked = 0.0, OnnxRuntime.run

        def run(runtime: OnnxRuntime, inputs: Any) -> dict[str, np.ndarray]:
            self.now += costs_s[runtime.name.replace("-", "_")]
            return asked(runtime, inputs)

        monkeypatch.setattr(OnnxRuntime, "run", run)

    def __call__(self) -> float:
        return self.now


def timed(version: ModelVersion, **rates: float) -> ModelVersion:
    """As if it had been found so fast where it was made; of runtimes that are not among these it has none."""
    compression = version.lineage.compression
    assert compression is not None
    assert compression.accounting is not None
    names = [name.replace("_", "-") for name in rates]
    found = []
    for finding in compression.accounting.runtimes:
        if finding.runtime in names:
            whole = finding.latencies[1]
            rate = rates[finding.runtime.replace("-", "_")]
            found.append(
                finding.model_copy(update={"latencies": (whole.model_copy(update={"rows_per_s": rate}),)})
            )
    changed = compression.accounting.model_copy(update={"runtimes": tuple(found)})
    compression = compression.model_copy(update={"accounting": changed})
    lineage = version.lineage.model_copy(update={"compression": compression})
    return version.model_copy(update={"lineage": lineage, "runtimes": tuple(names)})


def test_the_serving_node_times_what_was_nearly_as_fast_and_keeps_the_fastest(
    case: Case, version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = partial(case.versions.read_file, version)
    clock = Now(monkeypatch, onnx=0.002, onnx_int8=0.004, onnx_int8_dynamic=0.003)
    made = timed(version, onnx_int8=1000.0, onnx_int8_dynamic=900.0, onnx=501.0)
    said: list[str] = []
    assert open_runtime(made, fetch, clock=clock, say=said.append).name == "onnx"
    times = "onnx-int8 4 ms, onnx-int8-dynamic 3 ms, onnx 2 ms"
    assert said == [f"digits@2 is served with onnx: 64 rows take {times}"]

    farther = timed(version, onnx_int8=1000.0, onnx_int8_dynamic=900.0, onnx=499.0)
    assert open_runtime(farther, fetch, clock=clock).name == "onnx-int8-dynamic"
    assert open_runtime(farther, fetch, clock=clock, runtime="onnx").name == "onnx"


def test_a_runtime_that_fails_its_probes_on_the_serving_node_is_passed_over(
    case: Case, version: ModelVersion, caplog: pytest.LogCaptureFixture
) -> None:
    files = {name: case.versions.read_file(version, name) for name in version.files}
    files[GRAPHS["onnx-int8"]] = broken(files[GRAPHS["onnx-int8"]])
    for rate in (900.0, 90.0):
        made = timed(version, onnx_int8=1000.0, onnx=rate)
        assert open_runtime(made, files.__getitem__).name == "onnx"
    assert "digits@2 is not served with onnx-int8 here" in caplog.text
    files[GRAPHS["onnx"]] = files[GRAPHS["onnx-int8"]]
    with pytest.raises(IntegrityError, match="does not reproduce"):
        open_runtime(made, files.__getitem__)


def test_a_damaged_file_is_not_passed_over_and_nothing_is_loaded(
    case: Case, version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    monkeypatch.setattr(opening, "load_runtime", lambda name, *rest, **options: loads.append(name))

    def fetch(name: str) -> bytes:
        if name == GRAPHS["onnx"]:
            raise IntegrityError(f"{name} is damaged")
        return case.versions.read_file(version, name)

    with pytest.raises(IntegrityError, match=r"model\.onnx is damaged"):
        open_runtime(timed(version, onnx_int8=1000.0, onnx=900.0), fetch)
    assert loads == []


def test_what_each_pass_brought_is_told_from_the_files_it_left(case: Case) -> None:
    found = passes_found(case.stages, case.parent, case.versions, case.rows, runtime="torch", wanted=INTEGERS)

    assert [each.after for each in found] == ["prune", "quantize"]
    assert [each.bytes for each in found] == [len(coded) for _, coded in case.stages]
    assert {each.macs for each in found} == {64 * 48 + 48 * 10}
    assert all(each.latency is not None and each.latency.rows == 64 for each in found)


def test_teaching_without_a_student_is_not_asked_for_bytes_or_speed(case: Case) -> None:
    (_, coded), *_ = case.stages
    taught = [("distill", coded), ("prune", coded)]
    found = passes_found(taught, case.parent, case.versions, case.rows, runtime="torch", wanted=INTEGERS)

    assert found[0].flag == ""
    assert "no smaller file" in found[1].flag


def test_a_stage_that_the_runtime_cannot_load_is_told_untimed(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, of = list[str](), speed.Ready.of

    def second_fails(*given: Any, **named: Any) -> speed.Ready:
        loads.append(given[0])
        if len(loads) == 2:
            raise RuntimeError("no kernel for it")
        return of(*given, **named)

    monkeypatch.setattr(speed.Ready, "of", second_fails)
    found = passes_found(case.stages, case.parent, case.versions, case.rows, runtime="torch", wanted=INTEGERS)

    assert [each.latency is None for each in found] == [True, False]
    assert found[0].flag == found[1].flag == "not timed in torch"

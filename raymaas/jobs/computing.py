"""Computing: a coded version in every runtime that may serve it, judged and timed there."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from raymaas.bundle.artifacts import Making, served_by, with_artifacts
from raymaas.bundle.files import files_of_runtime
from raymaas.bundle.format import BuiltBundle
from raymaas.bundle.graph import reason_of
from raymaas.bundle.rmz.container import write
from raymaas.bundle.rmz.tensors import Raw
from raymaas.bundle.runtimes.base import Runtime
from raymaas.bundle.runtimes.torch import load_network
from raymaas.bundle.transforming import network_signature
from raymaas.compress.accounting import macs_of
from raymaas.compress.passes.compute import ComputeConfig
from raymaas.data.split import Parts
from raymaas.errors import RunFailed
from raymaas.jobs.judging import Subject
from raymaas.jobs.origin import network_of, trained_original, transforms_of
from raymaas.jobs.recipes import coded_bundle, on_validation_rows
from raymaas.jobs.speed import Ready, fastest_first, latencies, measured
from raymaas.jobs.yardsticks import TASK_ALONE, Yardsticks
from raymaas.registry.versions import Versions
from raymaas.specs.accounting import Accounting, Calibration, Latency, PassFinding, RuntimeFinding
from raymaas.specs.compression import VALIDATION, Gate
from raymaas.specs.runtimes import RUNTIMES, RuntimeName
from raymaas.specs.versions import ModelVersion, Signature

_EVERYTHING = ComputeConfig()
_CODED, _ORIGINAL = "coded", "original"
_FASTER, _SMALLER = 1.1, 0.99
_NOT_FOR_SPEED = ("entropy", "finetune", "compute")
_NOT_FOR_SIZE = ("finetune", "compute")
_WHY_NO_SPEED = {
    "prune": ", since it multiplies zeros as well",
    "l1": ", since it multiplies zeros as well",
    "quantize": ", since it computes with numbers of one size whatever the file has",
}


@dataclass(frozen=True, eq=False)
class Computed:
    """A coded version's files with all compute artifacts, and what each was found to be."""

    bundle: BuiltBundle
    """Its runtimes are those that pass the gate, fastest first."""
    findings: tuple[RuntimeFinding, ...]
    """One for each runtime tried: those that pass, fastest first, and then the others."""
    original: tuple[RuntimeFinding, ...]
    """The version trained at full precision, measured in turns with them."""
    calibration: Calibration | None

    def in_accounting(self, accounting: Accounting, *, passes: Sequence[PassFinding] = ()) -> Accounting:
        """`accounting` with all of this in it."""
        return accounting.model_copy(
            update={
                "runtimes": self.findings,
                "original_runtimes": self.original,
                "calibration": self.calibration,
                "passes": tuple(passes),
            }
        )


def computed(
    coded: bytes,
    parent: ModelVersion,
    versions: Versions,
    rows: Parts,
    *,
    gate: Gate,
    reached: float,
    yardsticks: Yardsticks = TASK_ALONE,
    wanted: ComputeConfig = _EVERYTHING,
) -> Computed:
    """The version with the weights `coded` and its parent's transforms, in all that is `wanted`.

    Each candidate is built, loaded from its own files, asked for the validation rows, and passed if it loses no more
    of the gate's metric than the gate allows beside `reached`, which is what the parent reached there. Raises
    RunFailed when none passes.
    """
    signature = _network_signature(versions, parent)
    made, reasons = with_artifacts(
        coded_bundle(coded, parent, versions, rows), wanted.candidates, _making(signature, rows, wanted)
    )
    findings = {
        name: RuntimeFinding(runtime=name, passed=False, reason=reason) for name, reason in reasons.items()
    }
    opened: dict[RuntimeName, Runtime] = {}
    for name in (name for name in wanted.candidates if name not in reasons):
        try:
            subject = Subject.of_files(made.files, parent.signature, runtime=name)
            value = on_validation_rows(subject, rows, yardsticks)[VALIDATION + gate.metric]
        except Exception as error:  # a runtime raises whatever its libraries raise
            findings[name] = RuntimeFinding(runtime=name, passed=False, reason=reason_of(error))
            continue
        opened[name] = subject.runtime
        findings[name] = _judged(name, value, gate, reached=reached)
    if not any(finding.passed for finding in findings.values()):
        raise RunFailed(_nothing_passes(findings.values()))
    ours = {
        (_CODED, name): Ready.of(name, made.files, signature=signature, weights_file=made.weights_file)
        for name in opened
    }
    theirs = {
        (_ORIGINAL, ready.name): ready for ready in _ready(versions, trained_original(versions, parent))
    }
    full = {key: RuntimeFinding(runtime=ready.name, passed=True) for key, ready in theirs.items()}
    tried = {(_CODED, name): finding for name, finding in findings.items()}
    # The original takes what the same runtime takes with the coded weights, once those are decoded.
    weighed = {key for key, finding in tried.items() if finding.passed}
    found = measured(tried | full, ours | theirs, rows.validation.x_ND, weighed=weighed)
    good = fastest_first([found[key] for key in tried if found[key].passed])
    return Computed(
        bundle=served_by(made, [opened[finding.runtime] for finding in good]),
        findings=(*good, *(found[key] for key in tried if not found[key].passed)),
        original=tuple(fastest_first([found[key] for key in full])),
        calibration=_calibration(opened, rows, wanted),
    )


def passes_found(
    stages: Sequence[tuple[str, bytes]],
    parent: ModelVersion,
    versions: Versions,
    rows: Parts,
    *,
    runtime: RuntimeName,
    wanted: ComputeConfig = _EVERYTHING,
) -> tuple[PassFinding, ...]:
    """What each pass brought in `runtime`; `stages` are the passes in order, each with the coded file after it.

    The last is the final file. The first is compared with the parent, uncoded. All that the runtime can load are timed
    in turns. Raises as `rmz.container.read`.
    """
    signature = _network_signature(versions, parent)
    making = _making(signature, rows, wanted)
    files = {"": _uncoded(parent, versions), **dict(stages)}
    ready: dict[str, Ready] = {}
    macs: dict[str, int] = {}
    for name, coded in files.items():
        built = coded_bundle(coded, parent, versions, rows)
        macs[name] = macs_of(load_network(built.files), rows.validation.x_ND[:1])
        made, reasons = with_artifacts(built, (runtime,), making)
        if reasons:
            continue
        with suppress(Exception):  # as in `computed`; a stage that is served by nobody must not end the run
            ready[name] = Ready.of(runtime, made.files, signature=signature, weights_file=made.weights_file)
    times = {name: found[-1] for name, found in latencies(ready, rows.validation.x_ND).items()}
    sizes = {name: len(coded) for name, coded in files.items()} | {"": parent.weights_bytes}
    return tuple(
        PassFinding(
            after=name,
            bytes=sizes[name],
            macs=macs[name],
            latency=times.get(name),
            # Without a student it is there for the metric, and for neither of the two.
            flag=""
            if name == "distill" and macs[name] == macs[before]
            else lacking(
                name, runtime, smaller=sizes[name] / sizes[before], faster=_ratio(times, before, name)
            ),
        )
        for before, name in pairwise(files)
    )


def _network_signature(versions: Versions, version: ModelVersion) -> Signature:
    """What the version's network takes, behind its transforms."""
    transforms = transforms_of(versions, version)
    return network_signature(version.signature, transforms) if transforms else version.signature


def _making(signature: Signature, rows: Parts, wanted: ComputeConfig) -> Making:
    """With training rows from everywhere: a sorted set has not the same ones everywhere."""
    x_ND = rows.train.x_ND
    positions = np.linspace(0, len(x_ND) - 1, min(len(x_ND), wanted.calibration_rows)).astype(np.int64)
    return Making(signature, x_ND[positions], wanted.calibration)


def _calibration(opened: Container[RuntimeName], rows: Parts, wanted: ComputeConfig) -> Calibration | None:
    if "onnx-int8" not in opened:
        return None
    return Calibration(rows=min(len(rows.train), wanted.calibration_rows), method=wanted.calibration)


def _judged(name: RuntimeName, value: float, gate: Gate, *, reached: float) -> RuntimeFinding:
    passed = gate.passes(value, parent=reached)
    reason = f"{gate.metric} is {value:.4f} there, beside {reached:.4f} of the parent; {gate.max_loss:g} may be lost"
    return RuntimeFinding(runtime=name, passed=passed, value=value, reason="" if passed else reason)


def _nothing_passes(findings: Iterable[RuntimeFinding]) -> str:
    told = "; ".join(f"{finding.runtime}: {finding.reason}" for finding in findings)
    return (
        f"no runtime passes the gate with these weights ({told}). Search gentler settings, or raise max_loss"
    )


def _ready(versions: Versions, original: ModelVersion) -> Iterator[Ready]:
    """A version trained at full precision, in each runtime it has."""
    signature = _network_signature(versions, original)
    for name in RUNTIMES:
        if name in original.runtimes:
            files = files_of_runtime(name, weights_file=original.weights_file)
            yield Ready.of(
                name,
                {file: versions.read_file(original, file) for file in files},
                signature=signature,
                weights_file=original.weights_file,
            )


def _uncoded(parent: ModelVersion, versions: Versions) -> bytes:
    """The parent's weights as they are, in the form that every stage has."""
    weights = network_of(versions, parent).state_dict()
    tensors = {name: Raw(tensor.numpy()) for name, tensor in weights.items()}
    return write(parent.architecture, tensors, coders=dict.fromkeys(tensors, "none"))


def _ratio(times: Mapping[str, Latency], before: str, name: str) -> float | None:
    if before not in times or name not in times:
        return None
    return times[name].rows_per_s / times[before].rows_per_s


def lacking(name: str, runtime: RuntimeName, *, smaller: float, faster: float | None) -> str:
    """What a pass that is there for it did not bring, in words."""
    lacks = []
    if smaller > _SMALLER and name not in _NOT_FOR_SIZE:
        lacks.append("no smaller file")
    if name not in _NOT_FOR_SPEED:
        if faster is None:
            lacks.append(f"not timed in {runtime}")
        elif faster < _FASTER:
            why = _WHY_NO_SPEED.get(name, "")
            lacks.append(f"no speed in {runtime}: {faster:.2f} times as fast{why}")
    return "; ".join(lacks)

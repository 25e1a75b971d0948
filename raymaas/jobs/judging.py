"""Evaluating what will be served: a version's own files, in the runtime that answers for it, as its task asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import orjson

from raymaas.bundle.files import ARCHITECTURE
from raymaas.bundle.format import BuiltBundle
from raymaas.bundle.runtimes.base import Runtime, check_probes
from raymaas.bundle.runtimes.opening import choose_runtime, load_runtime, open_runtime
from raymaas.data.blocks import Blocks, HeldBlocks
from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.evaluate import adversarial, classification, density, language, regression
from raymaas.evaluate.answers import answers
from raymaas.evaluate.scored import Scored
from raymaas.models import catalogue
from raymaas.monitor.looking import Tensors
from raymaas.monitor.reference import MOST_ROWS, reference_of
from raymaas.registry.versions import Versions
from raymaas.specs.drift import Reference
from raymaas.specs.evaluation import Evaluation, Metric
from raymaas.specs.jobs import Component
from raymaas.specs.tasks import Task
from raymaas.specs.versions import ModelVersion, Signature

_OUTPUTS: Mapping[Task, str] = {
    "classification": "probabilities",
    "regression": "prediction",
    "language": "bits_per_byte",
    "density": "elbo",
    "adversarial": "real",
}

_MOST_BYTES = 64 << 20

Inputs = Mapping[str, np.ndarray]
Change = Callable[[Inputs], Inputs]


def as_they_are(inputs: Inputs) -> Inputs:
    """Nothing is done to them."""
    return inputs


@dataclass(frozen=True)
class Subject:
    """A version that was loaded, and what scoring needs to know of it."""

    runtime: Runtime
    signature: Signature
    architecture: Component

    @classmethod
    def of_files(cls, files: Mapping[str, bytes], signature: Signature, *, runtime: str) -> Subject:
        """Verified `files`, loaded."""
        architecture = Component.parse(orjson.loads(files[ARCHITECTURE]), source=ARCHITECTURE)
        return cls(load_runtime(runtime, files, signature=signature), signature, architecture)

    @classmethod
    def of_version(cls, versions: Versions, manifest: ModelVersion) -> Subject:
        """A registered version in its first runtime. Raises as `open_runtime`."""
        # Not the fastest of this machine: what is found of a version must not depend on where.
        first = choose_runtime(manifest.runtimes, wanted="auto", device="cpu")
        opened = open_runtime(manifest, partial(versions.read_file, manifest), runtime=first)
        return cls(opened, manifest.signature, manifest.architecture)

    @property
    def task(self) -> Task:
        """What it is for: each task has an output that no other has."""
        given = {spec.name for spec in self.signature.outputs}
        return next(task for task, output in _OUTPUTS.items() if output in given)

    def answers(self, blocks: Iterable[Rows], *, change: Change = as_they_are) -> np.ndarray:
        """The output by which its task is scored, [N, ...], for all rows; `change` is what is done to their inputs.

        Raises RunFailed for answers that cannot be scored.
        """
        settings = catalogue.plain(self.architecture).config
        binary = self.task == "density" and settings.get("binarize")
        draw, found = density.draws(), []
        for rows in blocks:
            asked = change(rows.inputs(self.signature.inputs))
            if binary:
                scale = float(str(settings["input_scale"]))
                asked = {
                    name: density.binarised(x_ND, scale=scale, draw=draw) for name, x_ND in asked.items()
                }
            found.append(answers(self.runtime.run, asked, row_N=rows.id_N, output=_OUTPUTS[self.task]))
        return np.concatenate(found)

    def score(self, found_N: np.ndarray, blocks: Blocks, *, constant: float | None = None) -> Scored:
        """What the answers `found_N` for `blocks` are worth. `constant` is what a regression is held against."""
        match self.task:
            case "classification":
                return classification.score(found_N, blocks.rows.y_N, labels=self.signature.classes)
            case "regression":
                return regression.score(found_N, blocks.rows.y_N, constant=constant)
            case "language":
                return language.score(found_N, (rows.x_ND for rows in blocks))
            case "density":
                return density.score(found_N)
            case "adversarial":
                return adversarial.score(found_N)

    def brief(self, found_N: np.ndarray, y_N: np.ndarray) -> Mapping[str, Metric]:
        """Those of its metrics that cost little, for the many times that slices and disturbances take."""
        match self.task:
            case "classification":
                return classification.brief(found_N, y_N)
            case "regression":
                return regression.brief(found_N, y_N)
            case "language":
                return language.brief(found_N)
            case "density":
                return density.score(found_N).metrics
            case "adversarial":
                return adversarial.score(found_N).metrics


def judged(
    bundle: BuiltBundle, signature: Signature, *, dataset: str, rows: Parts, test: Blocks | None = None
) -> tuple[Evaluation, BuiltBundle]:
    """The evaluation of `bundle` on the test rows in its first runtime, and the bundle with it inside, and with what
    drift is told from: how those rows and the answers look.

    `test` brings those rows where `rows` does not hold them whole.
    """
    blocks = HeldBlocks(rows.test) if test is None else test
    subject, found_N = _asked(bundle.files, signature, runtime=bundle.runtimes[0], blocks=blocks)
    evaluation, scored = _evaluated(subject, found_N, blocks, dataset=dataset, rows=rows)
    whole = bundle.with_evaluation(row_N=rows.test.id_N, values=scored.per_row)
    return evaluation, whole.with_reference(_reference(found_N, blocks, subject))


def on_test_rows(
    files: Mapping[str, bytes],
    signature: Signature,
    *,
    runtime: str,
    dataset: str,
    rows: Parts,
    test: Blocks | None = None,
) -> tuple[Evaluation, Scored]:
    """The evaluation of verified `files` in `runtime`, after its probes, and all that was found."""
    blocks = HeldBlocks(rows.test) if test is None else test
    subject, found_N = _asked(files, signature, runtime=runtime, blocks=blocks)
    return _evaluated(subject, found_N, blocks, dataset=dataset, rows=rows)


def _asked(
    files: Mapping[str, bytes], signature: Signature, *, runtime: str, blocks: Blocks
) -> tuple[Subject, np.ndarray]:
    """What was loaded of `files`, after its probes, and its answers for all rows."""
    subject = Subject.of_files(files, signature, runtime=runtime)
    check_probes(subject.runtime, files)
    return subject, subject.answers(blocks)


def _evaluated(
    subject: Subject, found_N: np.ndarray, blocks: Blocks, *, dataset: str, rows: Parts
) -> tuple[Evaluation, Scored]:
    scored = subject.score(found_N, blocks, constant=float(rows.train.y_N.mean()))
    evaluation = evaluation_of(
        scored,
        dataset=dataset,
        fingerprint=rows.fingerprint,
        rows=len(rows.test),
        runtime=subject.runtime.name,
    )
    return evaluation, scored


def _reference(found_N: np.ndarray, blocks: Blocks, subject: Subject) -> Reference:
    """What live rows will be held against: these, or so many of them, evenly spread, as memory allows."""
    specs, output = subject.signature.inputs, _OUTPUTS[subject.task]
    every, seen, kept = 1, 0, list[Inputs]()
    for rows in blocks:
        if not seen:
            row_bytes = sum(array[:1].nbytes for array in rows.inputs(specs).values())
            most = max(1, min(MOST_ROWS, _MOST_BYTES // max(1, row_bytes)))
            every = -(-len(found_N) // most)
        kept.append(rows.take(np.arange(-seen % every, len(rows), every)).inputs(specs))
        seen += len(rows)
    asked = {spec.name: np.concatenate([piece[spec.name] for piece in kept]) for spec in specs}
    looked_at: Tensors = {"input": asked, "prediction": {output: found_N[::every]}}
    return reference_of(looked_at, subject.signature, output=output)


def evaluation_of(
    scored: Scored, *, dataset: str, fingerprint: str, rows: int, runtime: str, part: str = "test"
) -> Evaluation:
    """The document of what was found."""
    return Evaluation(
        dataset=dataset,
        fingerprint=fingerprint,
        part=part,
        rows=rows,
        runtime=runtime,
        metrics=dict(scored.metrics),
        classes=scored.classes,
        confusion=scored.confusion,
        reliability=scored.reliability,
        baselines={name: dict(figures) for name, figures in scored.baselines.items()},
    )

"""Evaluating what will be served: a bundle's own files, in the runtime that answers for it, as its task asks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from raymaas.bundle.format import BuiltBundle
from raymaas.bundle.runtimes.base import Runtime, check_probes
from raymaas.bundle.runtimes.opening import load_runtime
from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.evaluate import adversarial, classification, density, language, regression
from raymaas.evaluate.answers import answers
from raymaas.evaluate.scored import Scored
from raymaas.specs.evaluation import Evaluation
from raymaas.specs.tasks import Task
from raymaas.specs.versions import Signature


def judged(
    bundle: BuiltBundle, signature: Signature, *, dataset: str, rows: Parts, task: Task = "classification"
) -> tuple[Evaluation, BuiltBundle]:
    """The evaluation of `bundle` on the test rows in its first runtime, and the bundle with it inside."""
    evaluation, scored = on_test_rows(
        bundle.files, signature, runtime=bundle.runtimes[0], dataset=dataset, rows=rows, task=task
    )
    return evaluation, bundle.with_evaluation(row_N=rows.test.id_N, values=scored.per_row)


def on_test_rows(
    files: Mapping[str, bytes],
    signature: Signature,
    *,
    runtime: str,
    dataset: str,
    rows: Parts,
    task: Task = "classification",
) -> tuple[Evaluation, Scored]:
    """The evaluation of verified `files` in `runtime`, after its probes, and all that was found."""
    loaded = load_runtime(runtime, files, signature=signature)
    check_probes(loaded, files)
    scored = score(loaded, signature, rows.test, task=task, constant=mean_target(rows.train))
    evaluation = evaluation_of(
        scored, dataset=dataset, fingerprint=rows.fingerprint, rows=len(rows.test), runtime=loaded.name
    )
    return evaluation, scored


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


def score(
    runtime: Runtime, signature: Signature, rows: Rows, *, task: Task, constant: float, brief: bool = False
) -> Scored:
    """What `runtime` is worth on `rows`, by its task. `constant` is what a regression is held against.

    With `brief`, only the metrics that are cheap. Raises RunFailed for answers that cannot be scored.
    """
    ask = partial(answers, runtime.run, inputs_of(signature, rows), row_N=rows.id_N)
    match task:
        case "classification":
            p_NC = ask(output="probabilities")
            return classification.score(p_NC, rows.y_N, labels=signature.classes, brief=brief)
        case "regression":
            return regression.score(ask(output="prediction"), rows.y_N, constant=constant, brief=brief)
        case "language":
            bytes_N = np.full(len(rows), rows.x_ND.shape[1])
            return language.score(ask(output="bits_per_byte"), bytes_N, text=text_of(rows))
        case "density":
            return density.score(ask(output="elbo"))
        case "adversarial":
            return adversarial.score(ask(output="real"))


def inputs_of(signature: Signature, rows: Rows) -> dict[str, np.ndarray]:
    """What is asked about `rows`: their named columns where the version takes such, else their values."""
    return {spec.name: rows.columns.get(spec.name, rows.x_ND) for spec in signature.inputs}


def mean_target(rows: Rows) -> float:
    """The constant that fits them best."""
    return float(rows.y_N.mean()) if len(rows) else 0.0


def text_of(rows: Rows) -> bytes:
    """The rows as one text; each value is a byte."""
    return rows.x_ND.astype(np.uint8).tobytes()

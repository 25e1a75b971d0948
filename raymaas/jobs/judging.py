"""Evaluating what will be served: a bundle's own files, in the runtime that answers for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from raymaas.bundle.format import BuiltBundle
from raymaas.bundle.runtimes.base import Runtime, check_probes
from raymaas.bundle.runtimes.opening import load_runtime
from raymaas.data.split import Parts
from raymaas.evaluate.metrics import evaluate
from raymaas.specs.evaluation import Evaluation
from raymaas.specs.versions import Signature


def judged(
    bundle: BuiltBundle, signature: Signature, *, dataset: str, rows: Parts
) -> tuple[Evaluation, BuiltBundle]:
    """The evaluation of `bundle` on the test rows in its first runtime, and the bundle with it inside."""
    evaluation, correct_N = on_test_rows(
        bundle.files, signature, runtime=bundle.runtimes[0], dataset=dataset, rows=rows
    )
    return evaluation, bundle.with_evaluation(row_N=rows.test.id_N, correct_N=correct_N)


def on_test_rows(
    files: Mapping[str, bytes], signature: Signature, *, runtime: str, dataset: str, rows: Parts
) -> tuple[Evaluation, np.ndarray]:
    """The evaluation of verified `files` in `runtime`, after its probes, and which rows were right."""
    loaded = load_runtime(runtime, files, signature=signature)
    check_probes(loaded, files)
    metrics, correct_N = evaluate(probabilities(loaded, signature), rows.test, classes=len(signature.classes))
    evaluation = Evaluation(
        dataset=dataset,
        fingerprint=rows.fingerprint,
        rows=len(rows.test),
        runtime=loaded.name,
        metrics=metrics,
    )
    return evaluation, correct_N


def probabilities(runtime: Runtime, signature: Signature) -> Callable[[np.ndarray], np.ndarray]:
    """What `evaluate` asks of a model."""
    name = signature.inputs[0].name
    return lambda x_BD: runtime.run({name: x_BD})["probabilities"]

"""Judging samples: what a classifier finds among the rows that a version draws."""

from __future__ import annotations

import numpy as np

from raymaas.bundle.signature import check_inputs
from raymaas.errors import InvalidInput
from raymaas.evaluate.adversarial import histogram_entropy
from raymaas.evaluate.answers import answers
from raymaas.evaluate.intervals import CONFIDENCE, mean
from raymaas.jobs.judging import Subject
from raymaas.jobs.measuring import version_meant
from raymaas.jobs.parts import JobParts
from raymaas.specs.evaluating import BySamples
from raymaas.specs.reports import SamplesFigures
from raymaas.specs.versions import Signature

METHOD = "sample"


def judge_samples(how: BySamples, parts: JobParts) -> SamplesFigures:
    """The judge's answers about `how.samples` rows that the version draws, each from a seed of its own.

    Raises InvalidInput for a version that draws none, a judge that is no classifier, or takes other rows.
    """
    version, judge = (version_meant(name, parts) for name in (how.version, how.judge))
    name, judge_name = (f"{v.model}@{v.version}" for v in (version, judge))
    if judge.task != "classification":
        raise InvalidInput(f"{judge_name} is for {judge.task} and cannot judge; name a classifier")
    parts.say(f"drawing {how.samples} samples of {name}")
    if METHOD not in version.methods:
        known = ", ".join(version.methods) or "none"
        raise InvalidInput(
            f"{how.version} has no method {METHOD!r} (it has {known}); name a version that draws rows, such as a gan"
        )
    signature, subject = version.methods[METHOD], Subject.of_version(parts.versions, version)
    x_SD = drawn(subject, signature, samples=how.samples, seed=how.seed)
    asked = {judge.signature.inputs[0].name: x_SD}
    try:
        check_inputs(judge.signature, asked)
    except InvalidInput as error:
        raise InvalidInput(f"{judge_name} cannot judge the samples of {name}: {error}") from None
    p_SC = answers(
        Subject.of_version(parts.versions, judge).runtime.run,
        asked,
        row_N=np.arange(how.samples),
        output="probabilities",
    )
    labels, answer_S = judge.signature.classes, p_SC.argmax(axis=1)
    counts_C = np.bincount(answer_S, minlength=len(labels))
    return SamplesFigures(
        version=name,
        judge=judge_name,
        samples=how.samples,
        seed=how.seed,
        found=dict(zip(labels, counts_C.tolist(), strict=True)),
        classes_found=int((counts_C > 0).sum()),
        entropy=histogram_entropy(answer_S, classes=len(labels)),
        probability=mean(p_SC.max(axis=1), confidence=CONFIDENCE),
    )


def drawn(subject: Subject, signature: Signature, *, samples: int, seed: int) -> np.ndarray:
    """What it makes by METHOD of that signature, float32 [S, ...]; another seed draws other rows."""
    seeds = np.random.SeedSequence(seed).generate_state(samples, np.uint64) >> np.uint64(1)
    return answers(
        lambda inputs: subject.runtime.call(METHOD, inputs),
        {signature.inputs[0].name: seeds.astype(np.int64)},
        row_N=np.arange(samples),
        output=signature.outputs[0].name,
    )

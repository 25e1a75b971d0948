"""Cross-validation of a training job: a network for each fold, trained without it and scored on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from raymaas.data.blocks import HeldBlocks
from raymaas.data.dataset import Dataset, open_dataset, prepare
from raymaas.data.rows import Rows
from raymaas.data.split import Parts, split
from raymaas.data.transforms.fitted import fit_transforms
from raymaas.errors import InvalidInput, RunFailed
from raymaas.evaluate.folds import folds, over_folds
from raymaas.evaluate.intervals import CONFIDENCE
from raymaas.jobs.judging import Subject
from raymaas.jobs.parts import JobParts
from raymaas.jobs.preparing import refuse_streamed
from raymaas.models import own
from raymaas.models.base import signature_of
from raymaas.models.networks import Network
from raymaas.specs.evaluating import ByFolds
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component, Split, TrainJob
from raymaas.specs.reports import FoldsFigures
from raymaas.specs.search import Broken, Finished, Point
from raymaas.specs.versions import Signature
from raymaas.store import open_store
from raymaas.sweep.tasks import TaskLimits, carry_out_each
from raymaas.train.augment import refuse_unfit
from raymaas.train.loop import fit
from raymaas.train.own_code import bring_code
from raymaas.train.world import World

_NOTES = (
    "each network is trained on fewer rows than there are, so that one trained on all may be better",
    "folds share training rows and so vary less than new data would; the interval corrects for that roughly, and "
    "that of a plain t test would be too narrow",
)


def cross_validate(how: ByFolds, parts: JobParts) -> FoldsFigures:
    """The means over all folds, which are trained as parallel Ray tasks. Repeated for the same run, it goes on.

    The job's test rows take no part. Raises InvalidInput for a job that cannot begin or rows that cannot be divided,
    and RunFailed when a fold failed.
    """
    parts.say(f"preparing data set {how.job.data.use}")
    bring_code(how.job, parts.store)
    refuse_streamed(how.job, parts.store, parts.files, who="folds")
    dataset = prepare(parts.store, how.job.data, files=parts.files)
    rows = rows_to_divide(dataset, how.job.split)
    begin(
        how.job, dataset, count=how.folds, repeat=1, number=1
    )  # what is wrong is said before Ray starts any
    points: list[Point] = [
        {"repeat": repeat, "fold": number}
        for repeat in range(1, how.repeats + 1)
        for number in range(1, how.folds + 1)
    ]
    parts.say(f"{len(points)} folds of {len(rows)} rows, {how.concurrent} at a time")
    limits = TaskLimits(how.concurrent, threads=how.threads_per_fold, cpus=how.cpus_per_fold)
    fold = FoldTraining(how.job, how.folds, parts.store.url, dataset.card.name, dataset.card.fingerprint)
    trials = carry_out_each(
        fold, points, limits=limits, run_id=parts.run_id, book=parts.runs, on_trial=parts.on_trial
    )
    measured = []
    for trial in trials:
        match trial.outcome:
            case Broken(error=error):
                raise RunFailed(f"fold {trial.point['fold']} failed: {error}", run=parts.run_id)
            case Finished(metrics=metrics):
                measured.append(metrics)
    values = {
        name: [one[name] for one in measured] for name in measured[0] if all(name in m for m in measured)
    }
    return FoldsFigures(
        dataset=dataset.card.name,
        fingerprint=split(dataset, how.job.split).fingerprint,
        rows=len(rows),
        folds=how.folds,
        repeats=how.repeats,
        metrics={
            name: over_folds(found, held_out=1 / how.folds, confidence=CONFIDENCE)
            for name, found in values.items()
        },
        deviations={name: float(np.std(found, ddof=1)) for name, found in values.items()},
        notes=_NOTES,
    )


@dataclass(frozen=True)
class FoldTraining:
    """What every fold shares; travels to the tasks' processes and opens the store there."""

    job: TrainJob
    folds: int
    store_url: str
    dataset: str
    fingerprint: str

    def __call__(self, point: Point) -> Mapping[str, float]:
        """The figures of the network trained without the fold that `point` names, on that fold."""
        store = open_store(self.store_url)
        bring_code(self.job, store)
        dataset = open_dataset(store, self.dataset, self.fingerprint)
        repeat, number = int(str(point["repeat"])), int(str(point["fold"]))
        begun = begin(self.job, dataset, count=self.folds, repeat=repeat, number=number)
        training = self.job.training.model_copy(
            update={"seed": _derived(self.job.training.seed, repeat, number)}
        )
        fitted = fit(begun.network, training, parts=begun.parts, world=World.single())
        network = begun.network()
        network.load_state_dict(dict(fitted.best_weights))
        subject = begun.subject(network)
        test = HeldBlocks(begun.parts.test)
        scored = subject.score(subject.answers(test), test, constant=float(begun.parts.train.y_N.mean()))
        return {name: metric.value for name, metric in scored.metrics.items()}


@dataclass(frozen=True, eq=False)
class Begun:
    """A fold before its training: its rows, transformed by what was fitted on its own training rows."""

    parts: Parts
    architecture: Component
    facts: Facts

    def network(self) -> Network:
        """A fresh one."""
        return own.build(self.architecture, target=self.facts.target)

    def subject(self, network: Network) -> Subject:
        """The trained network, to be scored."""
        signature = signature_of(own.task_of(self.architecture, target=self.facts.target), self.facts)
        return Subject(_InThisProcess(network.eval(), signature), signature, self.architecture)


@dataclass(frozen=True, eq=False)
class _InThisProcess:
    """A network as a runtime, without the files of a version."""

    network: Network
    signature: Signature
    name: str = "torch"

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            outputs = self.network.infer(torch.tensor(inputs[self.signature.inputs[0].name]))
        specs = self.signature.outputs
        return {spec.name: output.numpy() for spec, output in zip(specs, outputs, strict=True)}

    def call(self, method: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        raise InvalidInput(f"method {method!r} is unknown; a fold is scored by `infer` alone")


def begin(job: TrainJob, dataset: Dataset, *, count: int, repeat: int, number: int) -> Begun:
    """Fold `number` of repeat `repeat`, both from 1: held out as `test`, the other rows for training.

    Of those, about the job's share is for validation. Raises InvalidInput as training itself would.
    """
    if job.init_from is not None:
        raise InvalidInput(
            f"{job.init_from} may have learned from rows that a fold holds out; leave init_from out, or evaluate "
            "by test rows"
        )
    if job.budget is not None:
        raise InvalidInput(
            "no fold is stopped by a budget; leave it out, with --set budget=null, and limit epochs"
        )
    rows = rows_to_divide(dataset, job.split)
    held_out = _folds(rows, job.split, count=count, seed=_derived(job.split.seed, repeat))[number - 1]
    rest = rows.take(np.setdiff1d(np.arange(len(rows)), held_out))
    share = 0.1 if job.split.validation == "given" else job.split.validation
    pieces = max(2, round((1 - 1 / count) / share))
    validation = _folds(rest, job.split, count=pieces, seed=_derived(job.split.seed, repeat, number))[0]
    division = Parts(
        train=rest.take(np.setdiff1d(np.arange(len(rest)), validation)),
        validation=rest.take(validation),
        test=rows.take(held_out),
        fingerprint="",
    )
    transforms = fit_transforms(job.transforms, division.train, dataset.card)
    ready, facts = transforms.ready(division), transforms.facts(dataset.card)
    architecture = own.resolve(job.architecture, facts)
    refuse_unfit(job.training.augment, facts, own.task_of(architecture, target=facts.target))
    return Begun(
        # What is asked is the network alone, so its rows are what the transforms made of them.
        parts=replace(ready, test=replace(ready.test, columns={})),
        architecture=architecture,
        facts=facts,
    )


def rows_to_divide(dataset: Dataset, how: Split) -> Rows:
    """All rows but the job's test rows. Raises InvalidInput for a split by time: folds would look into the future."""
    if how.time is not None:
        raise InvalidInput(
            f"split.time keeps later rows for testing, and folds would train on them; leave split.time "
            f"({how.time!r}) out, or evaluate by test rows"
        )
    test_N = split(dataset, how).test.id_N
    return dataset.rows.take(np.flatnonzero(~np.isin(dataset.rows.id_N, test_N)))


def _folds(rows: Rows, how: Split, *, count: int, seed: int) -> list[np.ndarray]:
    """Divided as the job divides: whole groups, equal shares of classes, or neither."""
    if how.group is not None:
        known = {**rows.columns, **rows.kept}
        return folds(len(rows), count=count, seed=seed, group_N=known[how.group].astype(str))
    classes = rows.y_N.dtype.kind == "i" and how.stratify is not False
    return folds(len(rows), count=count, seed=seed, strata_N=rows.y_N if classes else None)


def _derived(*numbers: int) -> int:
    """A seed for one purpose, below 2^32 as scikit-learn wants it."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])

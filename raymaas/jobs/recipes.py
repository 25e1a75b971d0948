"""One trial of a compression: carry out a recipe on the parent, code it, and measure what will be served."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from raymaas.bundle.files import CODED
from raymaas.bundle.format import BuiltBundle, build_coded
from raymaas.bundle.rmz.container import write
from raymaas.bundle.transforming import network_signature, put_in_front
from raymaas.compress.recipe import Compressed, as_it_is, carry_out
from raymaas.compress.stages import bytes_of, go_on, stage_of
from raymaas.compress.subject import Subject
from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.data.transforms.fitted import Fitted
from raymaas.jobs import judging
from raymaas.jobs.ground import Ground
from raymaas.jobs.origin import transforms_of
from raymaas.jobs.parts import PROBE_ROWS
from raymaas.jobs.yardsticks import TASK_ALONE, Yardsticks
from raymaas.registry.versions import Versions
from raymaas.specs.base import canonical_json, sha256_hex
from raymaas.specs.compression import VALIDATION, CompressJob, Gate, settled, space_of
from raymaas.specs.evaluation import Metric
from raymaas.specs.jobs import Component
from raymaas.specs.search import Point
from raymaas.specs.versions import ModelVersion, Signature
from raymaas.sweep.search import Report


@dataclass(frozen=True)
class Patience:
    """When a recipe is given up: after a pass that trained and lost more than later ones win back.

    That is `times` what the gate allows, taken at the better end of the metric's interval on these rows.
    """

    gate: Gate
    reached: float
    times: float

    def lost(self, found: Mapping[str, Metric], *, after: str) -> str:
        """Why the recipe is given up after the pass `after`, or nothing."""
        metric = found.get(self.gate.metric)
        if metric is None or not self.times:
            return ""
        better = metric.low if self.gate.mode == "min" else metric.high
        if self.gate.loss(better, parent=self.reached) <= self.times * self.gate.max_loss:
            return ""
        return (
            f"after {after} its validation {self.gate.metric} is {metric.value:.4f}, beside {self.reached:.4f} of the "
            f"parent; up to {self.times:g} times {self.gate.max_loss:g} may be lost on the way"
        )


@dataclass(frozen=True)
class RecipeTrial:
    """The trial function of a compression; it travels to the trials' processes."""

    job: CompressJob
    patience: Patience | None = None

    def __call__(self, point: Point, shared: Ground, tell: Callable[[Report], None]) -> None:
        """Reports after each pass what a recipe would come to that ended with it: `bytes` of the coded file, `ratio`
        to the original's weights, `sparsity`, and metrics of the decoded version on validation rows, as
        `validation_<metric>`. The last file is kept as `model.rmz`, those before as `after-<pass>.rmz`."""
        _Walk(self, settled(self.job.recipe, point), shared, tell).go()


@dataclass(frozen=True, eq=False)
class _Reached:
    """How far a recipe came after some of its passes: what trials leave each other on the shelf."""

    subject: Subject
    """As `stage_of` has it."""
    files: Mapping[str, bytes]
    metrics: Mapping[str, float]
    lost: str


class _GivenUp(Exception):
    pass


class _Walk:
    """One recipe on its way."""

    def __init__(
        self,
        trial: RecipeTrial,
        recipe: Sequence[Component],
        ground: Ground,
        tell: Callable[[Report], None],
    ) -> None:
        self._trial, self._recipe, self._ground, self._tell = trial, recipe, ground, tell
        self._files: dict[str, bytes] = {}
        self._reused: tuple[str, ...] = ()
        self._passes, self._epochs = 0, 0

    def go(self) -> None:
        """To its end, or to where it is given up."""
        subject = self._ground.subject(self._trial.job)
        self._passes, found = self._found()
        if found is not None:
            done = self._recipe[: self._passes]
            self._reused, self._files = tuple(step.use for step in done), dict(found.files)
            self._tell(Report(found.metrics, reused=self._reused, hopeless=found.lost))
            if found.lost:
                return
            subject = go_on(found.subject, done=done, fresh=subject)
            self._epochs = subject.epochs_done
        with suppress(_GivenUp):
            compressed = carry_out(self._recipe[self._passes :], subject, after=self._after)
            coded = _coded(subject, compressed)
            metrics, _ = self._worth(coded, compressed)
            self._tell(Report(metrics, files={**self._files, CODED: coded}, reused=self._reused))

    def _after(self, step: Component, subject: Subject) -> None:
        """Look at what the recipe would come to here, unless this pass was its last or changed nothing."""
        self._passes += 1
        trained, self._epochs = subject.epochs_done > self._epochs, subject.epochs_done
        if self._passes == len(self._recipe):
            return
        ended = subject.copy()  # what is kept at half precision goes on at full precision
        compressed = as_it_is(ended)
        coded = _coded(ended, compressed)
        if coded in self._files.values():
            return
        self._files[file_after(step.use)] = coded
        metrics, found = self._worth(coded, compressed)
        patience = self._trial.patience
        # A pass that did not train leaves it to later ones to mend what it broke.
        lost = patience.lost(found, after=step.use) if patience and trained else ""
        self._keep(_Reached(stage_of(subject), self._files, metrics, lost))
        self._tell(Report(metrics, reused=self._reused, hopeless=lost))
        if lost:
            raise _GivenUp

    def _worth(self, coded: bytes, compressed: Compressed) -> tuple[dict[str, float], dict[str, Metric]]:
        """What is reported of a coded file, and the metrics among it with their intervals."""
        ground = self._ground
        served = _behind(ground.transforms, coded, ground.signature, ground.validation)
        opened = judging.Subject.of_files(served.files, ground.signature, runtime=served.runtimes[0])
        found = _measured(opened, ground.validation, ground.yardsticks)
        figures = {
            "bytes": float(len(coded)),
            "ratio": ground.original_bytes / len(coded),
            "sparsity": compressed.sparsity,
        }
        return figures | {VALIDATION + name: metric.value for name, metric in found.items()}, found

    def _keep(self, reached: _Reached) -> None:
        if self._ground.shelf is not None and self._may_be_met(self._passes):
            nbytes = bytes_of(reached.subject) + sum(map(len, reached.files.values()))
            self._ground.shelf.keep(self._key(self._passes), reached, nbytes=nbytes)

    def _found(self) -> tuple[int, _Reached | None]:
        """With how many passes, the same as this one's, another trial came the farthest."""
        if self._ground.shelf is not None:
            for passes in filter(self._may_be_met, reversed(range(1, len(self._recipe)))):
                if found := self._ground.shelf.find(self._key(passes)):
                    return passes, found
        return 0, None

    def _may_be_met(self, passes: int) -> bool:
        """Whether another recipe of this search may have the same first `passes`: something after them is open."""
        return bool(space_of(self._trial.job.recipe[passes:]))

    def _key(self, passes: int) -> str:
        """A name for the first `passes`; parent, seed and fine-tuning are the same for all of a search."""
        return sha256_hex(canonical_json([step.model_dump(mode="json") for step in self._recipe[:passes]]))


def file_after(use: str) -> str:
    """The name of the coded file that a trial leaves of its recipe up to that pass."""
    return f"after-{use}.rmz"


def on_validation_rows(
    opened: judging.Subject, rows: Parts, yardsticks: Yardsticks = TASK_ALONE
) -> dict[str, float]:
    """Its metrics there, by name with `validation_` before it, and what the yardsticks give."""
    found = _measured(opened, rows.validation, yardsticks)
    return {VALIDATION + name: metric.value for name, metric in found.items()}


def coded_bundle(coded: bytes, parent: ModelVersion, versions: Versions, rows: Parts) -> BuiltBundle:
    """The files of the coded network, behind the transforms that its parent has."""
    return _behind(transforms_of(versions, parent), coded, parent.signature, rows.validation)


def _coded(subject: Subject, compressed: Compressed) -> bytes:
    return write(subject.architecture, compressed.tensors, coders=compressed.coders)


def _measured(opened: judging.Subject, validation: Rows, yardsticks: Yardsticks) -> dict[str, Metric]:
    brief = opened.brief(opened.answers([validation]), validation.y_N)
    beside = {
        name: Metric(value=value, low=value, high=value, method="none")
        for name, value in yardsticks.figures(opened, validation).items()
    }
    return {**brief, **beside}


def _behind(transforms: Fitted | None, coded: bytes, signature: Signature, validation: Rows) -> BuiltBundle:
    network = network_signature(signature, transforms) if transforms else signature
    bundle = build_coded(coded, signature=network, probes=validation.x_ND[:PROBE_ROWS])
    if transforms is None:
        return bundle
    probes = validation.inputs(signature.inputs, count=PROBE_ROWS)
    return put_in_front(transforms, bundle, signature=signature, probes=probes)

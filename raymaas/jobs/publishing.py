"""Publishing what a compression chose: a recipe's files, its evaluation on test rows, and all that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from raymaas.bundle.files import CODED
from raymaas.bundle.rmz.container import read
from raymaas.bundle.runtimes.torch import load_network
from raymaas.compress.accounting import account
from raymaas.compress.passes.compute import ComputeConfig
from raymaas.data.split import Parts
from raymaas.errors import RunFailed
from raymaas.exchange.identity import identity
from raymaas.jobs.choosing import Limits
from raymaas.jobs.computing import Computed, computed, passes_found
from raymaas.jobs.judging import judged, on_test_rows
from raymaas.jobs.parts import JobParts, lineage_of
from raymaas.jobs.recipes import file_after
from raymaas.jobs.yardsticks import Yardsticks
from raymaas.registry.blobs import Blobs
from raymaas.registry.versions import VersionDraft
from raymaas.specs.accounting import Accounting
from raymaas.specs.compression import CompressJob, settled
from raymaas.specs.jobs import Component
from raymaas.specs.search import Finished, Trial
from raymaas.specs.selecting import Chosen, Selection, Tried
from raymaas.specs.versions import CompressionLineage, Lineage, ModelVersion


@dataclass(frozen=True, eq=False)
class Case:
    """A compression: what is compressed, on which rows, and what that may cost."""

    job: CompressJob
    parent: ModelVersion
    original: ModelVersion
    """The version trained at full precision, up the line from the parent."""
    rows: Parts
    yardsticks: Yardsticks
    limits: Limits

    def recipe(self, trial: Trial) -> tuple[Component, ...]:
        """That of a trial, with nothing left open."""
        return settled(self.job.recipe, trial.point)


class Bench:
    """Where recipes are built and tried in every runtime, one after the other and each at most once."""

    def __init__(self, case: Case, parts: JobParts) -> None:
        self._case, self._parts = case, parts
        self._built: dict[str, Computed] = {}

    def tried(self, trial: Trial) -> Tried:
        """What becomes of it; that no runtime may serve it is a result too."""
        say = self._parts.say
        say(f"trying {trial.trial}, {trial.metrics['bytes']:,.0f} bytes, in every runtime")
        try:
            built = self.computed(trial)
        except RunFailed as error:
            say(f"{trial.trial} cannot be served: {error}")
            return Tried(trial=trial.trial, refused=str(error))
        tried = Tried(trial=trial.trial, findings=built.findings)
        say(f"{trial.trial} {_served(tried, self._case.limits)}")
        return tried

    def computed(self, trial: Trial) -> Computed:
        """Its files and findings. Raises RunFailed when no runtime passes the gate."""
        if trial.trial not in self._built:
            case = self._case
            self._built[trial.trial] = computed(
                self.file(trial, CODED),
                case.parent,
                self._parts.versions,
                case.rows,
                gate=case.limits.gate,
                reached=case.limits.reached,
                yardsticks=case.yardsticks,
                wanted=_wanted(case.recipe(trial)),
            )
        return self._built[trial.trial]

    def accounting(self, trial: Trial) -> Accounting:
        """What its file takes, what it was found to be in each runtime, and what each pass brought."""
        case, built = self._case, self.computed(trial)
        plain = account(
            self.file(trial, CODED),
            network=load_network(built.bundle.files),
            row=case.rows.validation.x_ND[:1],
            original_bytes=case.original.weights_bytes,
        )
        passes = passes_found(
            self._stages(trial),
            case.parent,
            self._parts.versions,
            case.rows,
            runtime=built.findings[0].runtime,
            wanted=_wanted(case.recipe(trial)),
        )
        return built.in_accounting(plain, passes=passes)

    def file(self, trial: Trial, name: str) -> bytes:
        """A file that the trial left, verified."""
        assert isinstance(trial.outcome, Finished)
        return Blobs(self._parts.store).get(trial.outcome.files[name], name=f"{name} of trial {trial.trial}")

    def _stages(self, trial: Trial) -> list[tuple[str, bytes]]:
        """The passes in order, each with the coded file after it; the last is the final one."""
        assert isinstance(trial.outcome, Finished)
        *before, last = self._case.recipe(trial)
        found: list[tuple[str, bytes]] = []
        for step in before:
            if (name := file_after(step.use)) in trial.outcome.files:
                found.append((step.use, self.file(trial, name)))
            elif found:  # a pass that changed nothing left none
                found.append((step.use, found[-1][1]))
        return [*found, (last.use, self.file(trial, CODED))]


@dataclass(frozen=True, eq=False)
class Decision:
    """All trials of a compression, and which of them become versions."""

    case: Case
    trials: Sequence[Trial]
    chosen: Chosen

    def part(self, name: str) -> str | None:
        """Which of the run's versions the trial is: the first is the run's own, as where there is only one."""
        return None if name == next(iter(self.chosen.by_trial())) else name

    def trial(self, name: str) -> Trial:
        return next(trial for trial in self.trials if trial.trial == name)

    def selection(self, name: str, *, value: float, tested_at: datetime) -> Selection:
        """How the trial was chosen, the `value` it has where it is served, and when it met the test rows."""
        case, limits = self.case, self.case.limits
        return Selection(
            rules=self.chosen.by_trial()[name],
            rows=len(case.rows.validation),
            metric=limits.gate.metric,
            parent_value=limits.reached,
            max_loss=limits.gate.max_loss,
            value=value,
            max_bytes=limits.max_bytes,
            max_latency_ms=limits.max_latency_ms,
            trials=len(self.trials),
            candidates=len(self.chosen.tried),
            chosen_at=self.chosen.at,
            tested_at=tested_at,
        )


def published(decision: Decision, bench: Bench, parts: JobParts) -> tuple[ModelVersion, ...]:
    """A version of each chosen trial, in the order of the rules. Repeated, it makes only those not there yet."""
    return tuple(_published(name, decision, bench, parts) for name in decision.chosen.by_trial())


def _published(name: str, decision: Decision, bench: Bench, parts: JobParts) -> ModelVersion:
    case, part, trial = decision.case, decision.part(name), decision.trial(name)
    job, parent, original, rows = case.job, case.parent, case.original, case.rows
    if (there := parts.versions.of_run(job.model, parts.run_id, part)) is not None:
        return there
    built, coded = bench.computed(trial), bench.file(trial, CODED)
    served = built.findings[0]
    assert served.value is not None
    parts.say(f"evaluating {name}, {len(coded)} bytes, on {len(rows.test)} test rows")
    tested_at, dataset = parts.store.now(), original.lineage.dataset
    evaluation, bundle = judged(built.bundle, parent.signature, dataset=dataset, rows=rows)
    parent_evaluation, _ = on_test_rows(
        parts.versions.read_files(parent),
        parent.signature,
        runtime=_nearest(evaluation.runtime, parent.runtimes),
        dataset=dataset,
        rows=rows,
    )
    compression = CompressionLineage(
        recipe=case.recipe(trial),
        trial=name,
        original=original.version,
        original_bytes=original.weights_bytes,
        parent_evaluation=parent_evaluation,
        accounting=bench.accounting(trial),
        selection=decision.selection(name, value=served.value, tested_at=tested_at),
    )
    parts.say(f"publishing {name}")
    draft = VersionDraft(
        model=job.model,
        run_id=parts.run_id,
        part=part,
        architecture=read(coded).architecture,
        signature=parent.signature,
        task=parent.task,
        weights_file=bundle.weights_file,
        runtimes=bundle.runtimes,
        methods=dict(bundle.methods),
        notes=bundle.notes,
        evaluation=evaluation,
        lineage=_lineage(case, compression, parts),
        description=job.description,
        card=job.card or parent.card,
    )
    return parts.versions.publish(draft, bundle.files, on_kept=parts.on_kept)


def _lineage(case: Case, compression: CompressionLineage, parts: JobParts) -> Lineage:
    job, parent, data = case.job, case.parent, case.original.lineage
    lineage = lineage_of(
        job, parts.run_id, dataset=data.dataset, fingerprint=data.data_fingerprint, seed=job.seed
    )
    return lineage.model_copy(
        update={
            "parent": parent.version,
            "parent_digest": identity(parts.versions, parent),
            "compression": compression,
        }
    )


def _wanted(recipe: Sequence[Component]) -> ComputeConfig:
    """What pass `compute` says, or by default."""
    config = next((step.config for step in recipe if step.use == "compute"), {})
    return ComputeConfig.parse(config, source="pass 'compute'")


def _nearest(runtime: str, runtimes: Sequence[str]) -> str:
    """Of a version's own runtimes the one to compare `runtime` with: itself, or the exact one of the same engine."""
    engine = runtime.partition("-")[0]
    return next((known for known in (runtime, engine) if known in runtimes), runtimes[0])


def _served(tried: Tried, limits: Limits) -> str:
    """What was found, in a sentence."""
    served = tried.served
    assert served is not None
    one = served.latency(1)
    speed = f", {one.p50_ms:.3f} ms a row" if one else ""
    value = "" if served.value is None else f" with {limits.gate.metric} {served.value:.4f}"
    late = "" if limits.serves(tried) else f", more than the {limits.max_latency_ms:g} ms wanted"
    return f"is served by {served.runtime}{value}{speed}, {served.rows_per_s:,.0f} rows/s in batches{late}"

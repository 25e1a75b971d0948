"""Client: everything raymaas does, from Python. `AsyncClient` is the same with `await`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import numpy as np

from raymaas.client import calls, comparing, evaluating, waiting
from raymaas.client.connection import DEFAULT_TIMEOUT_S
from raymaas.client.feedback import FeedbackOnAnswers, Sampling
from raymaas.client.flow import LogText, RunEvent
from raymaas.client.jobfile import JobSource
from raymaas.client.keys import Keys
from raymaas.client.link import Link
from raymaas.client.policyfile import PolicySource, read_policy
from raymaas.client.predictions import Arrays, Prediction, Rows
from raymaas.client.rollouts import Rollouts
from raymaas.client.submitting import submission
from raymaas.client.triggers import Triggers
from raymaas.client.wire import key_to_send, server_url
from raymaas.specs.api import ClusterStatus, Deployment, HistoryEntry, ModelSummary, VersionList
from raymaas.specs.comparison import RunComparison
from raymaas.specs.compression import CompressJob
from raymaas.specs.drift import DriftReport
from raymaas.specs.evaluating import EvaluateJob, Where
from raymaas.specs.jobs import TrainJob
from raymaas.specs.lineage import DataTrace, VersionTrace
from raymaas.specs.names import Reference
from raymaas.specs.policies import PolicyRevision
from raymaas.specs.reports import Comparison, EvaluationReport
from raymaas.specs.runs import EpochMetrics, Run, RunFile, RunProgress, RunSpec, Succeeded
from raymaas.specs.search import Trial
from raymaas.specs.serving import ModelState, Scaling
from raymaas.specs.sweeping import SweepJob
from raymaas.specs.versions import ModelVersion


class Client:
    """Talks to the raymaas server at `url`, else at RAYMAAS_URL, else at http://127.0.0.1:8080.

    It sends `api_key`, else RAYMAAS_API_KEY, else no key. Each exchange may take `timeout_s`. Reads and predictions
    are sent again a few times when a connection breaks; writes never are. Errors are the classes of `raymaas.errors`,
    as the server raised them. Close it, or use `with`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        key = key_to_send(api_key, os.environ)
        self._link = Link(server_url(url, os.environ), timeout_s=timeout_s, api_key=key)
        self.models = Models(self._link)
        self.runs = Runs(self._link)
        self.keys = Keys(self._link)
        self.rollouts = Rollouts(self._link)
        self.feedback = FeedbackOnAnswers(self._link)
        self.triggers = Triggers(self._link)
        self.sampling = Sampling(self._link)

    @property
    def url(self) -> str:
        return self._link.url

    def close(self) -> None:
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def status(self) -> ClusterStatus:
        """What runs where, and how each deployed model stands: rollouts under way, and drift."""
        return self._link.call(calls.status())

    def model(self, reference: str) -> Model:
        """A model to predict with: `digits`, `digits@3` or `digits@prod`. Asks nothing of the server yet."""
        return Model(self._link, Reference.parse(reference))

    def run(self, run_id: str) -> RunHandle:
        """A run to follow. Asks nothing of the server yet."""
        return RunHandle(self._link, run_id)

    def train(self, job: JobSource, *, folder: Path | None = None) -> RunHandle:
        """Start a run of a job: a TrainJob, a mapping, or the path of a YAML file. Returns once accepted.

        Code of your own that the job names is looked for below `folder`: the job file's, or the current one.
        """
        return self.run(self._link.call(submission(TrainJob, job, folder=folder)).run_id)

    def compress(self, job: JobSource, *, folder: Path | None = None) -> RunHandle:
        """Start a search for a smaller version: a CompressJob, a mapping, or a YAML file. Returns once accepted.

        `folder` is as to train, for a metric of your own.
        """
        return self.run(self._link.call(submission(CompressJob, job, folder=folder)).run_id)

    def sweep(self, job: JobSource, *, folder: Path | None = None) -> RunHandle:
        """Start a search over the fields of another job: a SweepJob, a mapping, or a YAML file.

        `folder` is as to train.
        """
        return self.run(self._link.call(submission(SweepJob, job, folder=folder)).run_id)

    def evaluate(self, job: JobSource, *, folder: Path | None = None) -> RunHandle:
        """Start a run that measures and registers nothing: an EvaluateJob, a mapping, or a YAML file.

        `folder` is as to train, for folds.
        """
        return self.run(self._link.call(submission(EvaluateJob, job, folder=folder)).run_id)

    def deploy(
        self,
        reference: str,
        *,
        scaling: Scaling | None = None,
        why: str = "",
        wait: bool = True,
        timeout_s: float | None = 180,
    ) -> ModelState:
        """Run a version, `digits@1`, and wait until it answers; without `wait`, return once that is wanted.

        Raises Unavailable with the reason when it cannot run, and OutcomeUnknown when it still starts after
        `timeout_s`.
        """
        patience = self._link.patience(timeout_s) if wait else None
        target = Reference.parse(reference)
        return self._link.run(
            waiting.deploy(target, scaling=scaling, why=why, patience=patience, url=self.url)
        )

    def undeploy(self, reference: str, *, force: bool = False, why: str = "") -> ModelState:
        """No longer run a version. Raises Refused while it has traffic or an alias, unless forced."""
        target = Reference.parse(reference)
        return self._link.call(calls.undeploy(target.model, waiting.pinned(target), force=force, why=why))

    def delete(self, reference: str, *, why: str = "") -> ModelState:
        """Delete a version for good; its number stays spent. Raises Refused while it is deployed or aliased."""
        target = Reference.parse(reference)
        return self._link.call(calls.delete(target.model, waiting.pinned(target), why=why))

    def deployments(self, model: str) -> tuple[Deployment, ...]:
        """Each version that is wanted or still runs, and how it stands."""
        return self._link.call(calls.deployments(model))

    def alias_set(self, reference: str, version: int | str, *, why: str = "") -> ModelState:
        """Point an alias, `digits@prod`, at a version."""
        model, alias = calls.alias_in(reference)
        return self._link.call(calls.alias_set(model, alias, version, why=why))

    def traffic(
        self,
        model: str,
        weights: Mapping[int, int] | None = None,
        *,
        sticky: str | None = None,
        shadow: str | None = None,
        sample: float | None = None,
        why: str = "",
    ) -> ModelState:
        """Divide the model's unpinned requests: version to percent, summing to 100.

        With `sticky`, `header:x-user`, the same version answers whoever sends the same value in that header.
        `shadow`, `digits@3`, gets copies of a `sample` of the infer requests that others answer; what it says is
        compared and returned to nobody. "off" ends either. What is None stays as it is.
        """
        call = calls.traffic(model, weights, sticky=sticky, shadow=shadow, sample=sample, why=why)
        return self._link.call(call)

    def promote(self, reference: str, *, why: str = "") -> ModelState:
        """Point `prod` at a version, `digits@2`, and give it all traffic. Raises Refused unless it is deployed."""
        target = Reference.parse(reference)
        return self._link.call(calls.promote(target.model, waiting.pinned(target), why=why))

    def rollback(self, model: str, *, to: int | None = None, why: str = "") -> ModelState:
        """Take back the last move of aliases or traffic that still holds, or all since revision `to`.

        Repeated, it goes further back. What is deployed stays. Raises Refused when nothing is left to take back,
        or when a version that would be used again is no longer deployed.
        """
        return self._link.call(calls.rollback(model, to=to, why=why))


class Model:
    """One model, or one version of it, to predict with."""

    def __init__(self, link: Link, reference: Reference) -> None:
        self._link = link
        self.reference = reference

    @overload
    def predict(
        self, rows: Arrays, *, ref: int | str | None = None, method: str = "infer"
    ) -> Prediction[np.ndarray]: ...
    @overload
    def predict(
        self, rows: Rows, *, ref: int | str | None = None, method: str = "infer"
    ) -> Prediction[list[Any]]: ...
    def predict(
        self, rows: Rows | Arrays, *, ref: int | str | None = None, method: str = "infer"
    ) -> Prediction[Any]:
        """Predict for rows: a batch for the only input, or a mapping from input name to batch.

        `ref` is a version or alias to ask instead of the handle's own; `method` is what else the model answers,
        such as `sample`. Arrays are answered with arrays, lists with lists. Raises InvalidInput when the rows do
        not fit the signature.
        """
        return self._link.call(calls.predict(calls.redirected(self.reference, ref), rows, method))


class Models:
    """Models and their versions, as the registry has them."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def list(self) -> tuple[ModelSummary, ...]:
        return self._link.call(calls.models())

    def get(self, name: str) -> ModelSummary:
        return self._link.call(calls.model(name))

    def versions(self, name: str, *, limit: int = 50, before: int | None = None) -> VersionList:
        """One page of versions, newest first; its `next_before` is the `before` of the next page."""
        return self._link.call(calls.versions(name, limit=limit, before=before))

    def version(self, reference: str) -> ModelVersion:
        """The version `digits@3` or `digits@prod` stands for."""
        target = Reference.parse(reference)
        return self._link.call(calls.version(target.model, waiting.pinned(target)))

    def state(self, name: str) -> ModelState:
        """Aliases, traffic and wanted deployment."""
        return self._link.call(calls.state(name))

    def card(self, reference: str) -> str:
        """The model card of a version, `digits@3`, as Markdown."""
        target = Reference.parse(reference)
        return self._link.call(calls.card(target.model, waiting.pinned(target)))

    def compare(
        self,
        first: str,
        second: str,
        *,
        where: Where = Where(),  # noqa: B008 - it is frozen
        timeout_s: float | None = None,
        on_event: Callable[[RunEvent], None] | None = None,
    ) -> Comparison:
        """Whether `second`, digits@3, is better than `first`, digits@2, on rows held out from both, or on `where`.

        From what they were published with, when that is of the same rows. Else a run asks both again; `on_event` is
        called with its log.
        """
        flow = evaluating.compare(
            Reference.parse(first),
            Reference.parse(second),
            where=where,
            patience=self._link.patience(timeout_s),
            url=self._link.url,
        )
        return self._link.run(flow, on_event=on_event)

    def drift(self, reference: str, *, since: datetime | None = None) -> DriftReport:
        """How far what a version, `digits@3`, was asked and answered is from what it was evaluated on.

        Of the last day, unless `since` says otherwise. Raises NotFound for a version without a reference.
        """
        target = Reference.parse(reference)
        return self._link.call(calls.drift(target.model, waiting.pinned(target), since=since))

    def policies(self, name: str) -> tuple[PolicyRevision, ...]:
        """The promotion policies in force, by alias."""
        return self._link.call(calls.policies(name))

    def policy(self, name: str, alias: str, *, revision: int | None = None) -> PolicyRevision:
        """What an alias asks of a version, now or as of a revision. Raises NotFound when it asks nothing."""
        return self._link.call(calls.policy(name, alias, revision=revision))

    def policy_set(self, name: str, alias: str, policy: PolicySource, *, why: str = "") -> PolicyRevision:
        """Ask `policy`, a Policy, a mapping, or a YAML file, of every version the alias is pointed at from now on."""
        return self._link.call(calls.policy_set(name, alias, read_policy(policy), why=why))

    def policy_remove(self, name: str, alias: str, *, why: str = "") -> PolicyRevision:
        """Ask nothing any more. Raises NotFound when there is no policy."""
        return self._link.call(calls.policy_remove(name, alias, why=why))

    def lineage(
        self, reference: str, *, request_id: str | None = None, before: datetime | None = None
    ) -> VersionTrace:
        """All that is known of a version, `digits@3`, deleted or not: its data, runs and parents, where it was wanted
        and when, and what was made of it. With `request_id`, as an answer carries it, also of that answer.

        Raises NotFound when that request is not recorded of this version, not after `before` when given.
        """
        target = Reference.parse(reference)
        call = calls.lineage(target.model, waiting.pinned(target), request_id=request_id, before=before)
        return self._link.call(call)

    def from_data(self, fingerprint: str, *, limit: int = 100, after: str | None = None) -> DataTrace:
        """One page of the versions that came from a data set; the first 8 digits of its fingerprint are enough.

        The page's `next_after` is the `after` of the next one.
        """
        return self._link.call(calls.from_data(fingerprint, limit=limit, after=after))

    def history(self, name: str, *, limit: int = 100, before: int | None = None) -> tuple[HistoryEntry, ...]:
        """Who moved what, when and why: up to `limit` changes, newest first, older than revision `before`."""
        return self._link.call(calls.history(name, limit=limit, before=before))


class Runs:
    """Executions of jobs."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def list(self, *, model: str | None = None, limit: int = 50) -> tuple[Run, ...]:
        """The newest runs, of all models or of one."""
        return self._link.call(calls.runs(model=model, limit=limit))

    def get(self, run_id: str) -> Run:
        return self._link.call(calls.run(run_id))

    def compare(self, *run_ids: str) -> RunComparison:
        """Runs beside each other: which settings differ, what each reached, and what it used."""
        return self._link.run(comparing.compare(run_ids, url=self._link.url))


class RunHandle:
    """One run, to follow, wait for, or stop."""

    def __init__(self, link: Link, run_id: str) -> None:
        self._link = link
        self.run_id = run_id

    def status(self) -> Run:
        return self._link.call(calls.run(self.run_id))

    def metrics(self) -> tuple[EpochMetrics, ...]:
        """What each finished epoch measured."""
        return self._link.call(calls.run_metrics(self.run_id))

    def progress(self) -> RunProgress | None:
        """How far a training is and what it has used; None until it began."""
        return self._link.call(calls.run_progress(self.run_id))

    def spec(self) -> RunSpec:
        """What the run was asked to do."""
        return self._link.call(calls.run_spec(self.run_id))

    def files(self) -> tuple[RunFile, ...]:
        """The files it left: its report, and event files for TensorBoard."""
        return self._link.call(calls.run_files(self.run_id))

    def file(self, name: str) -> bytes:
        """One of `files`, such as report/report.md. Raises NotFound."""
        return self._link.call(calls.run_file(self.run_id, name))

    def evaluation(self) -> EvaluationReport:
        """What an evaluate job found. Raises NotFound until it has ended well."""
        return self._link.call(calls.run_evaluation(self.run_id))

    def trials(self) -> tuple[Trial, ...]:
        """How each trial of a sweep ended."""
        return self._link.call(calls.run_trials(self.run_id))

    def stop(self) -> Run:
        return self._link.call(calls.run_stop(self.run_id))

    def resume(self, *, from_epoch: int | None = None, settings: Sequence[str] = ()) -> RunHandle:
        """Go on from this training run's newest checkpoint, or from that of `from_epoch`: a run of its own.

        Without an epoch it ends as this one would have, bit for bit; Refused unless this one failed or was stopped.
        Of `settings` only the budget may then differ; with an epoch also how it is trained, as "training.epochs=40".
        Returns once accepted.
        """
        call = calls.run_resume(self.run_id, from_epoch=from_epoch, settings=settings)
        return RunHandle(self._link, self._link.call(call).run_id)

    def events(self, *, timeout_s: float | None = None) -> Iterator[RunEvent]:
        """Log text, epochs, progress and changes of status as they appear, until the run has ended."""
        return self._link.stream(
            waiting.watch(self.run_id, patience=self._link.patience(timeout_s), url=self._link.url)
        )

    def logs(self, *, follow: bool = False, timeout_s: float | None = None) -> Iterator[str]:
        """The log so far, in pieces; with `follow`, until the run has ended."""
        patience = self._link.patience(timeout_s)
        flow = waiting.watch(
            self.run_id, shown=waiting.LOG, patience=patience, follow=follow, url=self._link.url
        )
        return (event.text for event in self._link.stream(flow) if isinstance(event, LogText))

    def wait(
        self, *, timeout_s: float | None = None, on_event: Callable[[RunEvent], None] | None = None
    ) -> Succeeded:
        """Wait until the run has ended well; `on_event` is called with what `events` gives.

        Raises RunFailed when it failed or was stopped, OutcomeUnknown when it still runs after `timeout_s`.
        """
        shown = waiting.ALL if on_event else waiting.NOTHING
        patience = self._link.patience(timeout_s)
        flow = waiting.watch(self.run_id, shown=shown, patience=patience, url=self._link.url)
        return waiting.outcome(self.run_id, self._link.run(flow, on_event=on_event))

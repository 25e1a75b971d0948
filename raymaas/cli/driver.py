"""The driver of a run: connects to Ray, carries out the job, and leaves its state, epochs and log in the store."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

import psutil

from raymaas import wiring
from raymaas.cli.loglines import epoch_line, first_step_line, trial_line, version_line
from raymaas.client.code import code_of
from raymaas.client.jobfile import read_job
from raymaas.cluster.lifecycle import driver_environment
from raymaas.errors import AlreadyExists, OutOfBudget, RaymaasError, Refused
from raymaas.priority import give_way
from raymaas.registry.resolve import pinned
from raymaas.registry.runs import Runs
from raymaas.serve.rollouts.beginning import begin_after_run
from raymaas.settings import load_settings, ray_submission_id
from raymaas.specs.compression import CompressJob
from raymaas.specs.jobs import TrainJob
from raymaas.specs.names import new_run_id
from raymaas.specs.own_code import with_code
from raymaas.specs.runs import (
    EpochMetrics,
    Failed,
    FirstStep,
    Running,
    RunProgress,
    RunSpec,
    Stopped,
    Succeeded,
)
from raymaas.specs.search import Trial


def carry_out(
    job_file: Path | None, *, run_id: str | None, storage: str | None, overrides: list[str]
) -> None:
    """Carry out the job in `job_file`, or the accepted run `run_id`, and record how it went.

    Raises the job's own error after recording it. What is printed goes to the caller and into the run's log.
    """
    give_way()
    job = read_job(job_file, settings=overrides) if job_file else None
    settings = load_settings(os.environ, storage=storage)
    # Before anything imports Ray, which reads parts of the environment at import.
    os.environ.update(driver_environment(os.environ, run_dir=settings.run_dir))
    from raymaas.cluster.card import read_card
    from raymaas.cluster.joining import connect_as_driver, ray_version
    from raymaas.jobs.kinds import carry_out_job
    from raymaas.jobs.parts import JobParts
    from raymaas.jobs.recording import Beginning, Recorder
    from raymaas.jobs.unfinished import keep_unfinished_report

    connect_as_driver()
    card = read_card()
    if storage is None and card is not None:
        settings = settings.model_copy(update={"storage": card.storage})
    registry = wiring.open_registry(settings.storage)
    runs, now = registry.runs, registry.store.now
    if job is not None and job_file is not None:
        if (packed := code_of(job, folder=job_file.parent)) is not None:
            job = with_code(job, runs.keep_code(packed))
        job = pinned(job, registry.versions, registry.states, now=now())
        spec = RunSpec(
            run_id=new_run_id(job.kind, job.model), job=job, who=getpass.getuser(), created_at=now()
        )
        spec = runs.create(spec)
    else:
        spec = runs.spec(run_id or "")
    run_id, started, age_s = spec.run_id, now(), _age_s()
    # Each difference is by one clock: the store's, and this machine's.
    waited_s = max(0.0, (started - spec.created_at).total_seconds() - age_s)
    ray_job = ray_submission_id(os.environ)

    def say(step: str) -> None:
        _print_line(step)
        runs.set_status(run_id, Running(at=now(), step=step, ray_job_id=ray_job))

    def on_epoch(metrics: EpochMetrics, progress: RunProgress) -> None:
        _print_line(epoch_line(metrics, progress))

    def on_first_step(first: FirstStep) -> None:
        _print_line(first_step_line(first))

    def on_trial(trial: Trial) -> None:
        _print_line(trial_line(trial))

    def on_kept(name: str, size: int) -> None:
        _print_line(f"stored {name}, {size} bytes")

    recorder = Recorder(
        runs,
        spec,
        beginning=Beginning(driver_s=waited_s, joining_s=age_s),
        on_epoch=on_epoch,
        on_first_step=on_first_step,
    )

    def end(state: Succeeded | Failed | Stopped) -> None:
        try:
            if isinstance(spec.job, TrainJob):
                recorder.close()
        finally:
            _end(runs, run_id, state)
        # Only now, since it may be slow: a run that is killed without a final state is carried on.
        if isinstance(spec.job, TrainJob) and not isinstance(state, Succeeded):
            keep_unfinished_report(spec, spec.job, runs=runs, store=registry.store)

    with _logged_to(runs, run_id), _uninterruptible():
        try:
            with interruptible():
                say(f"run {run_id} on Ray {ray_version()}, store {settings.storage}")
                parts = JobParts(
                    registry.store,
                    registry.versions,
                    runs,
                    run_id,
                    say=say,
                    on_trial=on_trial,
                    on_kept=on_kept,
                    files=wiring.data_files(settings, store=registry.store),
                    resumes=spec.resumes,
                    listener=recorder,
                )
                made = carry_out_job(spec.job, parts)
        except KeyboardInterrupt:
            end(Stopped(at=now(), who=spec.who))
            raise SystemExit(143) from None
        except OutOfBudget as stop:
            end(Stopped(at=now(), who="its budget", why=str(stop)))
            raise
        except BaseException as error:
            if not isinstance(error, RaymaasError):
                traceback.print_exc()
            end(Failed(at=now(), error=str(error) or type(error).__name__))
            raise
        for manifest in made:
            _print_line(version_line(manifest))
        if made and isinstance(spec.job, TrainJob | CompressJob) and spec.job.rollout is not None:
            conductor = wiring.open_conductor(registry)
            _print_line(begin_after_run(conductor, made[0], spec.job.rollout, who=spec.who))
        numbers = tuple(manifest.version for manifest in made)
        seconds = (now() - started).total_seconds()
        end(Succeeded(at=now(), version=numbers[0] if numbers else None, also=numbers[1:], seconds=seconds))


def _print_line(line: str) -> None:
    """Into the job's log, which is its standard output."""
    # By one call: `print` makes two, and then a line of another thread may come between a line and its end.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _age_s() -> float:
    """How long ago this process was started."""
    return max(0.0, time.time() - psutil.Process().create_time())


def _end(runs: Runs, run_id: str, state: Succeeded | Failed | Stopped) -> None:
    """Record the end, unless somebody else did: whoever stopped the run wrote that first."""
    with contextlib.suppress(Refused):
        runs.set_status(run_id, state)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM, by which Ray stops a job, is an interrupt: no other exception leaves Ray while it waits for a result."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _answering(on_signal):
        yield


@contextlib.contextmanager
def _uninterruptible() -> Iterator[None]:
    """Neither SIGTERM nor Ctrl-C ends what is nearly over."""
    with _answering(lambda number, frame: None):
        yield


@contextlib.contextmanager
def _answering(on_signal: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    former = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)


@contextlib.contextmanager
def _logged_to(runs: Runs, run_id: str) -> Iterator[None]:
    """Copy standard output and error into the run's log, a chunk a second, until the block is over."""
    tee = _Tee(runs, run_id)
    stop = threading.Event()

    def flush_often() -> None:
        while not stop.wait(1.0):
            tee.store_pending()

    flusher = threading.Thread(target=flush_often, name="run-log", daemon=True)
    flusher.start()
    out, err = sys.stdout, sys.stderr
    try:
        sys.stdout, sys.stderr = tee.beside(out), tee.beside(err)
        yield
    finally:
        sys.stdout, sys.stderr = out, err
        stop.set()
        flusher.join()
        tee.store_pending()


class _Tee:
    """Text on its way to the run's log. A store that does not answer delays the log, never the run."""

    def __init__(self, runs: Runs, run_id: str) -> None:
        self._runs = runs
        self._run_id = run_id
        self._pending: list[str] = []
        self._chunks: list[str] = []
        self._lock = threading.Lock()
        # A run carried out again, after its first driver was killed, goes on below that one's log.
        self._sequence = runs.read_log(run_id)[1] + 1

    def beside(self, stream: TextIO) -> TextIO:
        tee = self

        class Both:
            def write(self, text: str) -> int:
                with tee._lock:
                    tee._pending.append(text)
                return stream.write(text)

            def __getattr__(self, name: str) -> object:
                return getattr(stream, name)

        return Both()  # type: ignore[return-value]

    def store_pending(self) -> None:
        with self._lock:
            taken, self._pending = self._pending, []
        # A chunk that may have been written must be written again as it was, not with more text.
        self._chunks += ["".join(taken)] if taken else []
        while self._chunks:
            try:
                self._runs.append_log(self._run_id, self._sequence, self._chunks[0])
            except AlreadyExists:
                self._sequence += 1  # a former driver's last words
            except RaymaasError:
                return
            else:
                self._sequence += 1
                del self._chunks[0]

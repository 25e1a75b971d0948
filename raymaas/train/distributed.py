"""Parallel training: the loop of `raymaas.train.loop` on the workers of Ray Train.

Each worker reads the Parquet itself, through the store's URL. A worker that dies is replaced once, and the fit
goes on from the run's newest checkpoint, as does a second call for the same run. With `scaling.min_workers` the
workers are as many as the cluster has room for when the fit begins, when one was lost, and whenever Ray Train looks.

Checkpoints go to the store by `train.saving` and not through `ray.train.report`: that one waits for the Train
controller's next look, and the controller keeps its list of checkpoints in one file which it overwrites in place,
so that a kill at the wrong moment leaves a run that Ray Train refuses to go on with.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.collective import broadcast_from_rank_zero
from ray.util.queue import Queue

from raymaas.data.catalogue import dataset_name
from raymaas.data.dataset import open_card, open_dataset
from raymaas.data.split import PartIds, Parts
from raymaas.data.streamed import Reader, is_streamed, open_index, rows_held
from raymaas.data.transforms.fitted import Fitted
from raymaas.errors import RunFailed
from raymaas.models import own
from raymaas.priority import give_way
from raymaas.registry.checkpoints import CheckpointId, Checkpoints
from raymaas.registry.layout import train_path
from raymaas.specs.datasets import DatasetCard
from raymaas.specs.jobs import Strategy, TrainJob, Workers
from raymaas.specs.names import check_name
from raymaas.specs.telling import BudgetSpent, GivenUp, Started, Told
from raymaas.store import Store, open_store
from raymaas.train.checkpoint import Checkpoint, EpochReport
from raymaas.train.feed import Feed
from raymaas.train.hearing import heard_by, send
from raymaas.train.listening import out_of_budget
from raymaas.train.loop import Diverged, fit
from raymaas.train.own_code import bring_code
from raymaas.train.saving import Saver, load, newest_intact
from raymaas.train.starting import start_of
from raymaas.train.telling import Allowance, WorkerWatch
from raymaas.train.world import World

log = logging.getLogger("raymaas.train")

_REPLACEMENTS = 1  # workers may die this often; more would repeat a fault of the job's own again and again
_RESIZE_INTERVAL_S = 30.0  # between two looks whether the cluster has room for more workers


def train_distributed(
    job: TrainJob,
    *,
    store_url: str,
    dataset_fingerprint: str,
    part_ids: PartIds,
    transforms: Fitted,
    run_id: str,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    on_told: Callable[[Told], None] = lambda told: None,
    allowance: Allowance | None = None,
) -> Checkpoint:
    """Train `job` on the data set prepared under that fingerprint, on `job.scaling.workers` workers.

    `part_ids` are of its division, and `transforms` were fitted to its training rows: the workers neither divide nor
    fit, so that none may do it otherwise than the driver did.

    Ray must be initialised. `on_epoch` and `on_told` are called in this process, from one other thread, in order,
    while the fit is under way; after a worker was replaced the epochs since the last checkpoint come again. What they
    raise is raised here once the fit is over. Raises RunFailed, with the cause's own sentence, when training failed,
    without another try when it diverged; and OutOfBudget, with the checkpoint of the last epoch in the store, when
    the `allowance` was spent.
    """
    store = open_store(store_url)
    filesystem, root = store.arrow_filesystem()
    stopped: list[BudgetSpent | GivenUp] = []

    def hear(said: EpochReport | Told) -> None:
        if isinstance(said, EpochReport):
            return on_epoch(said)
        if isinstance(said, Started):
            stopped.clear()  # a worker died before the last epoch was kept, so it comes again
        elif isinstance(said, BudgetSpent | GivenUp):
            stopped.append(said)
        return on_told(said)

    with heard_by(hear) as queue:
        trainer = ray.train.torch.TorchTrainer(
            _train_on_worker,
            # The URL as the store spells it is absolute: Ray Train gives each worker its own directory.
            train_loop_config={
                "job": job.seal(),
                "store_url": store.url,
                "fingerprint": dataset_fingerprint,
                "part_ids": ray.put(part_ids),
                "transforms": transforms.document.seal(),
                "run_id": check_name(run_id),
                "queue": queue,
                "allowance": allowance,
            },
            scaling_config=_scaling(job.scaling),
            run_config=RunConfig(
                name=check_name(run_id),
                storage_path=f"{root}/{train_path(run_id)}",
                storage_filesystem=filesystem,
                failure_config=FailureConfig(max_failures=_losses(job.scaling)),
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            raise RunFailed(f"training {run_id} failed: {_cause(error)}", run=run_id) from error
    match stopped:
        case [BudgetSpent(why=why), *_]:
            raise out_of_budget(why, run_id)
        case [GivenUp(why=why), *_]:
            raise RunFailed(f"training {run_id} failed: {why}", run=run_id)
    checkpoints = Checkpoints(store, run_id)
    there = checkpoints.list()
    if not there:
        raise RunFailed(f"training {run_id} ended without a checkpoint; see the run's log", run=run_id)
    return load(checkpoints, there[-1])


def _train_on_worker(config: dict[str, Any]) -> None:
    give_way()
    job = TrainJob.unseal(config["job"], source="the job sent to a training worker")
    world, queue = _world(job.scaling.strategy), config["queue"]
    watch = WorkerWatch(partial(send, queue, wait=False), world, allowance=config["allowance"])
    torch.set_num_threads(job.scaling.threads_per_worker)
    store = open_store(config["store_url"])
    bring_code(job, store)
    card = open_card(store, dataset_name(job.data), config["fingerprint"])
    transforms = Fitted.unseal(config["transforms"], source="the transforms sent to a training worker")
    architecture = own.resolve(job.architecture, transforms.facts(card))
    parts, feed = _rows(job, store, card, ray.get(config["part_ids"]), transforms, device=world.device)
    checkpoints = Checkpoints(store, config["run_id"])
    newest = _agreed_newest(checkpoints, world)
    watch.rows_read()
    try:
        with Saver(checkpoints, keep_every=job.training.keep_checkpoint_every) as saver:
            fit(
                start_of(job, architecture, target=card.target, store=store),
                job.training,
                parts=parts,
                feed=feed,
                world=world,
                resume=load(checkpoints, newest) if newest else None,
                on_epoch=partial(_report, queue, saver) if world.rank == 0 else _silent,
                watch=watch,
            )
    except Diverged as error:
        # Raised to Ray Train, it would be taken for a lost worker, and all be started again only to fail the same way.
        if world.rank == 0:
            send(queue, GivenUp(why=str(error)), wait=True)
    watch.tell_spent()


def _rows(
    job: TrainJob,
    store: Store,
    card: DatasetCard,
    part_ids: PartIds,
    transforms: Fitted,
    *,
    device: torch.device,
) -> tuple[Parts, Feed | None]:
    """The rows of a worker, and what streams those for training when they are too many to hold."""
    if job.streaming is None or not is_streamed(card, job.streaming):
        return transforms.ready(part_ids.of(open_dataset(store, card.name, card.fingerprint).rows)), None
    # A second to import, and only for data that is streamed.
    from raymaas.train.streaming import Streamed
    from raymaas.train.stretches import StreamedRows

    division = part_ids.of(open_index(store, card).rows)
    reader = Reader(store, card)
    rows = StreamedRows(
        store_url=store.url,
        card=card,
        transforms=transforms,
        parts=reader.positions_in_parts(division.train.id_N),
    )
    parts = replace(division, validation=rows_held(reader, division.validation.id_N, transforms))
    return parts, Streamed(rows, memory_mb=job.streaming.memory_mb, device=device)


def _agreed_newest(checkpoints: Checkpoints, world: World) -> CheckpointId | None:
    """Where all workers begin: what rank 0 found, since another could see one more, or one fewer."""
    found = newest_intact(checkpoints, warn=log.warning) if world.rank == 0 else None
    agreed: CheckpointId | None = broadcast_from_rank_zero(found)
    return agreed


def _world(strategy: Strategy) -> World:
    """This worker's place in the process group that Ray Train made: gloo on CPUs, nccl on GPUs."""

    def all_reduce(tensor: torch.Tensor) -> torch.Tensor:
        summed = tensor.clone()
        torch.distributed.all_reduce(summed)
        return summed

    context = ray.train.get_context()
    return World(
        rank=context.get_world_rank(),
        size=context.get_world_size(),
        device=ray.train.torch.get_device(),
        all_reduce=all_reduce,
        wrap=ray.train.torch.prepare_model,
        one_machine=context.get_local_world_size() == context.get_world_size(),
        strategy=strategy,
    )


def _report(queue: Queue, saver: Saver, report: EpochReport, checkpoint: Checkpoint | None) -> None:
    """Rank 0 tells the driver of every epoch, and keeps what is due."""
    saver.settle()
    send(queue, report, wait=True)
    if checkpoint is not None:
        saver.save(checkpoint)


def _silent(report: EpochReport, checkpoint: Checkpoint | None) -> None:
    """The other ranks hold the same figures, and the same weights or none."""


def _scaling(workers: Workers) -> ScalingConfig:
    resources = {"CPU": workers.cpus_per_worker}
    if workers.gpus_per_worker:
        resources["GPU"] = workers.gpus_per_worker
    least = workers.min_workers
    return ScalingConfig(  # type: ignore[call-arg]  # what is annotated is its first version
        num_workers=workers.workers if least is None else (least, workers.workers),  # type: ignore[arg-type]
        elastic_resize_monitor_interval_s=_RESIZE_INTERVAL_S,
        use_gpu=workers.gpus_per_worker > 0,
        resources_per_worker=resources,
    )


def _losses(workers: Workers) -> int:
    """How often workers may be lost: elastic ones down to the least, and once more."""
    spare = 0 if workers.min_workers is None else workers.workers - workers.min_workers
    return spare + _REPLACEMENTS


def _cause(error: TrainingFailedError) -> str:
    """The sentence of what went wrong first: Ray's own text is whole tracebacks, whose last line says it."""
    failures = getattr(error, "worker_failures", None) or {0: error}
    rank, failure = min(failures.items())
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return f"worker {rank}: {lines[-1] if lines else type(failure).__name__}"

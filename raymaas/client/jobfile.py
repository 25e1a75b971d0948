"""Job files: YAML to a job document, with mistakes named by file and line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from raymaas.client.yamlfile import Place, read_yaml
from raymaas.errors import InvalidInput
from raymaas.specs.base import Document
from raymaas.specs.feedback import FEEDBACK_ROWS
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import Job, job_fields, parse_job
from raymaas.specs.names import Reference

JobSource = Job | Mapping[str, Any] | str | Path
JobT = TypeVar("JobT", bound=Document)


def read_job(job: JobSource, *, settings: Iterable[str] = ()) -> Job:
    """The job in a document, a mapping, or the YAML file at a path, with `settings` put over it.

    A setting is such as `training.epochs=3`; its value is read as YAML.
    Raises InvalidInput naming the file and line, or the setting, and the field.
    """
    places: dict[Place, str] = {}
    if isinstance(job, Job):
        job = job_fields(job)
    if isinstance(job, Mapping):
        data, source = dict(job), "job"
    else:
        data, source = (
            read_yaml(Path(job), places, start="`raymaas init` writes a job file to start from"),
            str(job),
        )
    for setting in settings:
        data = _overridden(data, setting, places)
    return parse_job(data, source=source, places=places)


def folder_of(job: JobSource) -> Path:
    """Where the files that a job names beside itself are: in its file's folder, or in the current one."""
    return Path(job).parent if isinstance(job, str | Path) else Path()


def read_job_as(cls: type[JobT], job: JobSource, *, settings: Iterable[str] = ()) -> JobT:
    """`read_job` for a job of one kind. Raises InvalidInput, naming the right command, for another."""
    read = read_job(job, settings=settings)
    if not isinstance(read, cls):
        raise InvalidInput(
            f"this is a {read.kind!r} job, not a {cls.kind!r} job; carry it out with `raymaas {read.kind}`"
        )
    return read


def with_origins(job: TrainJob, *, data: str | None, init_from: str | None) -> TrainJob:
    """`job` with other rows, `mnist` or `feedback:digits@prod`, and with a version to start from; None: its own.

    Raises InvalidInput for what is no version, and for a source whose settings a word cannot give.
    """
    update: dict[str, Any] = {}
    if data is not None:
        use, colon, of = data.partition(":")
        if colon and use != FEEDBACK_ROWS:
            raise InvalidInput(
                f"--data is a name such as mnist, or {FEEDBACK_ROWS}:MODEL@VERSION, got {data!r}; give other settings"
                " in the job file, or as --set data.config.path=..."
            )
        update["data"] = {"use": use, "config": {"of": str(Reference.parse(of))} if colon else {}}
    if init_from is not None:
        update["init_from"] = str(Reference.parse(init_from))
    return TrainJob.parse(job.model_dump(mode="json") | update, source="job") if update else job


def _overridden(data: Any, setting: str, places: dict[Place, str]) -> Any:
    """`data` with the field that `setting` names replaced; the value is read as YAML, so `3` is a number."""
    name, equals, text = setting.partition("=")
    keys = name.split(".")
    if not equals or not all(keys):
        raise InvalidInput(f"--set {setting!r} is not of the form training.epochs=3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InvalidInput(f"--set {setting!r}: {text!r} is not a YAML value") from None
    for place in [place for place in places if place[: len(keys)] == tuple(keys)]:
        del places[place]
    places[tuple(keys)] = f"--set {name}"
    return _with_field(data, keys, value, setting)


def _with_field(data: Any, keys: list[str], value: Any, setting: str) -> Any:
    if not keys:
        return value
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise InvalidInput(f"--set {setting!r}: the job has no mapping at {keys[0]!r} to set a field in")
    return data | {keys[0]: _with_field(data.get(keys[0]), keys[1:], value, setting)}

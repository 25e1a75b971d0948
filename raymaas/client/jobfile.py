"""Job files: YAML to a job document, with mistakes named by file and line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from raymaas.errors import InvalidInput
from raymaas.specs.base import Document
from raymaas.specs.kinds import Job, job_fields, parse_job

JobSource = Job | Mapping[str, Any] | str | Path
Place = tuple[str | int, ...]
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
        data, source = _read_yaml(Path(job), places), str(job)
    for setting in settings:
        data = _overridden(data, setting, places)
    return parse_job(data, source=source, places=places)


def read_job_as(cls: type[JobT], job: JobSource, *, settings: Iterable[str] = ()) -> JobT:
    """`read_job` for a job of one kind. Raises InvalidInput, naming the right command, for another."""
    read = read_job(job, settings=settings)
    if not isinstance(read, cls):
        raise InvalidInput(
            f"this is a {read.kind!r} job, not a {cls.kind!r} job; carry it out with `raymaas {read.kind}`"
        )
    return read


def _read_yaml(path: Path, places: dict[Place, str]) -> Any:
    """The file's data; the line of each field goes into `places`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInput(f"{path} does not exist; `raymaas init` writes a job file to start from") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _note_places(root, (), places, str(path))
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidInput(f"{path}, line {line}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path}: not YAML: {error}") from None
    except RecursionError:
        raise InvalidInput(f"{path}: nested too deeply, or an anchor contains itself") from None


def _note_places(node: yaml.Node | None, at: Place, places: dict[Place, str], source: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            below = (*at, str(key.value))
            # YAML keeps the last of two equal keys without a word.
            if below in places:
                raise InvalidInput(f"{source}, line {line}: {'.'.join(map(str, below))} is given twice")
            places[below] = f"line {line}"
            _note_places(value, below, places, source)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            places[*at, index] = f"line {item.start_mark.line + 1}"
            _note_places(item, (*at, index), places, source)


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

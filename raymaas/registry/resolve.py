"""Resolving a reference: which version `digits`, `digits@3` or `digits@prod` means now."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from raymaas.errors import InvalidInput, NotFound
from raymaas.registry.states import States
from raymaas.registry.versions import Versions
from raymaas.specs.base import Moment, utc_text
from raymaas.specs.compression import CompressJob
from raymaas.specs.feedback import FEEDBACK_ROWS
from raymaas.specs.jobs import Component, TrainJob
from raymaas.specs.kinds import Job
from raymaas.specs.names import Reference

_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)


def resolve(ref: Reference, versions: Versions, states: States) -> int:
    """The version `ref` names; it exists.

    A bare model means the version with the most traffic (the newer one of equals), else its newest version.
    Raises NotFound naming the latest version, the known aliases or a near model name.
    """
    state = None if ref.version else states.current(ref.model)
    if ref.version is not None:
        version = ref.version
    elif ref.alias is not None:
        aliases = state.aliases if state else {}
        if ref.alias not in aliases:
            versions.list(ref.model, limit=1)  # An unknown model is the better thing to say.
            raise _unknown_alias(ref.alias, ref.model, aliases)
        version = aliases[ref.alias]
    elif state and any(state.traffic.values()):
        version = max(state.traffic, key=lambda v: (state.traffic[v], v))
    else:
        return versions.newest(ref.model).version
    return versions.get(ref.model, version).version


def pinned(job: Job, versions: Versions, states: States, *, now: datetime) -> Job:
    """`job` with a number where it names a version by an alias or by its model, so that it means the same tomorrow.

    Feedback that it learns from ends `now`.
    """

    def number(reference: Reference) -> str:
        return f"{reference.model}@{resolve(reference, versions, states)}"

    match job:
        case TrainJob():
            update: dict[str, Any] = {}
            if job.init_from is not None:
                update["init_from"] = number(Reference.parse(job.init_from))
            if job.data.use == FEEDBACK_ROWS:
                update["data"] = _until(now, job.data, number)
            return job.model_copy(update=update) if update else job
        case CompressJob():
            recipe = tuple(
                _with_teacher(step, lambda teacher: number(Reference.parse(teacher))) for step in job.recipe
            )
            return job.model_copy(update={"parent": number(job.reference), "recipe": recipe})
    return job


def _until(now: datetime, data: Component, number: Callable[[Reference], str]) -> Component:
    """Rows of feedback, of a version if one was named, and none that is younger than now."""
    of, until = data.config.get("of"), data.config.get("until")
    if until is not None and _MOMENT.validate_python(until) > now:
        raise InvalidInput(
            f"data.config.until: {until} is not over yet; leave it out to take what there is now"
        )
    config = data.config | {"until": until if until is not None else utc_text(now)}
    if isinstance(of, str) and (reference := Reference.parse(of)).alias is not None:
        config["of"] = number(reference)
    return Component(use=data.use, config=config)


def _with_teacher(step: Component, number: Callable[[str], str]) -> Component:
    """A pass with the version pinned whose answers it learns from, if it names one."""
    teacher = step.config.get("teacher")
    if step.use != "distill" or not (isinstance(teacher, str) and teacher):
        return step
    return Component(use=step.use, config=step.config | {"teacher": number(teacher)})


def _unknown_alias(alias: str, model: str, aliases: dict[str, int]) -> NotFound:
    near = difflib.get_close_matches(alias, aliases, n=1)
    known = (
        ", ".join(f"{name} -> {version}" for name, version in sorted(aliases.items())) or "there is none yet"
    )
    hint = f"did you mean {near[0]!r}? " if near else ""
    return NotFound(f"alias {alias!r} of {model!r} does not exist; {hint}known: {known}")

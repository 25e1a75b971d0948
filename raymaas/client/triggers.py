"""Triggers from Python: `client.triggers`, blocking and awaited."""

from __future__ import annotations

from pathlib import Path

from raymaas.client import calls
from raymaas.client.code import code_of
from raymaas.client.flow import Call
from raymaas.client.jobfile import JobSource, folder_of, read_job_as
from raymaas.client.link import AsyncLink, Link
from raymaas.specs.jobs import TrainJob
from raymaas.specs.triggers import Trigger, TriggerRevision


def registration(name: str, job: JobSource, *, folder: Path | None, why: str) -> Call[TriggerRevision]:
    """Raises InvalidInput for a job that cannot be read, and for code that is not there."""
    document = read_job_as(TrainJob, job)
    code = code_of(document, folder=folder or folder_of(job))
    return calls.trigger_set(name, document, code=code, why=why)


class Triggers:
    """Training jobs that are run again by themselves, when their `start` says."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def list(self) -> tuple[TriggerRevision, ...]:
        return self._link.call(calls.triggers())

    def get(self, name: str) -> Trigger:
        """As it stands, with its last ten starts. Raises NotFound."""
        return self._link.call(calls.trigger(name))

    def set(self, name: str, job: JobSource, *, folder: Path | None = None, why: str = "") -> TriggerRevision:
        """Register `job`, a TrainJob, a mapping, or a YAML file, with a section `start`; a schedule counts from now.

        `folder` is as to `Client.train`.
        """
        return self._link.call(registration(name, job, folder=folder, why=why))

    def pause(self, name: str, *, why: str = "") -> TriggerRevision:
        """Start nothing more until `resume`."""
        return self._link.call(calls.trigger_move(name, "pause", why=why))

    def resume(self, name: str, *, why: str = "") -> TriggerRevision:
        """Go on; a schedule counts from now."""
        return self._link.call(calls.trigger_move(name, "resume", why=why))

    def remove(self, name: str, *, why: str = "") -> TriggerRevision:
        """Runs that it has started go on."""
        return self._link.call(calls.trigger_remove(name, why=why))


class AsyncTriggers:
    """`Triggers` with `await`."""

    def __init__(self, link: AsyncLink) -> None:
        self._link = link

    async def list(self) -> tuple[TriggerRevision, ...]:
        return await self._link.call(calls.triggers())

    async def get(self, name: str) -> Trigger:
        """As it stands, with its last ten starts. Raises NotFound."""
        return await self._link.call(calls.trigger(name))

    async def set(
        self, name: str, job: JobSource, *, folder: Path | None = None, why: str = ""
    ) -> TriggerRevision:
        """Register `job`, a TrainJob, a mapping, or a YAML file, with a section `start`; a schedule counts from now.

        `folder` is as to `Client.train`.
        """
        return await self._link.call(registration(name, job, folder=folder, why=why))

    async def pause(self, name: str, *, why: str = "") -> TriggerRevision:
        """Start nothing more until `resume`."""
        return await self._link.call(calls.trigger_move(name, "pause", why=why))

    async def resume(self, name: str, *, why: str = "") -> TriggerRevision:
        """Go on; a schedule counts from now."""
        return await self._link.call(calls.trigger_move(name, "resume", why=why))

    async def remove(self, name: str, *, why: str = "") -> TriggerRevision:
        """Runs that it has started go on."""
        return await self._link.call(calls.trigger_remove(name, why=why))

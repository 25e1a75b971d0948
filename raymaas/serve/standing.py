"""Standings: how each deployed model stands now, from the registry."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from raymaas.bundle.files import REFERENCE
from raymaas.errors import RaymaasError
from raymaas.registry.drifts import Drifts
from raymaas.registry.rollouts import Rollouts
from raymaas.registry.states import States
from raymaas.registry.versions import Versions
from raymaas.rollout.sentences import waiting_text
from raymaas.serve.drift_report import drift_of
from raymaas.specs.serving import ModelState
from raymaas.specs.standing import DriftStanding, ModelStanding

_LATELY = timedelta(hours=1)
_KEPT = timedelta(seconds=20)
"""So long a drift is told again without counting: an hour of counts is some sixty documents of each replica, and
replicas leave theirs once a minute."""

log = logging.getLogger("raymaas.api")


@dataclass(frozen=True)
class Standings:
    versions: Versions
    states: States
    rollouts: Rollouts
    drifts: Drifts
    _told: dict[tuple[str, int], tuple[datetime, DriftStanding | None]] = field(
        default_factory=dict, init=False, repr=False
    )

    def now(self, at: datetime) -> tuple[ModelStanding, ...]:
        """Of every model with a deployed version, by name; drift may be 20 s old.

        What cannot be read of one is left out, and logged.
        """
        return tuple(self._each(at))

    def _each(self, at: datetime) -> Iterator[ModelStanding]:
        for model in self.versions.models():
            try:
                state = self.states.current(model)
                if state is not None and state.scaling:
                    yield self._standing(state, at)
            except RaymaasError as error:
                log.warning("how %s stands cannot be told: %s", model, error)

    def _standing(self, state: ModelState, at: datetime) -> ModelStanding:
        newest = self.rollouts.newest(state.model)
        rollout = newest if newest and newest.under_way else None
        return ModelStanding(
            model=state.model,
            traffic=state.traffic,
            aliases=state.aliases,
            rollout=rollout,
            waits_for=waiting_text(rollout, at) if rollout else "",
            drift=tuple(self._drifts(state, at)),
        )

    def _drifts(self, state: ModelState, at: datetime) -> Iterator[DriftStanding]:
        for version in sorted(state.scaling):
            key = state.model, version
            told_at, told = self._told.get(key, (at - _KEPT, None))
            if at - told_at >= _KEPT:
                told = self._drift(state.model, version, at)
                self._told[key] = at, told
            if told is not None:
                yield told

    def _drift(self, model: str, version: int, at: datetime) -> DriftStanding | None:
        """None for a version without a reference."""
        manifest = self.versions.get(model, version)
        if REFERENCE not in manifest.files:
            return None
        report = drift_of(manifest, self.versions, self.drifts, since=at - _LATELY, until=at)
        furthest = report.features[0].name if report.rows and report.features else ""
        return DriftStanding(
            version=version, verdict=report.verdict, rows=report.rows, psi=report.psi, furthest=furthest
        )

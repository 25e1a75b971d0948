"""The parts list: the only place that takes settings and builds what works on a store. For plans see `services`."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from raymaas.data.sources.base import DataFiles
from raymaas.errors import Refused
from raymaas.jobs.answered import labelled_in
from raymaas.registry.blobs import GRACE
from raymaas.registry.collector import Collector
from raymaas.registry.keys import Keys
from raymaas.registry.policies import Policies
from raymaas.registry.requests import Requests
from raymaas.registry.rollouts import Rollouts
from raymaas.registry.runs import Runs
from raymaas.registry.states import States
from raymaas.registry.versions import Versions
from raymaas.serve.comparison import comparison_of
from raymaas.serve.rollouts.conducting import Conductor
from raymaas.serve.rollouts.measuring import Measuring
from raymaas.settings import Settings
from raymaas.store import Store, open_store


@dataclass(frozen=True)
class Registry:
    """The store and what is kept in it."""

    store: Store
    versions: Versions
    states: States
    policies: Policies
    runs: Runs
    keys: Keys


def open_registry(storage: str) -> Registry:
    store = open_store(storage)
    versions = Versions(store)
    states = States(store, compare=comparison_of(versions))
    return Registry(store, versions, states, Policies(store), Runs(store), Keys(store))


def open_conductor(registry: Registry) -> Conductor:
    """A conductor that hears no edges: it begins rollouts, which the controller's own carries on."""
    measuring = Measuring(Requests(registry.store), lambda: ())
    return Conductor(Rollouts(registry.store), registry.states, measuring)


def open_collector(store: Store, settings: Settings, *, grace: timedelta) -> Collector:
    """A collector for a user's own hands. Raises Refused for a `grace` that publishers do not know of."""
    if grace < GRACE:
        hours = GRACE / timedelta(hours=1)
        raise Refused(
            f"a grace of {grace / timedelta(hours=1):g} h could take files from under a version being published:"
            f" publishers rely on {hours:g} h. Give {hours:g} or more"
        )
    holder = f"{getpass.getuser()} on {socket.gethostname()}, process {os.getpid()}"
    return Collector(store, settings.retention, holder=holder, grace=grace)


def data_files(settings: Settings, *, store: Store | None = None) -> DataFiles:
    """Where data sets known by name are looked for; what is downloaded is told on standard output.

    Answers with feedback are those in `store`.
    """
    return DataFiles(
        folder=settings.datasets.expanduser() if settings.datasets else None,
        cache=settings.datasets_cache,
        mnist_mirror=settings.mnist_mirror,
        say=partial(print, flush=True),
        labelled=labelled_in(store) if store else None,
    )

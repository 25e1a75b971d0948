"""A cluster of a benchmark's own: in a new home, on free ports, ended and taken away afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from raymaas.specs.serving import EdgeTable
from tests.journeys.journey_home import Home

_DATASETS = "RAYMAAS_DATASETS"  # else each home would download them again


@contextmanager
def own_cluster(**chosen: str) -> Iterator[Home]:
    """The home of a running cluster; its commands ask that cluster. `chosen` goes into its environment."""
    with tempfile.TemporaryDirectory() as folder:
        found = {_DATASETS: os.environ[_DATASETS]} if _DATASETS in os.environ else {}
        home = Home(Path(folder), found | chosen)
        home.cli("up")
        try:
            yield replace(home, chosen=home.chosen | {"RAYMAAS_URL": home.plan().url})
        finally:
            home.cli("down")


def trained(home: Home, job: str, *settings: str) -> None:
    """Train `jobs/train_<job>.yaml` with those settings, each such as training.epochs=1."""
    home.cli("train", f"jobs/train_{job}.yaml", *(word for one in settings for word in ("--set", one)))


def replica_addresses(home: Home, *, version: int | None = None) -> set[str]:
    """host:port of the replicas that the edge knows, of all versions or of one."""
    raw = (home.run_dir / "edge" / "table.json").read_bytes()
    targets = EdgeTable.unseal(raw, source="table.json").targets
    return {at for target in targets if version in (None, target.version) for at in target.replicas}

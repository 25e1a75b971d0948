"""`raymaas data`: the data sets there are, their settings, and preparing one here, without a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raymaas.cli.local import StorageInUse, settings_from_environment, storage_in_use
from raymaas.cli.show import AsJson, print_json, print_table
from raymaas.cli.submitting import Settings
from raymaas.client.jobfile import read_job_as
from raymaas.specs.jobs import Component, TrainJob

if TYPE_CHECKING:
    from raymaas.data.split import Parts
    from raymaas.specs.datasets import Column, DatasetCard

app = typer.Typer(no_args_is_help=True, help="Data sets and transforms: what there is, and preparing one.")


@app.command("list")
def list_sources(as_json: AsJson = False) -> None:
    """List the built-in data sets, the importers of your own, and the transforms that make numbers of columns.

    Their names are what `use` takes in a job: under `data` one of the first two kinds, under `transforms` a list
    of the third.

    Example:

      raymaas data list
    """
    from raymaas.data.catalogue import SOURCES, summary_of
    from raymaas.data.sources.base import Importer
    from raymaas.data.transforms.catalogue import TRANSFORMS

    rows = [
        (name, "importer" if issubclass(source, Importer) else "built in", summary_of(source))
        for name, source in SOURCES.items()
    ]
    rows += [(name, "transform", summary_of(settings)) for name, (settings, _) in TRANSFORMS.items()]
    if as_json:
        return print_json({name: {"kind": kind, "says": says} for name, kind, says in rows})
    return print_table(("name", "kind", "what it is"), rows, empty="")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `raymaas data list` has it.")],
    as_json: AsJson = False,
) -> None:
    """Show what a data set, importer or transform is, and the settings that its `config` takes.

    Examples:

      raymaas data show csv

      raymaas data show impute
    """
    from raymaas.data.catalogue import described
    from raymaas.data.transforms.catalogue import TRANSFORMS

    shown = TRANSFORMS[name][0] if name in TRANSFORMS else described(name)
    schema = shown.model_json_schema()
    if as_json:
        return print_json(schema)
    typer.echo(schema["description"])
    needed = schema.get("required", [])
    rows = [
        (field, "needed" if field in needed else about.get("default"), _meaning(about))
        for field, about in schema.get("properties", {}).items()
    ]
    if rows:
        typer.echo()
        print_table(("setting", "default", "what it is"), rows, empty="")
    return None


@app.command()
def prepare(
    what: Annotated[
        str, typer.Argument(metavar="JOB|NAME", help="A training job's file, or a data set's name.")
    ],
    settings: Settings = None,
    storage: StorageInUse = None,
    as_json: AsJson = False,
) -> None:
    """Put a data set into the store, check all of it, and show its card and how the job divides and transforms it.

    A training does this itself; here you see what is wrong with data before a cluster runs. Paths in the job
    are read on this machine.

    Examples:

      raymaas data prepare jobs/train_digits.yaml

      RAYMAAS_DATASETS=/data raymaas data prepare mnist
    """
    from raymaas import wiring
    from raymaas.data.catalogue import SOURCES
    from raymaas.data.dataset import put
    from raymaas.jobs.preparing import ready_rows
    from raymaas.store import open_store

    chosen = settings_from_environment(storage=storage)
    named = what in SOURCES and not settings and not Path(what).exists()
    job = None if named else read_job_as(TrainJob, what, settings=settings or ())
    store = open_store(storage_in_use(chosen, storage))
    said: dict[str, Any] = {}
    files = wiring.data_files(chosen)
    if job:
        ready = ready_rows(job, store, files)
        card = ready.card
        said = {"split": _sizes(ready.rows), "input_shape": list(ready.transforms.document.shape)}
        said["streamed"] = ready.streamed
    else:
        card = put(store, Component(use=what), files=files)
    if as_json:
        print_json(card.model_dump(mode="json") | said)
    else:
        _print_card(card, said)


def _print_card(card: DatasetCard, said: Mapping[str, Any]) -> None:
    def counted(sizes: Iterable[tuple[str, int]]) -> str:
        return ", ".join(f"{size} {part}" for part, size in sizes)

    lines = {
        "name": card.name,
        "fingerprint": card.fingerprint,
        "rows": str(card.rows),
        "shape of one": str(list(card.shape)) if card.shape else "",
        "columns": _names(card.columns),
        "kept beside": _names(card.kept),
        "to be learned": ", ".join(card.classes) or card.target,
        "its own parts": counted(card.own_parts.items()),
        "this job's parts": counted(said["split"].items()) if said else "",
        "this job's input": str(said["input_shape"]) if said else "",
        "training rows": "streamed" if said.get("streamed") else "",
    }
    for name, text in lines.items():
        if text:
            typer.echo(f"{name:<17} {text}")


def _meaning(about: Mapping[str, Any]) -> str:
    """A setting's description, and what it may be when that is one of a few."""
    choices = f" One of {', '.join(about['enum'])}." if "enum" in about else ""
    return f"{about.get('description', '')}{choices}"


def _names(columns: Iterable[Column]) -> str:
    return ", ".join(f"{column.name} ({column.type})" for column in columns)


def _sizes(parts: Parts) -> dict[str, int]:
    return {"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test)}

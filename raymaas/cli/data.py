"""`raymaas data`: the data sets there are, their settings, and preparing one here, without a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raymaas.cli.local import StorageInUse, settings_from_environment, storage_in_use
from raymaas.cli.show import AsJson, print_json, print_table
from raymaas.client.jobfile import read_job_as
from raymaas.specs.jobs import Component, TrainJob

if TYPE_CHECKING:
    from raymaas.data.split import Parts
    from raymaas.specs.datasets import DatasetCard

app = typer.Typer(no_args_is_help=True, help="Data sets: what there is, and preparing one.")


@app.command("list")
def list_sources(as_json: AsJson = False) -> None:
    """List the built-in data sets, and the importers of your own, by the name that `data.use` takes in a job.

    Example:

      raymaas data list
    """
    from raymaas.data.catalogue import SOURCES, summary_of
    from raymaas.data.sources.base import Importer

    kinds = {
        name: "importer" if issubclass(source, Importer) else "built in" for name, source in SOURCES.items()
    }
    if as_json:
        return print_json(
            {name: {"kind": kinds[name], "says": summary_of(SOURCES[name])} for name in SOURCES}
        )
    rows = [(name, kinds[name], summary_of(source)) for name, source in SOURCES.items()]
    return print_table(("name", "kind", "what it is"), rows, empty="")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `raymaas data list` has it.")],
    as_json: AsJson = False,
) -> None:
    """Show what a data set or importer is, and the settings that `data.config` takes for it.

    Example:

      raymaas data show csv
    """
    from raymaas.data.catalogue import described

    source = described(name)
    schema = source.model_json_schema()
    if as_json:
        return print_json(schema)
    typer.echo(schema["description"])
    needed = schema.get("required", [])
    rows = [
        (field, "needed" if field in needed else about.get("default"), about.get("description"))
        for field, about in schema["properties"].items()
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
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Override a field of the job; may be repeated."),
    ] = None,
    storage: StorageInUse = None,
    as_json: AsJson = False,
) -> None:
    """Put a data set into the store, check all of it, and show its card and how the job divides it.

    A training does this itself; here you see what is wrong with data before a cluster runs. Paths in the job
    are read on this machine.

    Examples:

      raymaas data prepare jobs/train_digits.yaml

      RAYMAAS_DATASETS=/data raymaas data prepare mnist
    """
    from raymaas import wiring
    from raymaas.data.catalogue import SOURCES
    from raymaas.data.dataset import prepare
    from raymaas.data.split import split
    from raymaas.store import open_store

    chosen = settings_from_environment(storage=storage)
    named = what in SOURCES and not settings and not Path(what).exists()
    job = None if named else read_job_as(TrainJob, what, settings=settings or ())
    dataset = prepare(
        open_store(storage_in_use(chosen, storage)),
        job.data if job else Component(use=what),
        files=wiring.data_files(chosen),
    )
    parts = split(dataset, job.split) if job else None
    if as_json:
        print_json(dataset.card.model_dump(mode="json") | ({"split": _sizes(parts)} if parts else {}))
    else:
        _print_card(dataset.card, parts)


def _print_card(card: DatasetCard, parts: Parts | None) -> None:
    def counted(sizes: Iterable[tuple[str, int]]) -> str:
        return ", ".join(f"{size} {part}" for part, size in sizes)

    lines = {
        "name": card.name,
        "fingerprint": card.fingerprint,
        "rows": str(card.rows),
        "shape of one": str(list(card.shape)),
        "classes": ", ".join(card.classes),
        "its own parts": counted(card.own_parts.items()),
        "this job's parts": counted(_sizes(parts).items()) if parts else "",
    }
    for name, text in lines.items():
        if text:
            typer.echo(f"{name:<17} {text}")


def _sizes(parts: Parts) -> dict[str, int]:
    return {"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test)}

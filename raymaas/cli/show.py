"""Showing: tables, JSON and errors, on a terminal or into a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raymaas.client import Client
from raymaas.specs.base import Spec
from raymaas.specs.runs import Failed, Running, RunState, Stopped, Succeeded

# Wide enough that nothing in a pipe is ever cut or wrapped.
_PIPE_COLUMNS = 10_000

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def client_of(context: typer.Context) -> Client:
    """The client for the global `--url`, else for what `usual_url` says, else for the client's own default."""
    url: str | None = context.obj
    return Client(url or usual_url(os.environ))


def usual_url(environment: Mapping[str, str]) -> str | None:
    """RAYMAAS_URL or the `url` of the settings file, else that of the cluster that runs from this user's home.

    None when nothing says: the core install knows no clusters.
    """
    from raymaas.settings import load_settings

    settings = load_settings(environment)
    if settings.url:
        return settings.url
    try:
        from raymaas.cluster.lifecycle import read_plan
    except ModuleNotFoundError:
        return None
    plan = read_plan(settings.run_dir)
    return plan.url if plan else None


def output() -> Console:
    return Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS, highlight=False)


def notes() -> Console:
    """Where progress and remarks go, so that standard output stays what was asked for."""
    return Console(stderr=True, highlight=False)


def fail(sentence: str) -> None:
    """Print an error as one red line, however long."""
    notes().print(Text(f"error: {sentence}", style="red"), soft_wrap=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """A table with left-aligned columns, or `empty` on stderr when there are no rows."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text("-" if value in (None, "") else str(value)) for value in row))
    if table.row_count:
        output().print(table)
    else:
        notes().print(Text(empty), soft_wrap=True)


def print_json(value: Spec | Sequence[Spec] | dict[str, Any]) -> None:
    """`value` as indented JSON, the words of the HTTP API."""

    def plain(part: Any) -> Any:
        return part.model_dump(mode="json") if isinstance(part, Spec) else part

    whole = plain(value) if isinstance(value, Spec | dict) else [plain(part) for part in value]
    typer.echo(orjson.dumps(whole, option=orjson.OPT_INDENT_2).decode())


def moment(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def weights(traffic: dict[int, int]) -> str:
    return " ".join(f"{version}={weight}" for version, weight in sorted(traffic.items()) if weight)


def aliases(pointers: dict[str, int]) -> str:
    return " ".join(f"{alias}={version}" for alias, version in sorted(pointers.items()))


def state_detail(state: RunState) -> str:
    """What a run's state carries beside its name."""
    match state:
        case Running(step=step):
            return step
        case Succeeded(versions=versions, seconds=seconds):
            return f"{_numbered(versions)}{seconds:.1f} s"
        case Failed(error=error):
            return error.splitlines()[0] if error else ""
        case Stopped(who=who, why=why):
            return f"by {who}: {why.partition(';')[0]}" if why else f"by {who}"
    return ""


def _numbered(versions: tuple[int, ...]) -> str:
    match versions:
        case (only,):
            return f"version {only} in "
        case (*others, last):
            return f"versions {', '.join(map(str, others))} and {last} in "
    return ""

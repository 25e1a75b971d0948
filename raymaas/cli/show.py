"""Showing: tables, JSON and errors, on a terminal or into a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Server:
    """What the global options say of the server; None where they say nothing."""

    url: str | None = None
    api_key: str | None = field(default=None, repr=False)


def client_of(context: typer.Context) -> Client:
    """The client for the global options, else for what `usual_server` says, else for the client's own default."""
    asked: Server = context.obj
    usual = usual_server(os.environ)
    return Client(asked.url or usual.url, api_key=asked.api_key or usual.api_key)


def usual_server(environment: Mapping[str, str]) -> Server:
    """What RAYMAAS_URL, RAYMAAS_API_KEY and the settings file say; without a url, that of the cluster that runs here.

    No url when nothing says: the core install knows no clusters.
    """
    from raymaas.settings import load_settings

    settings = load_settings(environment)
    api_key = settings.api_key.get_secret_value() if settings.api_key else None
    if settings.url:
        return Server(settings.url, api_key)
    try:
        from raymaas.cluster.lifecycle import read_plan
    except ModuleNotFoundError:
        return Server(None, api_key)
    plan = read_plan(settings.run_dir)
    return Server(plan.url if plan else None, api_key)


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

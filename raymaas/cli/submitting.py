"""Submitting: the options of every command that starts a run, and what it says when it does not wait for the end."""

from __future__ import annotations

from typing import Annotated

import typer

from raymaas.cli.show import print_json
from raymaas.client.client import RunHandle

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Override a field of the job; may be repeated."),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the run until it has ended.")]


def print_accepted(run: RunHandle, *, as_json: bool) -> None:
    """The id of a run that goes on, or the run as JSON."""
    print_json(run.status()) if as_json else typer.echo(run.run_id)

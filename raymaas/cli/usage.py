"""`raymaas usage`: requests and rows by API key and version."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from raymaas.cli.amounts import is_span, span_of
from raymaas.cli.show import AsJson, client_of, moment, notes, print_json, print_table
from raymaas.errors import InvalidInput
from raymaas.specs.keys import KEY_PREFIX

app = typer.Typer()


@app.command()
def usage(
    context: typer.Context,
    key: Annotated[
        str | None, typer.Option(metavar="NAME|ID", help="Of this caller, or this one key. Default all.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="Of this model. Default all.")] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="90m, 24h, 7d; or a date such as 2026-11-01, local time.")
    ] = "24h",
    as_json: AsJson = False,
) -> None:
    """Sum the requests, errors and rows that each key asked of each version.

    Counted is what replicas record: some seconds behind, and as far back as the
    setting keep_requests_days. Not counted: what an edge refused (401, 403, 429),
    and versions deployed with request_log off or errors.

    Examples:

      raymaas usage

      raymaas usage --key shop --model digits --since 7d
    """
    with client_of(context) as client:
        found = client.keys.usage(since=moment_of(since, now=datetime.now(UTC)), model=model, key=key)
    if as_json:
        return print_json(found)
    rows = [
        (
            line.name or "no key",
            f"{KEY_PREFIX}{line.key_id}" if line.key_id else "",
            f"{line.model}@{line.version}",
            line.requests,
            line.errors,
            line.rows,
        )
        for line in found.lines
    ]
    columns = ("name", "key", "version", "requests", "errors", "rows")
    print_table(columns, rows, empty=f"no request is recorded since {moment(found.since)}")
    if found.unrecorded:
        notes().print(
            f"{found.unrecorded} requests more could not be recorded: the store was behind", markup=False
        )
    return None


def moment_of(text: str, *, now: datetime) -> datetime:
    """`now` less 90m, 24h or 7d, or the date or time in `text`, local unless it says its zone. Raises InvalidInput."""
    if is_span(text):
        return now - span_of(text, option="--since")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise InvalidInput(f"{text!r} is no time; say 90m, 24h, 7d, or a date such as 2026-11-01") from None

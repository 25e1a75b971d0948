"""`raymaas models lineage`: from data to an answer, and from a data set to every version that came from it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from raymaas.cli.lineage_tree import data_tree, version_tree
from raymaas.cli.show import AsJson, client_of, notes, output, print_json
from raymaas.client import Client
from raymaas.errors import InvalidInput

app = typer.Typer()


@app.command()
def lineage(
    context: typer.Context,
    reference: Annotated[
        str, typer.Argument(metavar="[MODEL@VERSION]", help="A version, deleted or not, or an alias.")
    ] = "",
    data: Annotated[
        str, typer.Option(metavar="FINGERPRINT", help="A data set instead; its first 8 digits are enough.")
    ] = "",
    request_id: Annotated[
        str, typer.Option(metavar="ID", help="One answer of the version: the x-request-id it carried.")
    ] = "",
    before: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"],
            help="Look for the request no later than then; without a zone, in local time.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many versions of a data set.")] = 100,
    after: Annotated[str, typer.Option(help="The next page of a data set's versions, as printed.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show where a version came from and what became of it, or what a data set became.

    Of a version: data, runs, parents, recipe and trial; when it was deployed, with which weight and aliases, and
    who moved it; the versions made from it. An answer names its version and its request id: both lead here.

    Example:

      raymaas models lineage digits@2

      raymaas models lineage digits@2 --request-id 0199f3a0c1b2aabbccddeeff

      raymaas models lineage --data 3f9a1c2d
    """
    if bool(reference) == bool(data):
        raise InvalidInput("say which version, such as digits@2, or which data set, --data FINGERPRINT")
    if data and request_id:
        raise InvalidInput("a request is one version's; say which, such as digits@2, instead of --data")
    with client_of(context) as client:
        if data:
            return _of_data(client, data, limit=limit, after=after or None, as_json=as_json)
        moment = before.astimezone(UTC) if before else None
        trace = client.models.lineage(reference, request_id=request_id or None, before=moment)
    return print_json(trace) if as_json else output().print(version_tree(trace))


def _of_data(client: Client, fingerprint: str, *, limit: int, after: str | None, as_json: bool) -> None:
    trace = client.models.from_data(fingerprint, limit=limit, after=after)
    if as_json:
        return print_json(trace)
    output().print(data_tree(trace))
    if trace.next_after:
        notes().print(
            f"more: raymaas models lineage --data {fingerprint} --after {trace.next_after}", soft_wrap=True
        )
    return None

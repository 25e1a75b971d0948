"""`raymaas keys`: who may ask models and change things, and how often."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from raymaas.cli.show import AsJson, client_of, moment, notes, print_json, print_table
from raymaas.client.connection import os_user
from raymaas.client.keys import grant
from raymaas.errors import InvalidInput
from raymaas.specs.api import CreatedKey
from raymaas.specs.keys import KEY_PREFIX, KeyFacts, RateLimit, Scope

app = typer.Typer(
    no_args_is_help=True,
    help="API keys: who may ask models (scope predict) and who may change things (scope admin).\n\n"
    "Until the first key exists nobody needs one, and the edge listens on loopback only. From then on every request "
    "needs one: set RAYMAAS_API_KEY, or send it as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'.",
)

Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Write into this store and ask no server: for the first key, or when all are lost.",
    ),
]
Why = Annotated[str, typer.Option(help="Kept with the change.")]


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the caller: a person or a program.")],
    scope: Annotated[
        list[str] | None, typer.Option(metavar="SCOPE", help="predict (the default) or admin. Repeatable.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Only this model, or pattern such as 'digits-*'. Repeatable."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="N", help="Requests a second; default as many as come.")
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(metavar="N", help="Requests that may come at once; default those of a second, or one."),
    ] = None,
    why: Why = "",
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Create a key and print it. It is shown this once: only its SHA-256 is kept.

    The first key must have scope admin. Two live keys may have one name: create
    the second, give it to the caller, then revoke the first by its id.

    Every edge counts by itself: with two, a caller may ask twice the rate.

    Examples:

      raymaas keys create ana --scope admin --scope predict

      raymaas keys create shop --model 'digits*' --rate 50 --burst 100
    """
    scopes = cast("list[Scope]", scope or ["predict"])
    limit = _limit(rate, burst)
    if storage is not None:
        from raymaas.wiring import open_registry

        asked = grant(name, scopes=scopes, models=model or (), limit=limit)
        new = open_registry(storage).keys.create(asked, who=os_user(), why=why)
        created = CreatedKey(key=new.text, facts=new.kept.facts(), first=new.ring.revision == 1)
    else:
        with client_of(context) as client:
            created = client.keys.create(name, scopes=scopes, models=model or (), limit=limit, why=why)
    if as_json:
        return print_json(created)
    said = notes()
    said.print(f"{_shown_id(created.facts)} for {name}; the key is shown this once:", markup=False)
    typer.echo(created.key)
    if created.first:
        said.print("from now on every request needs a key: set RAYMAAS_API_KEY to one", markup=False)
    return None


@app.command("list")
def list_keys(
    context: typer.Context,
    revoked: Annotated[bool, typer.Option("--revoked", help="Those that were revoked as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the keys: id, caller, what each may do. No key can be read back.

    Example:

      raymaas keys list --revoked
    """
    with client_of(context) as client:
        found = [key for key in client.keys.list() if revoked or key.live]
    if as_json:
        return print_json(found)
    columns = ("id", "name", "scopes", "models", "limit", "created", "by", "revoked")
    return print_table(
        columns,
        map(_row, found),
        empty="there are no keys; `raymaas keys create NAME --scope admin` makes the first",
    )


@app.command()
def revoke(
    context: typer.Context,
    which: Annotated[str, typer.Argument(metavar="NAME|ID", help="The caller, or an id as `list` shows it.")],
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Let nobody in with a key any more, within seconds, on every edge. It stays in `list --revoked`.

    The last key with scope admin stays: create another before.

    Examples:

      raymaas keys revoke shop --why "it was in a log"

      raymaas keys revoke rmk_1f0c9a2b
    """
    with client_of(context) as client:
        key = client.keys.revoke(which, why=why)
    print_json(key) if as_json else typer.echo(f"{_shown_id(key)} of {key.name} is revoked")


def _limit(rate: float | None, burst: int | None) -> RateLimit | None:
    if rate is None:
        if burst is not None:
            raise InvalidInput(
                "--burst says how many may come at once; say with --rate how fast they come again"
            )
        return None
    return RateLimit.parse(
        {"requests_per_s": rate, "burst": max(1, round(rate)) if burst is None else burst},
        source="--rate, --burst",
    )


def _shown_id(key: KeyFacts) -> str:
    return f"{KEY_PREFIX}{key.key_id}"


def _row(key: KeyFacts) -> tuple[str, ...]:
    limit = f"{key.limit.requests_per_s:g}/s, {key.limit.burst} at once" if key.limit else ""
    return (
        _shown_id(key),
        key.name,
        " ".join(key.scopes),
        " ".join(key.models) or "all",
        limit,
        moment(key.created_at),
        key.created_by,
        moment(key.revoked_at) if key.revoked_at else "",
    )

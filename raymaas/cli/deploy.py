"""`raymaas deploy`, `undeploy`, `alias set`, `traffic`, `promote`, `rollback`: what runs, who gets requests."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from raymaas.cli.show import AsJson, aliases, client_of, notes, print_json, weights
from raymaas.errors import InvalidInput
from raymaas.specs.names import Reference
from raymaas.specs.runtimes import RUNTIMES
from raymaas.specs.serving import ModelState, Scaling

app = typer.Typer()
alias_app = typer.Typer(no_args_is_help=True, help="Aliases: named pointers to versions.")
app.add_typer(alias_app, name="alias")

VersionArgument = Annotated[
    str, typer.Argument(metavar="MODEL@VERSION", help="A version, or an alias of one.")
]
Why = Annotated[str, typer.Option(help="Kept in the model's history.")]


@app.command()
def deploy(
    context: typer.Context,
    reference: VersionArgument,
    replicas: Annotated[
        int | None,
        typer.Option(min=0, help="Replicas kept running; 0: one starts for the first request."),
    ] = None,
    max_replicas: Annotated[
        int | None, typer.Option(min=1, help="Scale up to this many under load; default --replicas.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Compute threads of a replica.")] = None,
    cpus: Annotated[
        float | None, typer.Option(min=0, help="CPUs reserved for a replica in Ray's books.")
    ] = None,
    gpus: Annotated[float | None, typer.Option(min=0, help="GPUs reserved for a replica.")] = None,
    memory_mb: Annotated[
        int | None, typer.Option("--memory-mb", min=0, help="Memory reserved for a replica in Ray's books.")
    ] = None,
    pip: Annotated[
        list[str] | None, typer.Option(help="A package Ray installs for the replicas; may be repeated.")
    ] = None,
    idle_s: Annotated[
        float | None, typer.Option("--idle", min=0, help="Seconds of little to do before a replica ends.")
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(help=f"auto, or one of the version's own: {', '.join(RUNTIMES)}.")
    ] = None,
    max_latency_ms: Annotated[
        float | None,
        typer.Option(
            "--max-latency-ms",
            min=0.1,
            help="What a request should take at most; requests that wait for a busy model are joined accordingly.",
        ),
    ] = None,
    result_cache_mb: Annotated[
        int | None,
        typer.Option(
            "--result-cache-mb",
            min=0,
            help="Memory of a replica for answers, given again when the same bytes are asked again.",
        ),
    ] = None,
    request_log: Annotated[
        str | None, typer.Option(help="Which requests are recorded for lineage: all, errors or off.")
    ] = None,
    why: Why = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it answers.")] = True,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait at most.")] = 180,
    as_json: AsJson = False,
) -> None:
    """Run a version. The first one of a model takes its traffic; later ones start without any.

    Example:

      raymaas deploy digits@2 --replicas 1 --max-replicas 4

      raymaas deploy digits@2 --replicas 0 --idle 300   # no replica while nobody asks
    """
    scaling = scaling_from(
        {
            "min_replicas": replicas,
            "max_replicas": max_replicas or (replicas and max(1, replicas)),
            "threads": threads,
            "num_cpus": cpus,
            "num_gpus": gpus,
            "memory_mb": memory_mb,
            "pip": pip or None,
            "downscale_delay_s": idle_s,
            "runtime": runtime,
            "max_latency_ms": max_latency_ms,
            "result_cache_mb": result_cache_mb,
            "request_log": request_log,
        }
    )
    with client_of(context) as client, notes().status(f"deploying {reference}"):
        state = client.deploy(reference, scaling=scaling, why=why, wait=wait, timeout_s=timeout_s)
    _print_state(state, as_json=as_json, done=f"{reference} {'is ready' if wait else 'is starting'}")


@app.command()
def undeploy(
    context: typer.Context,
    reference: VersionArgument,
    force: Annotated[bool, typer.Option("--force", help="Also when it is the last that answers.")] = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """No longer run a version. It stays registered.

    Example:

      raymaas undeploy digits@1
    """
    with client_of(context) as client:
        state = client.undeploy(reference, force=force, why=why)
    _print_state(state, as_json=as_json, done=f"{reference} is stopping")


@alias_app.command("set")
def alias_set(
    context: typer.Context,
    alias: Annotated[str, typer.Argument(metavar="MODEL@ALIAS")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A version number, or another alias.")],
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version.

    Example:

      raymaas alias set digits@prod 2 --why "better on the holdout"
    """
    with client_of(context) as client:
        state = client.alias_set(alias, version, why=why)
    target = Reference.parse(alias)
    done = f"{target} is {target.model}@{state.aliases[str(target.alias)]}"
    _print_state(state, as_json=as_json, done=done)


@app.command()
def traffic(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    shares: Annotated[
        list[str] | None, typer.Argument(metavar="[VERSION=PERCENT]...", help="Summing to 100.")
    ] = None,
    sticky: Annotated[
        str | None,
        typer.Option(
            metavar="header:NAME",
            help="The same version answers whoever sends the same value in this header.",
        ),
    ] = None,
    no_sticky: Annotated[
        bool, typer.Option("--no-sticky", help="Chance decides of each request again.")
    ] = False,
    shadow: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL@VERSION",
            help="Send copies of requests to this version too; its answers are compared and given to nobody.",
        ),
    ] = None,
    sample: Annotated[
        float | None,
        typer.Option(min=0.0001, max=1, help="Share of the infer requests that are copied; default 0.1."),
    ] = None,
    no_shadow: Annotated[bool, typer.Option("--no-shadow", help="Send no more copies.")] = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Divide a model's unpinned requests over deployed versions. What is not given stays as it is.

    Example:

      raymaas traffic digits 1=90 2=10

      raymaas traffic digits 1=80 2=20 --sticky header:x-user

      raymaas traffic digits --shadow digits@3 --sample 0.2
    """
    division = weights_from(shares) if shares else None
    with client_of(context) as client:
        state = client.traffic(
            model,
            division,
            sticky=_or_off("sticky", sticky, no_sticky),
            shadow=_or_off("shadow", shadow, no_shadow),
            sample=sample,
            why=why,
        )
    _print_state(state, as_json=as_json, done=f"{model}: {state.change.summary}")


def _or_off(name: str, given: str | None, off: bool) -> str | None:
    """What an option and its opposite say together. Raises InvalidInput when both are given."""
    if off and given is not None:
        raise InvalidInput(f"--{name} and --no-{name} contradict each other; give one of them")
    return "off" if off else given


@app.command()
def promote(
    context: typer.Context, reference: VersionArgument, why: Why = "", as_json: AsJson = False
) -> None:
    """Make a deployed version the model's own: alias prod and all traffic go to it at once.

    Example:

      raymaas promote digits@2 --why "better on the holdout"
    """
    with client_of(context) as client:
        state = client.promote(reference, why=why)
    _print_state(state, as_json=as_json, done=_routes(state))


@app.command()
def rollback(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    to: Annotated[
        int | None, typer.Option(min=1, metavar="REVISION", help="As `raymaas models history` numbers them.")
    ] = None,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Take back the last move of aliases or traffic; repeated, it goes further back. What runs stays.

    Example:

      raymaas rollback digits

      raymaas rollback digits --to 4 --why "2 is slow"
    """
    with client_of(context) as client:
        state = client.rollback(model, to=to, why=why)
    _print_state(state, as_json=as_json, done=_routes(state))


def scaling_from(given: dict[str, Any]) -> Scaling | None:
    """The scaling that options name; None when none was given, which keeps what a version has."""
    chosen = {field: value for field, value in given.items() if value is not None}
    return Scaling.parse(chosen, source="scaling") if chosen else None


def weights_from(shares: list[str]) -> dict[int, int]:
    """`1=90 2=10` as version to percent. Raises InvalidInput for another form or a version named twice."""
    division: dict[int, int] = {}
    for share in shares:
        version, equals, percent = share.partition("=")
        if not equals or not version.isdecimal() or not percent.isdecimal():
            raise InvalidInput(f"{share!r} is not of the form VERSION=PERCENT, such as 1=90")
        if int(version) in division:
            raise InvalidInput(f"version {version} is given twice; name each version once")
        division[int(version)] = int(percent)
    return division


def _routes(state: ModelState) -> str:
    """Where a model's requests go now; also true when a move found nothing to change."""
    pointers, shares = aliases(state.aliases) or "none", weights(state.traffic) or "none"
    return f"{state.model} at revision {state.revision}: aliases {pointers}, traffic {shares}"


def _print_state(state: ModelState, *, as_json: bool, done: str) -> None:
    print_json(state) if as_json else typer.echo(done)

"""Commands about this machine's cluster: up, down, status, env, and those its own processes are started with."""

from __future__ import annotations

import ipaddress
import json
import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raymaas import __version__
from raymaas.cli.show import usual_server
from raymaas.cli.standings import shown
from raymaas.errors import IntegrityError, InvalidInput, NotFound, RaymaasError, Refused

if TYPE_CHECKING:
    from raymaas.cluster.plan import ClusterPlan
    from raymaas.settings import Settings
    from raymaas.specs.keys import KeyRing
    from raymaas.specs.standing import ModelStanding
    from raymaas.store import Store

app = typer.Typer()

_WATCH_S = 2.0
_STANDING_S = 5.0

Storage = Annotated[
    str | None,
    typer.Option(
        help="Store URL: file:///path, or s3://bucket/prefix?endpoint_url=http://host:port&region=R. "
        "Default file://<home>/store."
    ),
]
StorageInUse = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The store; default that of the running cluster, else RAYMAAS_STORAGE."),
]
Port = Annotated[
    int | None, typer.Option(help="Port of the edge (0: a free one). Default 8080, or RAYMAAS_PORT.")
]
DashboardPort = Annotated[
    int | None,
    typer.Option(help="Port of Ray's dashboard (0: a free one). Default 8265, or RAYMAAS_DASHBOARD_PORT."),
]


@app.command()
def up(
    address: Annotated[
        str | None,
        typer.Option(help="Join this Ray head instead of starting one: 'auto' or host:port of its GCS."),
    ] = None,
    storage: Storage = None,
    port: Port = None,
    dashboard_port: DashboardPort = None,
    cpus: Annotated[int | None, typer.Option(help="CPUs Ray may use; default all.")] = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="IP",
            help="Address the edge listens on; others than loopback need API keys: `raymaas keys`.",
        ),
    ] = None,
    control_host: Annotated[
        str | None,
        typer.Option(
            metavar="IP",
            help="Address the controller listens on; another than loopback, which needs API keys, lets other hosts "
            "run edges: `raymaas edge`.",
        ),
    ] = None,
    control_port: Annotated[
        int | None, typer.Option(help="Port of the controller. Default a free one, or RAYMAAS_CONTROL_PORT.")
    ] = None,
) -> None:
    """Start a Ray head, the controller and the edge on this machine, all on loopback unless told otherwise.

    A bucket's credentials are those of the usual AWS chain, in this shell:
    AWS_ACCESS_KEY_ID, AWS_PROFILE, ~/.aws. A joined head needs its own.

    Examples:

      raymaas up

      raymaas up --storage file:///data/models --port 9000

      AWS_PROFILE=models raymaas up --storage 's3://bucket/models?region=eu-central-1'

      ray start --head && raymaas up --address auto
    """
    from raymaas.cluster import lifecycle

    settings = settings_from_environment(
        storage=storage,
        port=port,
        dashboard_port=dashboard_port,
        cpus=cpus,
        host=host,
        control_host=control_host,
        control_port=control_port,
    )
    console = Console(stderr=True)
    join = None
    if address:
        from raymaas.cluster.joining import find_head
        from raymaas.settings import ray_token_file

        join = find_head(address, token_file=ray_token_file(os.environ))
        if join.token_file is None:
            console.print(
                f"[yellow]warning:[/] the head at {join.ray_address} has no token: whoever reaches its ports can run "
                "code on it. Start it with RAY_AUTH_MODE=token."
            )
    with console.status("starting") as spinner:
        plan = lifecycle.up(
            up_options(settings),
            environment=dict(os.environ),
            join=join,
            progress=lambda text: spinner.update(text),
        )
    console.print(f"raymaas runs at [bold]{plan.url}[/]")
    if not ipaddress.ip_address(plan.host).is_loopback:
        console.print(
            f"[yellow]warning:[/] the edge listens on {plan.host} and speaks plain HTTP: keys and rows can be read on "
            "the way. Put a proxy with TLS before it."
        )
    if not ipaddress.ip_address(plan.control_host).is_loopback:
        console.print(
            f"[yellow]warning:[/] the controller listens on {plan.control_host} and speaks plain HTTP: keep that a "
            "private network. For an edge on another host:"
        )
        console.print(
            f"  raymaas edge --control {plan.control_address} --secret-file COPY_OF_{plan.edge_secret_file}"
        )
    console.print(f"  store      {plan.storage}")
    console.print(f"  dashboard  {plan.dashboard_url}")
    console.print("  next       raymaas train jobs/train_digits.yaml")
    console.print("  stop       raymaas down")


@app.command()
def down() -> None:
    """End everything `raymaas up` started. The store stays.

    Example:

      raymaas down
    """
    console = Console(stderr=True)
    with console.status("stopping") as spinner:
        plan = stop_cluster(settings_from_environment(), progress=lambda text: spinner.update(text))
    console.print("nothing was running" if plan is None else f"stopped; the store {plan.storage} is kept")


@app.command()
def status(
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds, until Ctrl-C; JSON a line each.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show this machine's cluster, and how deployed models stand: traffic, rollouts under way, and drift.

    Each process is shown with its pid. Exit status 1 if the cluster is not healthy.

    Examples:

      raymaas status

      raymaas status --watch
    """
    plan, console = _require_plan(settings_from_environment()), Console()
    healthy = False
    try:
        healthy = _show_status(plan, console, as_json=as_json, again=watch)
        while watch:
            time.sleep(_WATCH_S)
            healthy = _show_status(plan, console, as_json=as_json, again=watch)
    except KeyboardInterrupt:
        pass
    if not healthy:
        raise typer.Exit(1)


def _show_status(plan: ClusterPlan, console: Console, *, as_json: bool, again: bool) -> bool:
    """One look; whether the cluster is healthy. Looked at `again`, it takes the place of the one before."""
    from raymaas.cluster.status import describe

    description = describe(plan)
    models, away = _models_of(plan)
    if as_json:
        listed = [model.model_dump(mode="json") for model in models]
        typer.echo(json.dumps(description | {"models": listed}, indent=None if again else 2))
        return bool(description["ready"])
    if again and console.is_terminal:
        console.clear()
    _print_status(console, description)
    if models:
        console.print(shown(models), soft_wrap=True)
    if away:
        console.print(Text(f"how models stand is not known: {away}"), soft_wrap=True)
    return bool(description["ready"])


def _models_of(plan: ClusterPlan) -> tuple[tuple[ModelStanding, ...], str]:
    """How models stand as the cluster's own API has it; or why it does not say."""
    from raymaas.client import Client

    try:
        with Client(plan.url, api_key=usual_server(os.environ).api_key, timeout_s=_STANDING_S) as client:
            return client.status().models, ""
    except RaymaasError as error:
        return (), str(error)


def _print_status(console: Console, description: dict[str, Any]) -> None:
    for key in ("url", "dashboard_url", "ray_address", "storage", "run_dir", "mode"):
        console.print(f"{key:<14} {description[key]}", highlight=False, soft_wrap=True)
    table = Table("process", "pid", "state", "restarts")
    for name, process in description["processes"].items():
        state = "[green]running[/]" if process["alive"] else "[red]gone[/]"
        table.add_row(name, str(process["pid"] or "-"), state, str(process["restarts"]))
    console.print(table)
    if not description["processes"]["supervisor"]["alive"]:
        console.print("the supervisor is gone, so nothing is restarted; `raymaas up` brings it back")


@app.command()
def env() -> None:
    """Print shell exports that point Ray's own tools and the client at this cluster.

    Example:

      eval "$(raymaas env)" && ray job submit --working-dir . -- raymaas run jobs/train_digits.yaml
    """
    plan = _require_plan(settings_from_environment())
    exports = {
        "RAYMAAS_URL": plan.url,
        "RAY_API_SERVER_ADDRESS": plan.dashboard_url,
        "RAY_ADDRESS": plan.ray_address,
    }
    if plan.token_file:
        exports |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": plan.token_file}
    if plan.mode == "own":
        exports["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    for name, value in exports.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def run(
    job: Annotated[Path | None, typer.Argument(help="Job file (YAML or JSON).")] = None,
    run_id: Annotated[str | None, typer.Option("--run", help="Carry out this accepted run instead.")] = None,
    storage: Storage = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field, e.g. training.epochs=3. Repeatable.")
    ] = None,
) -> None:
    """Carry out a job here, as a driver of the Ray cluster: what a submitted job calls.

    Example:

      ray job submit --working-dir . -- raymaas run jobs/train_digits.yaml
    """
    from raymaas.cli.driver import carry_out

    if (job is None) == (run_id is None):
        raise InvalidInput("give either a job file or --run ID, e.g. raymaas run jobs/train_digits.yaml")
    carry_out(job, run_id=run_id, storage=storage, overrides=overrides or [])


@app.command()
def quickstart(
    storage: Storage = None,
    port: Port = None,
    dashboard_port: DashboardPort = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop everything at the end, even on a terminal.")
    ] = False,
) -> None:
    """Take one real model through its whole life on this machine, and check every step.

    Example:

      raymaas quickstart --keep
    """
    from raymaas.cli.quickstart import walk

    settings = settings_from_environment(storage=storage, port=port, dashboard_port=dashboard_port)
    walk(settings, environment=dict(os.environ), keep=keep, stop=stop)


def settings_from_environment(**chosen: Any) -> Settings:
    from raymaas.settings import load_settings

    return load_settings(os.environ, **chosen)


def storage_in_use(settings: Settings, chosen: str | None) -> str:
    """`chosen` on the command line; else the store of the cluster that runs from here, else that of the settings."""
    from raymaas.cluster.lifecycle import read_plan

    plan = None if chosen else read_plan(settings.run_dir)
    return plan.storage if plan else settings.storage


def up_options(settings: Settings) -> Any:
    from raymaas.cluster.lifecycle import UpOptions
    from raymaas.store import open_store, require_conditions

    store = open_store(settings.storage)
    # Here, so that a bad URL, bucket, credential or server is told before anything starts.
    require_conditions(store)
    ring = _read_as_the_controller(store)
    for what, host in (("edge", settings.host), ("controller", settings.control_host)):
        if ring is None and not ipaddress.ip_address(host).is_loopback:
            raise Refused(
                f"the {what} is to listen on {host}, where others can reach it, and {store.url} has no API keys;"
                f" create the first: raymaas keys create NAME --scope admin --storage '{store.url}'"
            )
    return UpOptions(
        run_dir=str(settings.run_dir),
        storage=store.url,
        host=settings.host,
        port=settings.port,
        control_host=settings.control_host,
        control_port=settings.control_port,
        dashboard_port=settings.dashboard_port,
        cpus=settings.cpus,
        cache_dir=str(settings.cache_dir),
        cache_bytes=settings.cache_bytes,
        retention=settings.retention,
        gc_every_hours=settings.gc_every_hours,
    )


def _read_as_the_controller(store: Store) -> KeyRing | None:
    """The ring of keys, once all that the controller reads in every round could be read.

    Raises Refused when it could not: nothing would be routed, and only the controller's log would say why.
    """
    from raymaas.registry.keys import Keys
    from raymaas.registry.states import States

    states = States(store)
    try:
        for model in states.models():
            states.current(model)
        return Keys(store).ring()
    except (IntegrityError, InvalidInput) as error:
        raise Refused(
            f"the store at {store.url} cannot be served by raymaas {__version__}: {error}. Start the raymaas that wrote"
            " it, or another store: raymaas up --storage URL"
        ) from error


def stop_cluster(settings: Settings, *, progress: Callable[[str], None]) -> ClusterPlan | None:
    """`down`; on a joined head our applications are taken out of it as well, when it still answers."""
    from raymaas.cluster.lifecycle import down

    def withdraw(plan: ClusterPlan) -> None:
        from raymaas.cluster.joining import withdraw

        try:
            withdraw(plan)
        except RaymaasError as error:
            typer.echo(f"the Ray head was not cleaned: {error}", err=True)

    return down(settings.run_dir, progress=progress, withdraw=withdraw)


def _require_plan(settings: Settings) -> ClusterPlan:
    from raymaas.cluster.lifecycle import read_plan

    plan = read_plan(settings.run_dir)
    if plan is None:
        raise NotFound(f"no cluster runs from {settings.run_dir}; `raymaas up` starts one")
    return plan

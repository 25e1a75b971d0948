"""`raymaas rollouts plan`: how versions of a model are rolled out, kept with the model or typed."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import yaml

from raymaas.cli.amounts import share_of, span_of
from raymaas.cli.show import AsJson, client_of, moment, print_json
from raymaas.client import Client
from raymaas.client.rollouts import read_plan
from raymaas.errors import InvalidInput, NotFound
from raymaas.specs.rollouts import RolloutPlan, RolloutPlanRevision

_USUAL: dict[str, Any] = {"steps": [1, 10, 50, 100], "every_s": 60}

app = typer.Typer(
    no_args_is_help=True,
    help="Rollout plans: how versions of a model are rolled out where nothing else is said.",
)

Model = Annotated[str, typer.Argument(metavar="MODEL")]
Why = Annotated[str, typer.Option(help="Kept with the plan.")]
Steps = Annotated[
    str | None,
    typer.Option(metavar="PERCENTS", help="Shares of the traffic it goes through; default 1,10,50,100."),
]
Every = Annotated[
    str | None, typer.Option(metavar="TIME", help="How long each step takes at least; default 60s.")
]
MaxErrorRate = Annotated[
    str | None, typer.Option(metavar="SHARE", help="Share of its requests that it may fail.")
]
MaxP99Ratio = Annotated[
    float | None,
    typer.Option(metavar="RATIO", help="Its 99th percentile of latency, beside the old version's."),
]
MaxDisagreement = Annotated[
    str | None,
    typer.Option(metavar="SHARE", help="Share of compared rows answered otherwise; copies are compared."),
]
MinRequests = Annotated[
    int | None, typer.Option(min=1, help="Requests of the new version each step needs; default 500.")
]
GiveUpAfter = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="It goes back when one step takes so long; default never."),
]


@app.command("set")
def set_plan(
    context: typer.Context,
    model: Model,
    steps: Steps = None,
    every: Every = None,
    max_error_rate: MaxErrorRate = None,
    max_p99_ratio: MaxP99Ratio = None,
    max_disagreement: MaxDisagreement = None,
    min_requests: MinRequests = None,
    give_up_after: GiveUpAfter = None,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Roll versions of a model out like this where nothing else is said.

    Example:

      raymaas rollouts plan set digits --steps 5,25,100 --every 10m --max-error-rate 0.5%
    """
    guards = guards_of(
        max_error_rate=max_error_rate, max_p99_ratio=max_p99_ratio, max_disagreement=max_disagreement
    )
    if not guards:
        raise InvalidInput(
            "say what versions have to keep to: --max-error-rate 0.5%, --max-p99-ratio 1.2 or --max-disagreement 5%"
        )
    given = fields_of(steps=steps, every=every, min_requests=min_requests, give_up_after=give_up_after)
    plan = read_plan(_USUAL | given | {"guards": guards})
    with client_of(context) as client:
        entry = client.rollouts.plan_set(model, plan, why=why)
    print_json(entry) if as_json else typer.echo(plan_text(entry))


@app.command("show")
def show_plan(context: typer.Context, model: Model, as_json: AsJson = False) -> None:
    """Show a model's plan, as a job file may have it below `rollout:`.

    Example:

      raymaas rollouts plan show digits
    """
    with client_of(context) as client:
        entry = client.rollouts.plan(model)
    print_json(entry) if as_json else typer.echo(plan_text(entry))


@app.command("remove")
def remove_plan(context: typer.Context, model: Model, why: Why = "", as_json: AsJson = False) -> None:
    """Have no plan any more: each rollout says what it has to keep to.

    Example:

      raymaas rollouts plan remove digits
    """
    with client_of(context) as client:
        entry = client.rollouts.plan_remove(model, why=why)
    print_json(entry) if as_json else typer.echo(f"{model} has no rollout plan any more")


def plan_text(entry: RolloutPlanRevision) -> str:
    """The plan as YAML, below a comment that says whose it is."""
    why = f": {entry.why}" if entry.why else ""
    fields = entry.plan.model_dump(mode="json", exclude_none=True) if entry.plan else {}
    text = yaml.safe_dump({"rollout": fields}, sort_keys=False, default_flow_style=None)
    return f"# {entry.model}, revision {entry.revision}, {moment(entry.at)}, by {entry.who}{why}\n{text}".rstrip()


def plan_to_use(client: Client, model: str, given: dict[str, Any], guards: dict[str, float]) -> RolloutPlan:
    """The model's own plan, or the usual one where it has none, changed by what was typed.

    Raises NotFound when neither says what the version has to keep to.
    """
    try:
        kept = client.rollouts.plan(model).plan
    except NotFound:
        if not guards:
            raise
        kept = None
    fields = kept.model_dump(mode="json") if kept else _USUAL
    return read_plan(fields | given | {"guards": fields.get("guards", {}) | guards})


def guards_of(
    *, max_error_rate: str | None, max_p99_ratio: float | None, max_disagreement: str | None
) -> dict[str, float]:
    """The guards in what was typed; none when nothing was. Raises InvalidInput naming the option."""
    shares = {"max_error_rate": max_error_rate, "max_disagreement": max_disagreement}
    guards = {
        name: share_of(text, option=f"--{name.replace('_', '-')}")
        for name, text in shares.items()
        if text is not None
    }
    return guards if max_p99_ratio is None else guards | {"max_p99_ratio": max_p99_ratio}


def fields_of(
    *, steps: str | None, every: str | None, min_requests: int | None, give_up_after: str | None
) -> dict[str, Any]:
    """The other fields of a plan that were typed. Raises InvalidInput naming the option."""
    fields: dict[str, Any] = {}
    if steps is not None:
        try:
            fields["steps"] = [int(step.strip().removesuffix("%")) for step in steps.split(",")]
        except ValueError:
            raise InvalidInput(f"--steps are whole percents such as 1,10,50,100, got {steps!r}") from None
    if every is not None:
        fields["every_s"] = span_of(every, option="--every").total_seconds()
    if min_requests is not None:
        fields["min_requests"] = min_requests
    if give_up_after is not None:
        fields["give_up_after_s"] = span_of(give_up_after, option="--give-up-after").total_seconds()
    return fields

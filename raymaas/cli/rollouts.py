"""`raymaas rollout` and `raymaas rollouts`: a new version takes over the traffic step by step, or gives it back."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import yaml

from raymaas.cli.amounts import share_of, span_of
from raymaas.cli.show import AsJson, client_of, moment, notes, output, print_json, print_table
from raymaas.client.rollouts import read_plan
from raymaas.errors import InvalidInput, RunFailed
from raymaas.specs.names import Reference
from raymaas.specs.rollouts import Finding, RolloutPlanRevision, RolloutState

_USUAL: dict[str, Any] = {"steps": [1, 10, 50, 100], "every_s": 60}

app = typer.Typer()
rollouts_app = typer.Typer(no_args_is_help=True, help="Rollouts: see how one stands, and move it by hand.")

plan_app = typer.Typer(
    no_args_is_help=True,
    help="Rollout plans: how versions of a model are rolled out where nothing else is said.",
)
rollouts_app.add_typer(plan_app, name="plan")

Model = Annotated[str, typer.Argument(metavar="MODEL")]
Why = Annotated[str, typer.Option(help="Kept in the rollout's log.")]
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


@app.command()
def rollout(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="A deployed version.")],
    steps: Steps = None,
    every: Every = None,
    max_error_rate: MaxErrorRate = None,
    max_p99_ratio: MaxP99Ratio = None,
    max_disagreement: MaxDisagreement = None,
    min_requests: MinRequests = None,
    give_up_after: GiveUpAfter = None,
    why: Why = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Show every decision until it ends.")] = True,
    as_json: AsJson = False,
) -> None:
    """Roll a version out: it takes over the traffic step by step, or gives it back by itself.

    It is held against the version that has the traffic now. At the first moment
    at which measurements prove that a bound is broken, the old version gets all
    traffic again. A version that keeps its bounds is rolled back with a chance
    of at most 5 %, however often that is looked at. With too little traffic it
    waits. Meanwhile the old version answers where the new one fails. It goes on
    without this command, which may be interrupted.

    Without a --max option the model's own plan says what it has to keep to (see
    `raymaas rollouts plan`); the other options then change that.

    With --wait the exit status is 0 when it was promoted, 1 when not.

    Examples:

      raymaas rollout digits@3 --steps 1,10,50,100 --every 60s --max-error-rate 0.5% --max-p99-ratio 1.2

      raymaas rollout digits@3 --every 5m
    """
    guards = guards_of(
        max_error_rate=max_error_rate, max_p99_ratio=max_p99_ratio, max_disagreement=max_disagreement
    )
    given = fields_of(steps=steps, every=every, min_requests=min_requests, give_up_after=give_up_after)
    model = Reference.parse(reference).model
    with client_of(context) as client:
        if guards:
            plan = read_plan(_USUAL | given | {"guards": guards})
        else:
            kept = client.rollouts.plan(model).plan
            assert kept is not None
            plan = read_plan(kept.model_dump(mode="json") | given)
        state = client.rollouts.begin(reference, plan, why=why)
        if not wait:
            if as_json:
                return print_json(state)
            notes().print(f"{state.decision.summary}; see `raymaas rollouts watch {model}`", markup=False)
            return None
        for state in client.rollouts.follow(model):
            if not as_json:
                _print_decision(state)
    if as_json:
        print_json(state)
    _require_promoted(state)
    return None


@rollouts_app.command()
def show(context: typer.Context, model: Model, as_json: AsJson = False) -> None:
    """How the rollout of a model stands, or how the last one ended, with its numbers.

    Example:

      raymaas rollouts show digits
    """
    with client_of(context) as client:
        state = client.rollouts.get(model)
    if as_json:
        return print_json(state)
    _print_decision(state)
    columns = ("guard", "bound", "seen", "interval", "of", "evidence")
    print_table(columns, [_row(found) for found in state.findings], empty="nothing is guarded")
    return None


@rollouts_app.command()
def watch(context: typer.Context, model: Model) -> None:
    """Show every decision until the rollout ends. Exit status 1 unless it was promoted.

    Example:

      raymaas rollouts watch digits
    """
    with client_of(context) as client:
        for state in client.rollouts.follow(model):
            _print_decision(state)
    _require_promoted(state)


@rollouts_app.command()
def history(
    context: typer.Context,
    model: Model,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many decisions.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Every decision of a model's rollouts, newest first.

    Example:

      raymaas rollouts history digits --limit 50
    """
    with client_of(context) as client:
        states = client.rollouts.history(model, limit=limit)
    if as_json:
        return print_json(states)
    rows = [
        (
            s.revision,
            moment(s.decision.at),
            s.new,
            s.phase,
            f"{s.percent} %",
            s.decision.who,
            s.decision.summary,
        )
        for s in states
    ]
    columns = ("#", "at", "version", "phase", "share", "who", "decided")
    print_table(columns, rows, empty=f"{model!r} was never rolled out")
    return None


@rollouts_app.command()
def pause(context: typer.Context, model: Model, why: Why = "", as_json: AsJson = False) -> None:
    """Stay at this step. It is still measured, and still rolled back by itself.

    Example:

      raymaas rollouts pause digits --why "the sale begins"
    """
    with client_of(context) as client:
        _print_moved(client.rollouts.pause(model, why=why), as_json=as_json)


@rollouts_app.command()
def resume(context: typer.Context, model: Model, why: Why = "", as_json: AsJson = False) -> None:
    """Go on with a paused rollout; the step's time begins anew.

    Example:

      raymaas rollouts resume digits
    """
    with client_of(context) as client:
        _print_moved(client.rollouts.resume(model, why=why), as_json=as_json)


@rollouts_app.command()
def abort(context: typer.Context, model: Model, why: Why = "", as_json: AsJson = False) -> None:
    """Give the old version all traffic again, and end the rollout.

    Example:

      raymaas rollouts abort digits
    """
    with client_of(context) as client:
        _print_moved(client.rollouts.abort(model, why=why), as_json=as_json)


@rollouts_app.command()
def promote(context: typer.Context, model: Model, why: Why = "", as_json: AsJson = False) -> None:
    """Give the new version all traffic now, whatever was seen, and point prod at it.

    Example:

      raymaas rollouts promote digits --why "checked by hand"
    """
    with client_of(context) as client:
        _print_moved(client.rollouts.promote(model, why=why), as_json=as_json)


@plan_app.command("set")
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


@plan_app.command("show")
def show_plan(context: typer.Context, model: Model, as_json: AsJson = False) -> None:
    """Show a model's plan, as a job file may have it below `rollout:`.

    Example:

      raymaas rollouts plan show digits
    """
    with client_of(context) as client:
        entry = client.rollouts.plan(model)
    print_json(entry) if as_json else typer.echo(plan_text(entry))


@plan_app.command("remove")
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


def _print_moved(state: RolloutState, *, as_json: bool) -> None:
    if as_json:
        print_json(state)
    else:
        _print_decision(state)


def _print_decision(state: RolloutState) -> None:
    line = f"{moment(state.decision.at)}  {state.model}@{state.new}  {state.decision.summary}"
    if state.decision.why:
        line += f" ({state.decision.why})"
    output().print(line, markup=False, highlight=False)


def _require_promoted(state: RolloutState) -> None:
    if state.phase != "promoted":
        raise RunFailed(
            f"{state.model}@{state.new} was not promoted: {state.decision.summary}; see `raymaas rollouts history"
            f" {state.model}`"
        )


def _row(found: Finding) -> tuple[str, ...]:
    return (
        found.guard,
        _amount(found, found.bound),
        _amount(found, found.estimate),
        f"{_amount(found, found.low)} to {_amount(found, found.high)}",
        f"{found.hits} of {found.trials}",
        f"{found.log_evidence:.1f} of {found.log_needed:.1f}",
    )


def _amount(found: Finding, value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:.2f}" if found.guard == "p99" else f"{value:.2%}"

"""`raymaas rollout` and `raymaas rollouts`: a new version takes over the traffic step by step, or gives it back."""

from __future__ import annotations

from typing import Annotated

import typer

from raymaas.cli import rollout_plans
from raymaas.cli.amounts import span_of
from raymaas.cli.rollout_plans import (
    Every,
    GiveUpAfter,
    MaxDisagreement,
    MaxErrorRate,
    MaxP99Ratio,
    MinRequests,
    Model,
    Steps,
    fields_of,
    guards_of,
    plan_to_use,
)
from raymaas.cli.show import AsJson, client_of, moment, notes, output, print_json, print_table
from raymaas.errors import RunFailed, Unavailable
from raymaas.specs.names import Reference
from raymaas.specs.rollouts import Finding, RolloutState

app = typer.Typer()
rollouts_app = typer.Typer(no_args_is_help=True, help="Rollouts: see how one stands, and move it by hand.")
rollouts_app.add_typer(rollout_plans.app, name="plan")

Why = Annotated[str, typer.Option(help="Kept in the rollout's log.")]
Away = Annotated[
    str, typer.Option(metavar="TIME", help="How long a control plane that does not answer is waited for.")
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
    away: Away = "10m",
    as_json: AsJson = False,
) -> None:
    """Roll a version out: it takes over the traffic step by step, or gives it back by itself.

    It is held against the version that has the traffic now. At the first moment
    at which measurements prove that a bound is broken, the old version gets all
    traffic again. A version that keeps its bounds is rolled back with a chance
    of at most 5 %, however often that is looked at. With too little traffic it
    waits. Meanwhile the old version answers where the new one fails. It goes on
    without this command, which may be interrupted.

    Where the model has a plan of its own (see `raymaas rollouts plan`), nothing else
    need be said, and each option changes one thing of it. Where it has none, give
    at least one --max option.

    With --wait the exit status is 0 when it was promoted, 1 when not.

    Examples:

      raymaas rollout digits@3 --steps 1,10,50,100 --every 60s --max-error-rate 0.5% --max-p99-ratio 1.2

      raymaas rollout digits@3 --every 5m
    """
    guards = guards_of(
        max_error_rate=max_error_rate, max_p99_ratio=max_p99_ratio, max_disagreement=max_disagreement
    )
    given = fields_of(steps=steps, every=every, min_requests=min_requests, give_up_after=give_up_after)
    away_s = span_of(away, option="--away").total_seconds()
    model = Reference.parse(reference).model
    with client_of(context) as client:
        plan = plan_to_use(client, model, given, guards)
        begun = state = client.rollouts.begin(reference, plan, why=why)
        if not wait:
            if as_json:
                return print_json(state)
            notes().print(f"{state.decision.summary}; see `raymaas rollouts watch {model}`", markup=False)
            return None
        if not as_json:
            _print_decision(state)
        for state in client.rollouts.follow(model, after=begun.revision, away_s=away_s, on_away=_say_away):
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
def watch(context: typer.Context, model: Model, away: Away = "10m") -> None:
    """Show every decision until the rollout ends. Exit status 1 unless it was promoted.

    Example:

      raymaas rollouts watch digits --away 2h
    """
    away_s = span_of(away, option="--away").total_seconds()
    with client_of(context) as client:
        for state in client.rollouts.follow(model, away_s=away_s, on_away=_say_away):
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


def _say_away(error: Unavailable) -> None:
    notes().print(
        f"{error}; the rollout is in the store and goes on when the control plane is back, which is waited for",
        markup=False,
        soft_wrap=True,
    )


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

"""`raymaas rollout` and `raymaas rollouts`: a new version takes over the traffic step by step, or gives it back."""

from __future__ import annotations

from typing import Annotated

import typer

from raymaas.cli.amounts import share_of, span_of
from raymaas.cli.show import AsJson, client_of, moment, notes, output, print_json, print_table
from raymaas.client.rollouts import read_plan
from raymaas.errors import InvalidInput, RunFailed
from raymaas.specs.names import Reference
from raymaas.specs.rollouts import Finding, RolloutPlan, RolloutState

app = typer.Typer()
rollouts_app = typer.Typer(no_args_is_help=True, help="Rollouts: see how one stands, and move it by hand.")

Model = Annotated[str, typer.Argument(metavar="MODEL")]
Why = Annotated[str, typer.Option(help="Kept in the rollout's log.")]


@app.command()
def rollout(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="A deployed version.")],
    steps: Annotated[
        str, typer.Option(metavar="PERCENTS", help="Shares of the traffic it goes through.")
    ] = "1,10,50,100",
    every: Annotated[str, typer.Option(metavar="TIME", help="How long each step takes at least.")] = "60s",
    max_error_rate: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Share of its requests that it may fail.")
    ] = None,
    max_p99_ratio: Annotated[
        float | None,
        typer.Option(metavar="RATIO", help="Its 99th percentile of latency, beside the old version's."),
    ] = None,
    max_disagreement: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Share of compared rows answered otherwise; compared are copies: see traffic --shadow.",
        ),
    ] = None,
    min_requests: Annotated[
        int | None, typer.Option(min=1, help="Requests of the new version each step needs; default 500.")
    ] = None,
    why: Why = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Show every decision until it ends.")] = True,
    as_json: AsJson = False,
) -> None:
    """Roll a version out: it takes over the traffic step by step, or gives it back by itself.

    It is held against the version that has the traffic now. At the first moment
    at which measurements prove that a bound is broken, the old version gets all
    traffic again. A version that keeps its bounds is rolled back with a chance
    of at most 5 %, however often that is looked at. With too little traffic it
    waits. It goes on without this command, which may be interrupted.

    With --wait the exit status is 0 when it was promoted, 1 when not.

    Example:

      raymaas rollout digits@3 --steps 1,10,50,100 --every 60s --max-error-rate 0.5% --max-p99-ratio 1.2
    """
    plan = plan_of(
        steps=steps,
        every=every,
        max_error_rate=max_error_rate,
        max_p99_ratio=max_p99_ratio,
        max_disagreement=max_disagreement,
        min_requests=min_requests,
    )
    model = Reference.parse(reference).model
    with client_of(context) as client:
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


def plan_of(
    *,
    steps: str,
    every: str,
    max_error_rate: str | None,
    max_p99_ratio: float | None,
    max_disagreement: str | None,
    min_requests: int | None,
) -> RolloutPlan:
    """The plan in what was typed. Raises InvalidInput naming the option."""
    try:
        percents = [int(step.strip().removesuffix("%")) for step in steps.split(",")]
    except ValueError:
        raise InvalidInput(f"--steps are whole percents such as 1,10,50,100, got {steps!r}") from None
    shares = {"max_error_rate": max_error_rate, "max_disagreement": max_disagreement}
    guards: dict[str, float | None] = {
        name: None if text is None else share_of(text, option=f"--{name.replace('_', '-')}")
        for name, text in shares.items()
    }
    if not any(shares.values()) and max_p99_ratio is None:
        raise InvalidInput(
            "say what the version has to keep to: --max-error-rate 0.5%, --max-p99-ratio 1.2 or --max-disagreement 5%"
        )
    given = {
        "steps": percents,
        "every_s": span_of(every, option="--every").total_seconds(),
        "guards": guards | {"max_p99_ratio": max_p99_ratio},
    }
    return read_plan(given if min_requests is None else given | {"min_requests": min_requests})


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

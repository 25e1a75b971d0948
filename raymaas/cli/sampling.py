"""`raymaas sampling`: of which requests answers and feedback are kept, for how long, and with what hidden."""

from __future__ import annotations

from typing import Annotated

import typer

from raymaas.cli.amounts import share_of
from raymaas.cli.show import AsJson, client_of, moment, print_json
from raymaas.client.feedback import read_rule
from raymaas.errors import InvalidInput
from raymaas.specs.sampling import SamplingRevision

app = typer.Typer(
    no_args_is_help=True,
    help="Sampling: of which requests answers and feedback are kept, for how long, and with what hidden.",
)

Model = Annotated[str, typer.Argument(metavar="MODEL")]
Why = Annotated[str, typer.Option(help="Kept with the rule.")]


@app.command()
def show(context: typer.Context, model: Model, as_json: AsJson = False) -> None:
    """Show the rule in force.

    Example:

      raymaas sampling show digits
    """
    with client_of(context) as client:
        found = client.sampling.get(model)
    print_json(found) if as_json else typer.echo(in_words(found))


@app.command("set")
def set_rule(
    context: typer.Context,
    model: Model,
    rate: Annotated[str, typer.Option(metavar="SHARE", help="Of the requests, such as 10% or 1.")],
    keep_days: Annotated[int, typer.Option(min=1, max=36500, help="Days that they are kept.")] = 30,
    mask: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=MASK", help="What is hidden before anything is written; see above."),
    ] = None,
    others: Annotated[
        str, typer.Option(metavar="keep|drop", help="What is done to inputs and outputs without a mask.")
    ] = "keep",
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Keep some requests' inputs, answers and feedback from now on, as Parquet.

    Nothing is kept until this is said. Fields are in.NAME for an input, out.NAME
    for an output, label of feedback, and request_id. A mask is

      drop      it is not kept

      hash      a keyed SHA-256 is kept in its place; equal values stay equal

      round:N   of numbers, N digits behind the point; round:-1 keeps tens

    Running replicas follow within ten seconds. `raymaas gc` deletes what is older
    than --keep-days, and a cluster that is up does so by itself. Rows that a run
    learned from (`raymaas train --data feedback:MODEL`) are a data set from then on,
    and stay with the versions made from it.

    Example:

      raymaas sampling set churn --rate 10% --mask in.email=hash --mask in.age=round:-1
    """
    rule = read_rule(
        {
            "rate": share_of(rate, option="--rate"),
            "keep_days": keep_days,
            "masks": dict(_field_and_mask(text) for text in mask or ()),
            "others": others,
        }
    )
    with client_of(context) as client:
        found = client.sampling.set(model, rule, why=why)
    print_json(found) if as_json else typer.echo(in_words(found))


@app.command()
def remove(context: typer.Context, model: Model, why: Why = "", as_json: AsJson = False) -> None:
    """Keep nothing more. What was kept stays for the days of the last rule.

    Example:

      raymaas sampling remove digits --why "the test is over"
    """
    with client_of(context) as client:
        found = client.sampling.remove(model, why=why)
    print_json(found) if as_json else typer.echo(in_words(found))


def in_words(found: SamplingRevision) -> str:
    """The rule in a sentence."""
    said = f"since {moment(found.at)}, by {found.who}" + (f": {found.why}" if found.why else "")
    if found.rule is None:
        return f"{found.model}: nothing is kept any more; what was kept stays for {found.keep_days} days ({said})"
    masks = [f"{field}={mask}" for field, mask in sorted(found.rule.masks.items())]
    if found.rule.others == "drop":
        masks.append("all other inputs and outputs dropped")
    hidden = ", ".join(masks) or "nothing hidden"
    return f"{found.model}: {found.rule.rate:.4g} of the requests for {found.rule.keep_days} days; {hidden} ({said})"


def _field_and_mask(text: str) -> tuple[str, str]:
    field, equals, mask = text.partition("=")
    if not equals:
        raise InvalidInput(f"--mask is FIELD=MASK, such as in.email=hash, got {text!r}")
    return field, mask

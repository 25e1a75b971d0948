"""`raymaas models policy`: what an alias asks of a version before it may point at it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from raymaas.cli.show import AsJson, client_of, moment, notes, print_json
from raymaas.client.policyfile import read_policy
from raymaas.specs.policies import PolicyRevision

app = typer.Typer(
    no_args_is_help=True,
    help="Policies: what an alias asks of a version before it may point at it. Rollbacks are not judged.",
)

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL")]
AliasArgument = Annotated[str, typer.Argument(metavar="ALIAS", help="Such as prod.")]
Why = Annotated[str, typer.Option(help="Kept with the policy.")]


@app.command()
def show(
    context: typer.Context,
    model: ModelArgument,
    alias: Annotated[str, typer.Argument(metavar="[ALIAS]", help="Default: every alias that has one.")] = "",
    revision: Annotated[
        int | None, typer.Option(min=1, help="As of then; `raymaas models history` names it with each move.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a policy as the YAML that `set` takes.

    Example:

      raymaas models policy show digits prod > policy.yaml
    """
    if revision is not None and not alias:
        raise typer.BadParameter("a revision is of one alias; name it", param_hint="--revision")
    with client_of(context) as client:
        found = (
            [client.models.policy(model, alias, revision=revision)]
            if alias
            else client.models.policies(model)
        )
    if as_json:
        return print_json(found[0] if alias else found)
    if not found:
        notes().print(f"no alias of {model} has a policy", markup=False)
    for entry in found:
        typer.echo(policy_text(entry), nl=False)
    return None


@app.command("set")
def set_policy(
    context: typer.Context,
    model: ModelArgument,
    alias: AliasArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML.")],
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Ask this of every version that the alias is pointed at from now on. Where it points now stays.

    A file may have these fields, and must have one that asks for something:

      card: \\[licence, intended_use, data_sources, limits]

      licences: \\[CC-BY-4.0, MIT]

      metrics: {accuracy: {at_least: 0.95}, log_loss: {at_most: 0.2}}

      judge: interval

      not_worse: {metric: accuracy, by: 0.02, confidence: 0.95}

    `card` names fields that must be given.

    `licences` may hold `other`, for any reasoned other.

    `judge` says what of a metric must pass: interval its worse end, or value.

    `not_worse` compares with the version that the alias points at, on the same
    rows: the difference's interval must not reach below -by.

    Example:

      raymaas models policy set digits prod policy.yaml --why "release rules"
    """
    policy = read_policy(file)
    with client_of(context) as client:
        entry = client.models.policy_set(model, alias, policy, why=why)
    print_json(entry) if as_json else typer.echo(f"{model}@{alias} has policy revision {entry.revision}")


@app.command()
def remove(
    context: typer.Context, model: ModelArgument, alias: AliasArgument, why: Why = "", as_json: AsJson = False
) -> None:
    """Ask nothing of what the alias points at any more. Earlier revisions stay to be read.

    Example:

      raymaas models policy remove digits prod --why "moved to another model"
    """
    with client_of(context) as client:
        entry = client.models.policy_remove(model, alias, why=why)
    print_json(entry) if as_json else typer.echo(f"{model}@{alias} has no policy any more")


def policy_text(entry: PolicyRevision) -> str:
    """The policy as YAML, below a comment that says whose it is."""
    why = f": {entry.why}" if entry.why else ""
    said = (
        f"# {entry.model}@{entry.alias}, revision {entry.revision}, {moment(entry.at)}, by {entry.who}{why}\n"
    )
    if entry.policy is None:
        return said + "# removed: nothing is asked\n"
    fields = entry.policy.model_dump(mode="json", exclude_defaults=True)
    return said + yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, default_flow_style=None)

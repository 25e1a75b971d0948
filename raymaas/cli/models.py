"""`raymaas models`: what is registered, what is wanted running, and who moved it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from raymaas.cli import policies
from raymaas.cli.drift import in_words
from raymaas.cli.evaluate import Data, Part, component_of
from raymaas.cli.findings import print_comparison
from raymaas.cli.show import AsJson, aliases, client_of, moment, notes, print_json, print_table, weights
from raymaas.client import Client
from raymaas.client.flow import LogText, RunEvent
from raymaas.errors import InvalidInput
from raymaas.specs.accounting import BATCH
from raymaas.specs.api import HistoryEntry
from raymaas.specs.cards import licence_text
from raymaas.specs.drift import REFERENCE_FILE
from raymaas.specs.evaluating import Where
from raymaas.specs.names import Reference
from raymaas.specs.versions import ModelVersion, TensorSpec

app = typer.Typer(
    no_args_is_help=True, help="Models: list them, show one or a version of it, read its history."
)

app.add_typer(policies.app, name="policy")


@app.command("list")
def list_models(context: typer.Context, as_json: AsJson = False) -> None:
    """List models with their newest version, aliases and traffic.

    Example:

      raymaas models list
    """
    with client_of(context) as client:
        found = client.models.list()
    if as_json:
        return print_json(found)
    rows = [(m.model, m.newest, aliases(m.aliases), weights(m.traffic)) for m in found]
    print_table(
        ("model", "newest", "aliases", "traffic"), rows, empty="there is no model yet; train one first"
    )
    return None


@app.command()
def show(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(metavar="MODEL[@VERSION]", help="A model, or a version of it.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many versions, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show a model's versions and how they run, or one version with its evaluation and lineage.

    Example:

      raymaas models show digits

      raymaas models show digits@prod
    """
    target = Reference.parse(reference)
    with client_of(context) as client:
        if target.version is None and target.alias is None:
            return _show_model(client, target.model, limit=limit, as_json=as_json)
        version = client.models.version(reference)
        if as_json:
            return print_json(version)
        told = REFERENCE_FILE in version.files
        drift = client.models.drift(f"{version.model}@{version.version}") if told else None
    return _show_version(version, drift=f"{in_words(drift)}, in the last day" if drift else "")


@app.command()
def card(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="A version, or an alias of one.")],
) -> None:
    """Print a version's model card as Markdown: licence, use, limits, data, figures, lineage, files.

    Example:

      raymaas models card digits@2 > card.md
    """
    with client_of(context) as client:
        typer.echo(client.models.card(reference), nl=False)


@app.command()
def compare(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="The version held against.")],
    second: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="The one that may be better.")],
    data: Data = None,
    part: Part = None,
    as_json: AsJson = False,
) -> None:
    """Say whether the second version is better than the first, on the same rows.

    When both were evaluated on the same rows as they were published, that is enough. Else, and with --data, a run
    asks both again about rows that neither was trained on; its log goes to stderr.

    Examples:

      raymaas models compare digits@2 digits@3

      raymaas models compare digits@prod digits@3 --data digits_of_may
    """
    fields = {"data": None if data is None else component_of(data), "part": part}
    where = Where.parse(fields, source="compare")
    console = notes()

    def show(event: RunEvent) -> None:
        if isinstance(event, LogText):
            console.print(Text(event.text.rstrip("\n")), soft_wrap=True)

    with client_of(context) as client:
        found = client.models.compare(first, second, where=where, on_event=show)
    print_json(found) if as_json else print_comparison(found)


@app.command()
def history(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    before: Annotated[
        int | None, typer.Option(min=1, metavar="REVISION", help="Only what is older than this revision.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show who moved what, when and why, from what to what, newest first.

    Example:

      raymaas models history digits
    """
    if "@" in model:
        raise InvalidInput(
            f"history is kept by model, not by version: raymaas models history {model.split('@')[0]}"
        )
    with client_of(context) as client:
        changes = client.models.history(model, limit=limit, before=before)
    if as_json:
        return print_json(changes)
    rows = [(c.revision, moment(c.at), c.who, c.action, _moved(c), c.why) for c in changes]
    nothing = f"nothing of {model} was moved {'yet' if before is None else f'before revision {before}'}"
    print_table(("revision", "when", "who", "action", "from -> to", "why"), rows, empty=nothing)
    return None


@app.command()
def delete(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(metavar="MODEL@VERSION")],
    why: Annotated[str, typer.Option(help="The reason, kept in the model's history.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a version for good. It must not be deployed, and no alias may point at it.

    Its number is never given again, and its manifest and lineage stay readable. `raymaas gc` removes its files
    a day later, unless another version has the same ones.

    Example:

      raymaas models delete digits@3 --why "trained on wrong labels"
    """
    if not yes:
        typer.confirm(f"Delete {reference} for good?", abort=True)
    with client_of(context) as client:
        state = client.delete(reference, why=why)
    typer.echo(f"deleted {reference} ({state.change.summary})")


def _moved(change: HistoryEntry) -> str:
    return f"{change.summary} (policy {change.policy})" if change.policy else change.summary


def _show_model(client: Client, model: str, *, limit: int, as_json: bool) -> None:
    summary = client.models.get(model)
    versions = client.models.versions(model, limit=limit).versions
    deployments = {d.version: d for d in client.deployments(model)}
    if as_json:
        return print_json(
            summary.model_dump(mode="json")
            | {
                "versions": [version.model_dump(mode="json") for version in versions],
                "deployments": [deployment.model_dump(mode="json") for deployment in deployments.values()],
            }
        )
    if summary.aliases:
        typer.echo(f"aliases: {aliases(summary.aliases)}")
    if summary.sticky:
        typer.echo(f"sticky: {summary.sticky}")
    if summary.shadow:
        shadow = summary.shadow
        typer.echo(
            f"shadow: {model}@{shadow.version} gets copies of {100 * shadow.sample:g} % of the requests"
        )
    rows = []
    for version in versions:
        deployed = deployments.get(version.version)
        status = f"{deployed.status} {deployed.message}".strip() if deployed else ""
        weight = f"{deployed.weight} %" if deployed else ""
        name, figure = version.evaluation.leading()
        score = f"{name} {figure.value:.4f}"
        rows.append((version.version, version.architecture.use, score, status, weight, version.run_id))
    columns = ("version", "architecture", "evaluation", "deployment", "traffic", "run")
    print_table(columns, rows, empty=f"{model} has no versions")
    return None


def _show_version(version: ModelVersion, *, drift: str) -> None:
    lineage, evaluation = version.lineage, version.evaluation
    facts = (
        ("version", f"{version.model}@{version.version}"),
        ("created", moment(version.created_at)),
        ("architecture", version.architecture.use),
        ("inputs", _tensors(version.signature.inputs)),
        ("outputs", _tensors(version.signature.outputs)),
        (
            "evaluation",
            f"{_figures(version)} on {evaluation.rows} {evaluation.part} rows, by {evaluation.runtime}",
        ),
        ("runtimes", " ".join(version.runtimes)),
        ("speed", _speed(version)),
        ("weights", f"{version.weights_bytes} bytes"),
        ("drift", drift),
        ("run", version.run_id),
        ("data", f"{lineage.dataset} {lineage.data_fingerprint}"),
        (
            "code",
            f"raymaas {lineage.code.raymaas} {lineage.code.source_sha256[:12]} {lineage.code.commit or ''}",
        ),
        ("licence", licence_text(version.card.licence) if version.card and version.card.licence else ""),
        ("notes", "; ".join(version.notes)),
        ("description", version.description),
    )
    for name, value in facts:
        if value:
            typer.echo(f"{name:<13} {value}".rstrip())


def _speed(version: ModelVersion) -> str:
    """Of a compressed version where it was made, beside the one trained at full precision."""
    compression = version.lineage.compression
    accounting = compression.accounting if compression else None
    if accounting is None or not accounting.runtimes:
        return ""
    fastest = accounting.runtimes[0]
    beside = [
        f"{times:.1f} times the original in {over}"
        for over in ("onnx", "torch")
        if (times := accounting.speedup(fastest.runtime, over=over))
    ]
    rate = f"{fastest.runtime} {fastest.rows_per_s:,.0f} rows/s in batches of {BATCH}"
    flags = [f"{found.after}: {found.flag}" for found in accounting.passes if found.flag]
    return "; ".join([", ".join([rate, *beside]), *flags])


def _figures(version: ModelVersion) -> str:
    metrics = sorted(version.evaluation.metrics.items())
    return ", ".join(f"{name} {metric.value:.4f}" for name, metric in metrics)


def _tensors(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{s.name} {s.dtype} {list(s.shape)}" for s in specs)

"""Lineage trees: what is known of a version, or of a data set, as a tree a reader can follow down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest

from rich.text import Text
from rich.tree import Tree

from raymaas.cli.loglines import brief
from raymaas.cli.show import moment, state_detail
from raymaas.specs.evaluation import Metric
from raymaas.specs.jobs import Component
from raymaas.specs.lineage import DataOrigin, DataTrace, Descendant, Generation, Standing, VersionTrace
from raymaas.specs.requests import RequestRecord
from raymaas.specs.runs import RunState, Succeeded
from raymaas.specs.search import Trial
from raymaas.specs.serving import Change, Deletion
from raymaas.specs.versions import CodeVersion

_DIGITS = 12
_LIBRARIES_SHOWN = ("torch", "ray", "onnxruntime")


def version_tree(trace: VersionTrace) -> Tree:
    """From the data down to the version: run, version, run, version; then where it was wanted, and its children."""
    root = Tree(_data(trace.line[0].data))
    at, data = root, trace.line[0].data
    for generation in trace.line:
        at = at.add(_run(generation))
        for line in _made_by(generation, data):
            at.add(line)
        at = at.add(_version(generation))
        if generation.deletion:
            at.add(_deleted(generation.deletion))
        data = generation.data
    wanted = at.add(Text("wanted" if trace.standings else "never deployed, and no alias ever pointed at it"))
    for standing, following in zip_longest(trace.standings, trace.standings[1:]):
        wanted.add(_standing(standing, following))
    if trace.children:
        children = at.add(Text("made from it"))
        for child in trace.children:
            children.add(_descendant(child))
    if trace.request:
        asked = at.add(_request(trace.request))
        if trace.learned:
            learned = asked.add(Text("learned from it"))
            for version in trace.learned:
                learned.add(_descendant(version))
    return root


def data_tree(trace: DataTrace) -> Tree:
    """The data set, below it its versions, below each those made from it. A parent of another page is only named."""
    if len(trace.datasets) == 1:
        root = Tree(_data(trace.datasets[0]))
    else:
        root = Tree(Text.assemble(("data ", "dim"), trace.fingerprint[:_DIGITS]))
        for origin in trace.datasets:
            root.add(_data(origin))
    # By number, since a parent always has the lower one.
    nodes: dict[tuple[str, int], Tree] = {}
    for made in sorted(trace.versions, key=lambda version: (version.model, version.version)):
        parent = nodes.get((made.model, made.parent)) if made.parent else None
        of = "" if parent or not made.parent else f"  from {made.model}@{made.parent}"
        nodes[made.model, made.version] = (parent or root).add(_descendant(made).append(of))
    return root


def _data(origin: DataOrigin) -> Text:
    text = Text.assemble(("data ", "dim"), (origin.dataset, "bold"), f"  {origin.fingerprint[:_DIGITS]}")
    card = origin.card
    if card is None:
        return text.append("  not in this store", style="dim")
    values = f"{len(card.columns)} columns" if card.columns else f"{card.features} values"
    learned = f"{len(card.classes)} classes" if card.classes else f"target {card.target}"
    text.append(f"  {card.rows} rows of {values}, {learned}")
    if made := card.feedback:
        versions = ", ".join(f"{made.model}@{version}" for version in made.versions)
        text.append(
            f"  from feedback on {made.requests} requests that {versions} answered, {moment(made.first)} to"
            f" {moment(made.last)}"
        )
    return text


def _run(generation: Generation) -> Text:
    lineage, run = generation.manifest.lineage, generation.run
    text = Text.assemble(("run ", "dim"), lineage.run_id)
    if run is None:
        text.append("  not recorded in this store", style="dim")
    else:
        text.append(f"  {run.kind} by {run.who}, {moment(run.created_at)}, {_ended(run.status)}")
    if lineage.imported:
        text.append(f"  imported from {lineage.imported.origin}")
    return text


def _ended(status: RunState) -> str:
    if isinstance(status, Succeeded):
        return f"took {status.seconds:.1f} s"
    return f"{status.state} {state_detail(status)}".rstrip()


def _made_by(generation: Generation, data_above: DataOrigin) -> Iterable[Text]:
    """How the run made the version, a line for each thing."""
    lineage = generation.manifest.lineage
    if generation.data != data_above:
        yield _data(generation.data)
    yield Text.assemble(
        ("job ", "dim"),
        lineage.job_sha256[:_DIGITS],
        ("  seed ", "dim"),
        str(lineage.seed),
        *_code(lineage.code),
    )
    libraries = [
        f"{name} {lineage.libraries[name]}" for name in _LIBRARIES_SHOWN if name in lineage.libraries
    ]
    if libraries:
        yield Text.assemble(("libraries ", "dim"), ", ".join(libraries))
    if lineage.compression:
        yield Text.assemble(("recipe ", "dim"), _recipe(lineage.compression.recipe))
        yield _trial(lineage.compression.trial, generation.trial)


def _code(code: CodeVersion) -> list[str | tuple[str, str]]:
    commit = f" commit {code.commit[:_DIGITS]}" if code.commit else ""
    return [("  code ", "dim"), f"raymaas {code.raymaas} {code.source_sha256[:_DIGITS]}{commit}"]


def _recipe(recipe: Iterable[Component]) -> str:
    steps = (
        " ".join([step.use, *(f"{field}={brief(value)}" for field, value in step.config.items())])
        for step in recipe
    )
    return " -> ".join(steps)


def _trial(name: str, trial: Trial | None) -> Text:
    text = Text.assemble(("trial ", "dim"), name)
    if trial is None:
        return text.append("  not recorded in this store", style="dim")
    return text.append(
        "  " + ", ".join(f"{metric} {brief(value)}" for metric, value in sorted(trial.metrics.items()))
    )


def _version(generation: Generation) -> Text:
    made = generation.manifest
    text = Text(f"{made.model}@{made.version}", style="bold green")
    text.append(f"  {moment(made.created_at)}  {made.architecture.use}, ", style="default not bold")
    text.append(
        f"{_metrics(made.evaluation.metrics)}, {made.weights_bytes:,} bytes", style="default not bold"
    )
    return text


def _descendant(made: Descendant) -> Text:
    text = Text.assemble((f"{made.model}@{made.version}", "green"), f"  {moment(made.created_at)}  ")
    how = _recipe(made.recipe) if made.recipe else made.architecture
    text.append(f"{how}, {_metrics(made.metrics)}, {made.weights_bytes:,} bytes, run {made.run_id}")
    return text.append("  deleted", style="red") if made.deletion else text


def _standing(standing: Standing, following: Standing | None) -> Text:
    since, until = standing.since, standing.until
    named = "".join(f", {alias}" for alias in standing.aliases)
    how = f"weight {standing.weight} %" if standing.scaling else "not deployed"
    text = Text(
        f"{moment(since.at)} to {moment(until.at) if until else 'now'}", style="" if until else "bold"
    )
    text.append(f"  {how}{named}", style="not bold")
    text.append(f"  {_move(since)}", style="dim not bold")
    if until and (following is None or following.since != until):
        text.append(f"; ended: {_move(until)}", style="dim not bold")
    return text


def _move(change: Change) -> str:
    return f"{change.action} by {change.who}" + (f": {change.why}" if change.why else "")


def _deleted(deletion: Deletion) -> Text:
    why = f": {deletion.why}" if deletion.why else ""
    return Text(f"deleted {moment(deletion.at)} by {deletion.who}{why}", style="red")


def _request(request: RequestRecord) -> Text:
    rows = "" if request.rows is None else f", {request.rows} row{'' if request.rows == 1 else 's'}"
    return Text.assemble(
        ("request ", "dim"),
        (request.request_id, "bold"),
        f"  {moment(request.at)}  status {request.status}{rows}, {request.milliseconds:.1f} ms,"
        f" by replica {request.replica}{', a copy that was answered to nobody' if request.shadow else ''}",
    )


def _metrics(metrics: Mapping[str, Metric]) -> str:
    return ", ".join(
        f"{name} {metric.value:.4f} ({metric.low:.4f} to {metric.high:.4f})"
        for name, metric in sorted(metrics.items())
    )

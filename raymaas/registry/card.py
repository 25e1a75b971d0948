"""The model card of a version as a Markdown page. Pure: everything on it is in the manifest.

What its maker said is quoted as plain text, so that no text can become a heading, a table cell or markup of the
page; what nobody said is shown as not stated. M. Mitchell et al., Model Cards for Model Reporting (2019).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from raymaas.specs.accounting import BATCH, Accounting, PassFinding, RuntimeFinding
from raymaas.specs.base import utc_text
from raymaas.specs.cards import Card, Licence
from raymaas.specs.evaluation import Metric
from raymaas.specs.jobs import Component
from raymaas.specs.runtimes import RuntimeName
from raymaas.specs.selecting import Selection
from raymaas.specs.versions import CompressionLineage, ModelVersion, TensorSpec

# Not within words: an address must stay one.
_MARKUP = re.compile(r"([\\`*\[\]<>|]|(?<!\w)_|_(?!\w)|~(?=~)|&(?=#?\w+;))")
_OPENING = re.compile(r"^([0-9]+(?=[.)](?:\s|$)))?([.)#+=-])")
_NOT_STATED = "*Not stated.*"


def render(version: ModelVersion) -> str:
    """The page, ending in a newline."""
    card = version.card or Card()
    parts = [
        [f"# {version.model}@{version.version}"],
        [_plain(version.description)] if version.description else [],
        _facts(version, card),
        ["## Intended use", "", _plain(card.intended_use) or _NOT_STATED],
        ["## Limits", "", *_list(card.limits)],
        _data(version, card),
        _evaluation(version),
        _compression(version),
        _signature(version),
        _lineage(version),
        _files(version),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _facts(version: ModelVersion, card: Card) -> list[str]:
    outputs = f"; tells {len(version.signature.classes)} classes apart" if version.signature.classes else ""
    facts = [
        ("Licence", _licence(card.licence)),
        ("Architecture", _component(version.architecture) + outputs),
        ("Weights", f"{_code(version.weights_file)}, {version.weights_bytes:,} bytes"),
        ("Runs in", ", ".join(version.runtimes)),
        ("Registered", f"{utc_text(version.created_at)[:16].replace('T', ' ')} UTC"),
        *(("Note", _plain(note)) for note in version.notes),
    ]
    return _table(("", ""), [(f"**{name}**", value) for name, value in facts])


def _data(version: ModelVersion, card: Card) -> list[str]:
    lineage = version.lineage
    prepared = (
        f"Prepared as data set {_code(lineage.dataset)}, fingerprint {_code(lineage.data_fingerprint)}."
    )
    return ["## Data", "", *_list(card.data_sources), "", prepared]


def _evaluation(version: ModelVersion) -> list[str]:
    evaluation, compression = version.evaluation, version.lineage.compression
    where = (
        f"On the {evaluation.rows:,} {evaluation.part} rows of {_code(evaluation.dataset)}, answered by the"
        f" {evaluation.runtime} runtime. Fingerprint of data and split: {_code(evaluation.fingerprint)}."
    )
    columns = ["metric", "value", "interval"]
    theirs = compression.parent_evaluation.metrics if compression else {}
    if theirs:
        columns.append(f"{version.model}@{version.lineage.parent}, the same rows")
    rows = []
    for name, metric in sorted(evaluation.metrics.items()):
        row = [_plain(name), f"{metric.value:.4f}", _interval(metric)]
        if theirs:
            row.append(f"{theirs[name].value:.4f}, {_interval(theirs[name])}" if name in theirs else "")
        rows.append(row)
    beside = [
        f"- {_plain(name)}: {', '.join(f'{_plain(metric)} {value:.4f}' for metric, value in sorted(figures.items()))}"
        for name, figures in sorted(evaluation.baselines.items())
    ]
    told = ["", "On the same rows:", "", *beside] if beside else []
    return ["## Evaluation", "", where, "", *_table(columns, rows), *told]


def _compression(version: ModelVersion) -> list[str]:
    compression = version.lineage.compression
    if compression is None:
        return []
    ratio = compression.original_bytes / version.weights_bytes
    made = (
        f"Made from {version.model}@{version.lineage.parent} by trial {_code(compression.trial)}. Its weights take"
        f" {version.weights_bytes:,} bytes where those of {version.model}@{compression.original}, trained at full"
        f" precision, take {compression.original_bytes:,}: 1/{ratio:.1f}."
    )
    return [
        "## Compression",
        "",
        made,
        "",
        *_recipe(compression),
        *_selection(compression.selection),
        *_accounting(compression.accounting),
    ]


def _selection(selection: Selection | None) -> list[str]:
    if selection is None:
        return []
    chosen = (
        f"Chosen as {' and '.join(selection.rules)} of {selection.trials} recipes, {selection.candidates} of them tried"
        f" in every runtime, by {_plain(selection.metric)} on {selection.rows:,} {_plain(selection.part)} rows:"
        f" {selection.value:.4f}, where the parent has {selection.parent_value:.4f} and {selection.max_loss:g} could be"
        " lost. Test rows took no part; this version met them once, after it was chosen."
    )
    return ["", chosen]


def _accounting(accounting: Accounting | None) -> list[str]:
    if accounting is None:
        return []
    rows = [[_code(part), f"{size:,}"] for part, size in accounting.parts.items()]
    rows.append(["all of it", f"{accounting.total_bytes:,}"])
    compared = (
        f"The same levels take {accounting.entropy_bytes:,.0f} bytes by their entropy, {accounting.zlib_bytes:,} by"
        f" zlib and {accounting.lzma_bytes:,} by lzma. {accounting.nonzeros:,} of {accounting.parameters:,} numbers"
        f" are not zero; a row takes {accounting.macs:,} multiplications, zeros counted as well."
    )
    return [
        "",
        *_table(["part", "bytes"], rows),
        "",
        compared,
        *_runtimes(accounting),
        *_passes(accounting.passes),
    ]


def _runtimes(accounting: Accounting) -> list[str]:
    """What it was found to be in each runtime, and how the original was in the same moments."""
    if not accounting.runtimes:
        return []
    columns = (
        *(
            "runtime",
            "on validation rows",
            "ms for a row",
            "99 of 100 below",
            f"rows/s in batches of {BATCH}",
        ),
        *("beside the original there", "and in torch", "memory, MiB", "served"),
    )
    rows = [
        _runtime(accounting, finding, served="yes" if finding.passed else _plain(finding.reason))
        for finding in accounting.runtimes
    ]
    rows += [_runtime(None, finding, served="the original") for finding in accounting.original_runtimes]
    told = ["", "Where it was made, with one thread:", "", *_table(columns, rows)]
    if (found := accounting.calibration) is not None:
        told += [
            "",
            f"{found.rows:,} training rows decided the ranges of 8-bit activations ({found.method}).",
        ]
    return told


def _runtime(accounting: Accounting | None, finding: RuntimeFinding, *, served: str) -> list[str]:
    one, name = finding.latency(1), finding.runtime
    engine: RuntimeName = "torch" if name.startswith("torch") else "onnx"
    beside = (
        [accounting.speedup(name, over=over) for over in (engine, "torch")] if accounting else [None, None]
    )
    memory = finding.resident_bytes
    return [
        _code(name),
        "" if finding.value is None else f"{finding.value:.4f}",
        *((f"{one.p50_ms:.3f}", f"{one.p99_ms:.3f}") if one else ("", "")),
        f"{finding.rows_per_s:,.0f}" if finding.rows_per_s else "",
        *("" if times is None else f"{times:.2f} times" for times in beside),
        "" if memory is None else f"{memory / 2**20:.0f}",
        served,
    ]


def _passes(passes: Sequence[PassFinding]) -> list[str]:
    """What each pass brought in the runtime that serves."""
    if not passes:
        return []
    rows = [
        [
            _code(found.after),
            f"{found.bytes:,}",
            f"{found.macs:,}",
            f"{found.latency.rows_per_s:,.0f}" if found.latency else "",
            _plain(found.flag),
        ]
        for found in passes
    ]
    columns = ("after", "bytes", "multiplications", f"rows/s in batches of {BATCH}", "what it did not bring")
    return ["", *_table(columns, rows)]


def _recipe(compression: CompressionLineage) -> list[str]:
    return [f"{number}. {_component(step)}" for number, step in enumerate(compression.recipe, start=1)]


def _signature(version: ModelVersion) -> list[str]:
    signature = version.signature
    rows = [_tensor("input", tensor) for tensor in signature.inputs]
    rows += [_tensor("output", tensor) for tensor in signature.outputs]
    classes = ", ".join(_plain(label) for label in signature.classes)
    told = ["", f"Classes, in the order of the outputs: {classes}."] if classes else []
    return ["## Signature", "", *_table(("", "name", "type", "shape"), rows), *told]


def _lineage(version: ModelVersion) -> list[str]:
    lineage, code = version.lineage, version.lineage.code
    libraries = ", ".join(f"{name} {number}" for name, number in sorted(lineage.libraries.items()))
    commit = f", commit {_code(code.commit)}" if code.commit else ""
    facts = [
        ("Run", _code(lineage.run_id)),
        ("Job", f"{_plain(str(lineage.job.get('kind', 'train')))}, sha256 {_code(lineage.job_sha256)}"),
        ("Seed", str(lineage.seed)),
        ("Code", f"raymaas {code.raymaas}, source sha256 {_code(code.source_sha256)}{commit}"),
        ("Libraries", libraries or "not recorded"),
    ]
    if lineage.parent is not None:
        facts.insert(0, ("Parent", f"{version.model}@{lineage.parent}"))
    return ["## Lineage", "", *_table(("", ""), [(f"**{name}**", value) for name, value in facts])]


def _files(version: ModelVersion) -> list[str]:
    rows = [
        (_code(name), f"{entry.bytes:,}", _code(entry.sha256))
        for name, entry in sorted(version.files.items())
    ]
    return ["## Files", "", *_table(("file", "bytes", "sha256"), rows)]


def _licence(licence: Licence | None) -> str:
    if licence is None:
        return _NOT_STATED
    if isinstance(licence, str):
        return f"[{licence}](https://spdx.org/licenses/{licence}.html)"
    return f"Other: {_plain(licence.other)}"


def _component(component: Component) -> str:
    settings = ", ".join(f"{field}={value}" for field, value in component.config.items())
    return _code(component.use) + (f" with {_code(settings)}" if settings else "")


def _interval(metric: Metric) -> str:
    return f"{metric.low:.4f} to {metric.high:.4f} ({metric.confidence * 100:.4g} %, {metric.method})"


def _tensor(role: str, tensor: TensorSpec) -> tuple[str, ...]:
    shape = " x ".join("rows" if size == -1 else str(size) for size in tensor.shape)
    return role, _plain(tensor.name), tensor.dtype, shape


def _list(statements: Sequence[str]) -> list[str]:
    return [f"- {_plain(statement)}" for statement in statements] or [_NOT_STATED]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _code(text: str) -> str:
    """`text` in code style; a backtick in it would end that, and a pipe its table cell."""
    return f"`{' '.join(text.split()).replace('`', chr(39)).replace('|', '/')}`"


def _plain(text: str) -> str:
    """`text` on one line, to be read as it is."""
    escaped = _MARKUP.sub(r"\\\1", " ".join(text.split()))
    return _OPENING.sub(r"\1\\\2", escaped)

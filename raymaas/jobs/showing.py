"""What a report shows of a model's answers, by its task: mistakes, residuals, reconstructions, samples, text.

Legend: N rows that are looked at, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from raymaas.bundle.runtimes.base import Runtime
from raymaas.bundle.signature import with_defaults
from raymaas.data.blocks import Blocks
from raymaas.data.rows import Rows
from raymaas.evaluate.answers import answers
from raymaas.report.confusion import confusion_png, worst_pairs
from raymaas.report.images import LINE_CHARACTERS, Tile, grid_png, is_image
from raymaas.report.page import Picture, Section, block, table
from raymaas.report.reliability import reliability_png
from raymaas.report.residuals import residuals_png
from raymaas.specs.versions import ModelVersion

_LOOKED_AT = 2000  # rows: enough to find mistakes and to see a pattern
_COLUMNS, _SHOWN = 8, 32
_PROMPT_BYTES, _TEXTS = 48, 3


def sections_of(version: ModelVersion, runtime: Runtime, test: Blocks) -> Iterator[Section]:
    """The sections for the version's task, and one for each method that makes rows or text; `test` are test rows."""
    some = test.first(_LOOKED_AT)
    ask = partial(answers, runtime.run, some.inputs(version.signature.inputs), row_N=some.id_N)
    match version.task:
        case "classification":
            yield _confusion(version)
            yield _calibration(version)
            yield _examples(some, ask(output="probabilities"), version.signature.classes)
        case "regression":
            picture = residuals_png(ask(output="prediction"), some.y_N)
            yield Section(
                "Residuals", pictures=(Picture("residuals.png", "Residuals over predictions", picture),)
            )
        case "density":
            yield _reconstructions(some, ask(output="reconstruction"))
        case "language" | "adversarial":
            pass
    if "sample" in version.methods:
        yield _samples(version, runtime)
    if "generate" in version.methods:
        yield _texts(version, runtime, some)


def _confusion(version: ModelVersion) -> Section:
    evaluation = version.evaluation
    labels = version.signature.classes
    if not evaluation.confusion:
        return Section("Which classes it confuses")
    rows = [
        (one.label, one.rows, f"{one.precision.value:.4f}", f"{one.recall.value:.4f}", f"{one.f1.value:.4f}")
        for one in evaluation.classes
    ]
    pairs = worst_pairs(evaluation.confusion, labels)
    said = "; ".join(f"{true} taken for {answered}, {count} rows" for true, answered, count in pairs)
    paragraphs = (
        f"Most frequent mistakes: {said}." if pairs else "It made no mistake.",
        table(("class", "rows", "precision", "recall", "F1"), rows),
    )
    picture = Picture(
        "confusion.png", "Rows by true class and answered class", confusion_png(evaluation.confusion, labels)
    )
    return Section("Which classes it confuses", paragraphs, (picture,))


def _calibration(version: ModelVersion) -> Section:
    bins = version.evaluation.reliability
    if not bins:
        return Section("Whether its probabilities hold")
    rows = sum(one.rows for one in bins)
    sure = sum(one.probability * one.rows for one in bins) / rows
    right = sum(one.accuracy * one.rows for one in bins) / rows
    paragraph = (
        f"It gives its answers a probability of {sure:.1%} on the average, and {right:.1%} of them are right."
    )
    picture = Picture("reliability.png", "Accuracy by the probability of the answer", reliability_png(bins))
    return Section("Whether its probabilities hold", (paragraph,), (picture,))


def _examples(rows: Rows, p_NC: np.ndarray, labels: tuple[str, ...]) -> Section:
    """Images with their answers: mistakes first, those it was surest of before the others."""
    title = "Examples"
    if not is_image(rows.x_ND.shape[1:]):
        return Section(title)
    answer_N, sure_N = p_NC.argmax(axis=1), p_NC.max(axis=1) / p_NC.sum(axis=1)
    wrong_N = answer_N != rows.y_N
    order = np.lexsort((-sure_N, ~wrong_N))[:_SHOWN]
    tiles = [
        Tile(
            rows.x_ND[n],
            _told(
                labels[answer_N[n]], float(sure_N[n]), instead_of=labels[rows.y_N[n]] if wrong_N[n] else None
            ),
            marked=bool(wrong_N[n]),
        )
        for n in order
    ]
    said = f"Of the first {len(rows):,} test rows {int(wrong_N.sum()):,} are answered wrongly. The surest come first."
    png = grid_png(
        tiles, columns=_COLUMNS, title="Answers with their probability; in red true class → answer"
    )
    return Section(title, (said,), (Picture("examples.png", "Test rows with the answers they got", png),))


def _told(answer: str, probability: float, *, instead_of: str | None) -> str:
    """The answer with its probability; after a mistake below what would have been right."""
    percent = f" {probability:.0%}"
    said = _cut(answer, LINE_CHARACTERS - len(percent)) + percent
    return said if instead_of is None else f"{_cut(instead_of, LINE_CHARACTERS - 2)} →\n{said}"


def _cut(label: str, longest: int) -> str:
    return label if len(label) <= longest else f"{label[: longest - 1]}…"


def _reconstructions(rows: Rows, remade_ND: np.ndarray) -> Section:
    if not is_image(rows.x_ND.shape[1:]):
        return Section("Reconstructions")
    count = min(_COLUMNS, len(rows))
    tiles = [Tile(x, "row") for x in rows.x_ND[:count]] + [Tile(x, "remade") for x in remade_ND[:count]]
    png = grid_png(tiles, columns=count, title="Test rows, and below what is left of them")
    return Section(
        "Reconstructions", pictures=(Picture("reconstructions.png", "Rows and their reconstructions", png),)
    )


def _samples(version: ModelVersion, runtime: Runtime) -> Section:
    """Rows that the version draws, with seeds from 0 on."""
    (seed,) = version.methods["sample"].inputs
    (made,) = runtime.call("sample", {seed.name: np.arange(_SHOWN, dtype=np.int64)}).values()
    if not is_image(made.shape[1:]):
        return Section("Samples")
    png = grid_png([Tile(x) for x in made], columns=_COLUMNS, title=f"Drawn with the seeds 0 to {_SHOWN - 1}")
    return Section("Samples", pictures=(Picture("samples.png", "Rows that the model draws", png),))


def _texts(version: ModelVersion, runtime: Runtime, rows: Rows) -> Section:
    """How the version goes on after the beginnings of some test rows."""
    beginnings = [
        row[:_PROMPT_BYTES].astype(np.uint8).tobytes().decode(errors="replace") for row in rows.x_ND[:_TEXTS]
    ]
    signature = version.methods["generate"]
    prompts = {signature.inputs[0].name: np.array(beginnings, dtype=object)}
    (texts,) = runtime.call("generate", with_defaults(signature, prompts)).values()
    blocks = tuple(block(f"{begun}⟶{text}") for begun, text in zip(beginnings, texts, strict=True))
    return Section("Text", ("After the arrow stands what the model wrote, with its usual settings.", *blocks))

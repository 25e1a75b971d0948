"""The report of a training: what was learned, how well it does, and what it answers, on one page with pictures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from raymaas.bundle.format import BuiltBundle
from raymaas.bundle.runtimes.opening import load_runtime
from raymaas.data.blocks import Blocks
from raymaas.data.split import Parts
from raymaas.jobs.parts import JobParts
from raymaas.jobs.showing import sections_of
from raymaas.report.curves import learning_png
from raymaas.report.page import Picture, Section, files_of, table
from raymaas.specs.evaluation import Evaluation
from raymaas.specs.versions import ModelVersion
from raymaas.train.checkpoint import Checkpoint

log = logging.getLogger("raymaas.report")


@dataclass(frozen=True, eq=False)
class Trained:
    """A training that was published: its version, and how it came to be."""

    version: ModelVersion
    bundle: BuiltBundle
    rows: Parts
    test: Blocks
    """Its test rows, whole."""
    fitted: Checkpoint
    remark: str | None = None
    """What is to be said of the curves, such as that it overfits."""

    @property
    def best_epoch(self) -> int:
        return self.fitted.progress.best_epoch


def keep_report(trained: Trained, parts: JobParts) -> None:
    """Keep the report among the run's files, and its pictures among its events.

    A report that cannot be made is said so and costs nothing else: the version is published already.
    """
    parts.say("drawing the report")
    try:
        artifacts = parts.runs.artifacts(parts.run_id)
        for name, data in report(trained).items():
            artifacts.keep(f"report/{name}", data)
            if name.endswith(".png"):
                parts.listener.drawn(name.removesuffix(".png"), data, epoch=trained.best_epoch)
    except Exception as error:
        log.exception("the report of %s", parts.run_id)
        parts.say(f"the report could not be made: {error}")


def report(trained: Trained) -> Mapping[str, bytes]:
    """The files of the report by name; `report.md` is the page."""
    version, bundle = trained.version, trained.bundle
    runtime = load_runtime(version.evaluation.runtime, bundle.files, signature=version.signature)
    sections = [
        _facts(trained),
        _figures(version.evaluation),
        _learning(trained),
        *sections_of(version, runtime, trained.test),
    ]
    return files_of(f"{version.model}@{version.version}", sections)


def _facts(trained: Trained) -> Section:
    version, rows, lineage = trained.version, trained.rows, trained.version.lineage
    settings = ", ".join(f"{name} {value}" for name, value in version.architecture.config.items())
    facts = [
        ("run", version.run_id),
        ("architecture", f"{version.architecture.use}: {settings}"),
        ("task", version.task),
        ("weights", f"{version.weights_bytes:,} bytes"),
        ("data set", f"{lineage.dataset}, fingerprint {lineage.data_fingerprint[:12]}"),
        (
            "rows",
            f"{len(rows.train):,} for training, {len(rows.validation):,} for validation, {len(rows.test):,} for test",
        ),
        ("seed", lineage.seed),
        ("epochs", f"{len(trained.fitted.history)}; the weights are those after epoch {trained.best_epoch}"),
        ("runtimes", ", ".join(version.runtimes)),
    ]
    paragraphs = (
        (version.description, table(("", ""), facts)) if version.description else (table(("", ""), facts),)
    )
    return Section("What it is", paragraphs)


def _figures(evaluation: Evaluation) -> Section:
    measured = [
        (
            name.replace("_", " "),
            f"{m.value:.4g}",
            f"{m.low:.4g} to {m.high:.4g}",
            f"{m.confidence:.0%}, {m.method}",
        )
        for name, m in evaluation.metrics.items()
    ]
    said = f"On {evaluation.rows:,} {evaluation.part} rows that it has never seen, answered by {evaluation.runtime}."
    paragraphs = [said, table(("metric", "value", "interval", "made how"), measured)]
    if evaluation.baselines:
        names = sorted({name for figures in evaluation.baselines.values() for name in figures})
        rows = [
            (simple, *(f"{figures[n]:.4g}" if n in figures else "" for n in names))
            for simple, figures in evaluation.baselines.items()
        ]
        paragraphs += ["What something simple reaches on the same rows:", table(("", *names), rows)]
    return Section("How well it does", tuple(paragraphs))


def _learning(trained: Trained) -> Section:
    epochs = {epoch.epoch: epoch.metrics() for epoch in trained.fitted.history}
    kept = epochs[trained.best_epoch]
    gap = kept["validation_loss"] - kept["train_loss"]
    paragraphs = [
        f"After epoch {trained.best_epoch} the mean loss was {kept['train_loss']:.4g} on the training rows, while they "
        f"were learned, and {kept['validation_loss']:.4g} on the validation rows: a gap of {gap:.3g}."
    ]
    if trained.remark:
        paragraphs.append(f"**{trained.remark[:1].upper()}{trained.remark[1:]}.**")
    picture = Picture(
        "learning.png",
        "Losses and validation figures over the epochs",
        learning_png(epochs, best_epoch=trained.best_epoch),
    )
    return Section("How it learned", tuple(paragraphs), (picture,))

"""Fitted transforms: a sealed document that makes a network's input of what a client sends, the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from pydantic import PositiveInt

from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.data.transforms.base import Step
from raymaas.data.transforms.catalogue import transform
from raymaas.data.transforms.frame import Frame, is_text
from raymaas.errors import InvalidInput
from raymaas.specs.base import Document
from raymaas.specs.datasets import Column, DatasetCard
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec


class Transforms(Document):
    """The columns that come in, the fitted steps in their order, and the shape of a row that comes out."""

    kind = "transforms"

    inputs: tuple[Column, ...]
    steps: tuple[Component, ...]
    shape: tuple[PositiveInt, ...]


@dataclass(frozen=True)
class Fitted:
    """Transforms ready to be applied."""

    document: Transforms

    @classmethod
    def unseal(cls, raw: bytes, *, source: str) -> Fitted:
        """What `document.seal()` gave. Raises as `Document.unseal`."""
        return cls(Transforms.unseal(raw, source=source))

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        return tuple(
            transform(step.use)[1].parse(step.config, source=f"fitted transform {step.use!r}")
            for step in self.document.steps
        )

    @property
    def input(self) -> TensorSpec:
        """The tensor a network takes."""
        return TensorSpec(name="x", dtype="FP32", shape=(-1, *self.document.shape))

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What a client sends: `x` as it is where there are no steps, else each column by its name."""
        if not self.steps:
            return (self.input,)
        filled = frozenset[str]().union(*(step.fills for step in self.steps))
        return tuple(
            TensorSpec(
                name=column.name,
                dtype="BYTES" if column.type == "text" else "FP32",
                shape=(-1, *column.shape),
                nullable=column.name in filled,
            )
            for column in self.document.inputs
        )

    @property
    def vocabulary(self) -> int | None:
        """How many different tokens a row may hold; None where a row is no tokens, or not only tokens."""
        return self.steps[-1].vocabulary if self.steps and len(self.document.inputs) == 1 else None

    def facts(self, card: DatasetCard) -> Facts:
        """What a network can know of the data before it is built."""
        return Facts(input=self.input, classes=card.classes, target=card.target, vocabulary=self.vocabulary)

    def x_of(self, sent: Mapping[str, np.ndarray], *, row_N: np.ndarray | None = None) -> np.ndarray:
        """float32 [N, *shape] of what a client sent.

        Raises InvalidInput, naming column and row, for a missing value that is not filled.
        """
        count = len(next(iter(sent.values())))
        # In the order they were fitted in: what a client sends is in any.
        columns = {column.name: sent[column.name] for column in self.document.inputs}
        frame = Frame(columns, np.arange(count) if row_N is None else row_N)
        for step in self.steps:
            frame = step.apply(frame)
        return _side_by_side(frame)

    def apply(self, rows: Rows) -> Rows:
        """The same rows with the `x` a network takes.

        In `columns` is what a client sends besides it, in `kept` every column that rows can be told apart by. Raises
        InvalidInput for rows without a column that is taken, or with a missing value that is not filled.
        """
        sent = _input_columns(rows, self.document.inputs)
        return replace(
            rows,
            x_ND=self.x_of(sent, row_N=rows.id_N),
            columns=sent if self.steps else {},
            kept={**rows.columns, **rows.kept},
        )

    def ready(self, parts: Parts) -> Parts:
        """All three parts with the `x` a network takes."""
        return replace(
            parts,
            train=self.apply(parts.train),
            validation=self.apply(parts.validation),
            test=self.apply(parts.test),
        )


def fit_transforms(wanted: Sequence[Component], train: Rows, card: DatasetCard) -> Fitted:
    """The transforms `wanted`, each fitted on the training rows as those before it left them.

    Raises InvalidInput, naming the transform, the column and the row, for settings that do not exist or do not
    fit, and for columns that are still text or have missing values in the end.
    """
    inputs = card.columns or (Column(name="x", type="number", shape=card.shape),)
    frame = Frame(_input_columns(train, inputs), train.id_N)
    steps = []
    for number, component in enumerate(wanted):
        where = f"transforms[{number}] {component.use}"
        try:
            step = transform(component.use)[0].parse(component.config, source="config").fit(frame)
            frame = step.apply(frame)
        except InvalidInput as error:
            raise InvalidInput(f"{where}: {error}") from None
        steps.append(Component(use=component.use, config=step.model_dump(mode="json")))
    shape = _side_by_side(frame).shape[1:]
    return Fitted(Transforms(inputs=inputs, steps=tuple(steps), shape=shape))


def _input_columns(rows: Rows, inputs: tuple[Column, ...]) -> dict[str, np.ndarray]:
    """The `inputs` of the rows by name. Raises InvalidInput for one that is not there, or is something else."""
    known = rows.columns or {"x": rows.x_ND}
    for column in inputs:
        if column.name not in known:
            raise InvalidInput(
                f"the transforms take a column {column.name!r}, and the data set has {', '.join(known)}; "
                "give it one, or name transforms of its own"
            )
        values = known[column.name]
        found = "text" if is_text(values) else "number"
        if (found, values.shape[1:]) != (column.type, column.shape):
            raise InvalidInput(
                f"column {column.name!r} is {found} {list(values.shape[1:])}, and the transforms take "
                f"{column.type} {list(column.shape)} there; convert it"
            )
    return {column.name: known[column.name] for column in inputs}


def _side_by_side(frame: Frame) -> np.ndarray:
    """float32 [N, *shape] of a single column of that shape, [N, D] of several."""
    blocks = [_numbers(frame, name) for name in frame.columns]
    if len(blocks) == 1 and blocks[0].ndim > 1:
        return blocks[0]
    return np.concatenate([block.reshape(len(frame), -1) for block in blocks], axis=1)


def _numbers(frame: Frame, name: str) -> np.ndarray:
    if is_text(frame.columns[name]):
        raise InvalidInput(
            f"column {name!r} is text; add {{use: one_hot}} or {{use: tokenize}} to the job's transforms, or leave "
            "it out of data.config.features"
        )
    return frame.require(name)

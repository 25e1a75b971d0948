"""Rows that a model was asked about, with the labels that feedback gave them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field

from raymaas.data.columns import INPUT, KEPT
from raymaas.data.sources.base import DataFiles, Source
from raymaas.data.sources.labelled import LabelledAnswers
from raymaas.data.table import Learned, table_of, table_of_columns, table_of_numbers
from raymaas.errors import InvalidInput
from raymaas.specs.base import Moment
from raymaas.specs.datasets import FeedbackOrigin
from raymaas.specs.names import Reference
from raymaas.specs.sampling import INPUT as ASKED
from raymaas.specs.versions import TensorSpec

_TOLD = 5  # labels that are named in an error


def _a_reference(text: str) -> str:
    Reference.parse(text)
    return text


class FeedbackRows(Source):
    """What a model was asked, with the labels of `raymaas feedback`, as far as its sampling rule kept it.

    The rows become a data set, which stays when the days of the sampling rule are over. Inputs that the rule rounds are
    learned from as they were rounded; those that it hashes or drops are refused.

    The labels are the version's classes, in its order, so that init_from fits. Of each row are also kept, to split by:
    request_id, version, and at, when it was answered.
    """

    of: Annotated[str, AfterValidator(_a_reference)] = Field(
        description="Whose answers: digits for all versions of it, digits@3 or digits@prod for one."
    )
    since_days: float = Field(30, gt=0, le=3650, description="How far back answers are taken, in days.")
    until: Moment | None = Field(
        default=None,
        description="Answers after it are left out. Filled in on submission: a run keeps to its rows.",
    )
    min_rows: int = Field(100, ge=1, description="With fewer labelled rows the run is refused.")
    unknown_labels: Literal["refuse", "skip"] = Field(
        "refuse", description="What becomes of rows whose label is no class of the version."
    )

    def called(self, use: str) -> str:
        return f"{use}-{Reference.parse(self.of).model}"

    @property
    def taken_once(self) -> bool:
        return self.until is not None

    def table(self, files: DataFiles) -> pa.Table:
        if files.labelled is None:
            raise InvalidInput("feedback is read where a run is carried out: `raymaas train`, not here")
        until = self.until or datetime.now(UTC)
        found = files.labelled(self.of, until - timedelta(days=self.since_days), until)
        found = self._known(found)
        rows = len(found.rows)
        if rows < self.min_rows:
            raise InvalidInput(
                f"there are {rows} rows with a label of {self.of}, and min_rows is {self.min_rows}: give more feedback"
                " (`raymaas feedback`), sample more requests (`raymaas sampling`), or lower data.config.min_rows"
            )
        return _with_origin(_told_apart(found), found)

    def _known(self, found: LabelledAnswers) -> LabelledAnswers:
        """Without rows whose label cannot be learned, or InvalidInput for them."""
        labels, classes = found.rows["label"], found.signature.classes
        if classes:
            known = pc.is_in(labels, pa.array(classes, pa.string()))
            what = f"no class of {found.model}, which knows {', '.join(classes[:20])}"
        else:
            known = pa.array([_number(label) is not None for label in labels.to_pylist()], pa.bool_())
            what = f"no number, which {found.model} predicts"
        if self.unknown_labels == "refuse" and not pc.all(known, min_count=0).as_py():
            wrong = Counter(found.rows.filter(pc.invert(known))["label"].to_pylist())
            told = ", ".join(f"{label!r} ({count} rows)" for label, count in wrong.most_common(_TOLD))
            raise InvalidInput(
                f"labels are {what}: {told}; correct them with `raymaas feedback`, or say data.config."
                "unknown_labels: skip"
            )
        return LabelledAnswers(found.model, found.signature, found.rows.filter(known), found.kept_under)


def _told_apart(found: LabelledAnswers) -> pa.Table:
    """The table to learn from."""
    signature, labels = found.signature, found.rows["label"].to_pylist()
    if not signature.classes and "prediction" not in [spec.name for spec in signature.outputs]:
        raise InvalidInput(
            f"{found.model} neither names classes nor predicts a number; feedback cannot teach it"
        )
    learned = Learned("classes" if signature.classes else "number", signature.classes)
    if signature.classes:
        places = {label: place for place, label in enumerate(signature.classes)}
        y_N = np.array([places[label] for label in labels], np.int64)
    else:
        y_N = np.array([_number(label) for label in labels], np.float64)
    asked = {spec: _asked(found, spec) for spec in signature.inputs}
    if all(len(spec.shape) == 1 for spec in asked):
        columns = {f"{INPUT}{spec.name}": _column(values, spec) for spec, values in asked.items()}
        return table_of_columns(columns, learned, y_N)
    if len(asked) > 1:
        raise InvalidInput(f"{found.model} takes several tensors, and a data set has one")
    (spec, values), shape = next(iter(asked.items())), next(iter(asked)).shape[1:]
    x = _tensor(values, shape, name=f"{ASKED}{spec.name}")
    return table_of(x, y_N, classes=signature.classes) if signature.classes else table_of_numbers(x, y_N)


def _asked(found: LabelledAnswers, spec: TensorSpec) -> pa.ChunkedArray:
    """What was asked as one input. Raises InvalidInput, naming the mask, for one that was not kept as it was."""
    name = f"{ASKED}{spec.name}"
    if mask := found.kept_under.mask(name, rounds=False):
        raise InvalidInput(
            f"the model learns from {name}, which the sampling rule of {found.model} hides or hid ({mask}); keep it"
            f" with `raymaas sampling set {found.model}`, and take only what was answered after that, with"
            " data.config.since_days"
        )
    if name not in found.rows.column_names or (found.rows[name].null_count and not spec.nullable):
        raise InvalidInput(
            f"the model learns from {name}, which not all answers of {found.model} were sampled with: its versions take"
            " different inputs; name one version"
        )
    return found.rows[name]


def _column(values: pa.ChunkedArray, spec: TensorSpec) -> pa.Array:
    if spec.dtype == "BYTES":
        return values.combine_chunks()
    # What is missing is NaN in an input, and null in a table.
    return pa.array(values.to_numpy().astype(np.float32), from_pandas=True)


def _tensor(values: pa.ChunkedArray, shape: tuple[int, ...], *, name: str) -> np.ndarray:
    flat: np.ndarray = pc.list_flatten(values).to_numpy()
    try:
        return flat.reshape(len(values), *shape)
    except ValueError:
        raise InvalidInput(
            f"rows of {name} have other sizes than {list(shape)}, those of the newest version; name one version"
        ) from None


def _with_origin(table: pa.Table, found: LabelledAnswers) -> pa.Table:
    """`table` with the columns that are kept beside the input, and where it came from."""
    rows = found.rows
    for name in ("request_id", "version", "at"):
        values = rows[name].cast(pa.int64()) if name == "version" else rows[name]
        table = table.append_column(f"{KEPT}{name}", values.combine_chunks())
    origin = FeedbackOrigin(
        model=found.model,
        versions=tuple(sorted(set(rows["version"].to_pylist()))),
        requests=pc.count_distinct(rows["request_id"]).as_py(),
        first=rows["at"][0].as_py(),
        last=rows["at"][-1].as_py(),
    )
    metadata = table.schema.metadata | {b"feedback": orjson.dumps(origin.model_dump(mode="json"))}
    return table.replace_schema_metadata(metadata)


def _number(label: str) -> float | None:
    try:
        found = float(label)
    except ValueError:
        return None
    return found if np.isfinite(found) else None

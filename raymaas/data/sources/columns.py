"""Importing tables: which column is to be learned, which are a model's input, and which are only kept beside it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from raymaas.data.columns import INPUT, KEPT
from raymaas.data.labels import class_indices, label_texts
from raymaas.data.sources.base import Importer
from raymaas.data.sources.survey import Forms, Survey
from raymaas.data.sources.values import input_values, is_text, kept_values, numbers
from raymaas.data.table import PARTS, Learned, table_of_columns
from raymaas.errors import InvalidInput
from raymaas.specs.tasks import Target


class Columns(Importer):
    """What importers of tables share. A job makes a model's input of the columns by its `transforms`.

    Without transforms that is the numbers of a row side by side.
    """

    path: str = Field(
        description="Path on the machine of the job's driver, or URL: file:///path, s3://bucket/key."
    )
    label: str | None = Field(
        default=None,
        description="Column to be learned. Classes are text, whole numbers, or true and false.",
    )
    target: Target = Field("classes", description="What is learned: classes, a number, or none.")
    features: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Columns that are features, in this order; default all others.",
    )
    text: tuple[str, ...] = Field(
        (), description="Features to take as text though they hold numbers, such as postal codes."
    )
    keep: tuple[str, ...] = Field(
        (),
        description="Columns that are no features, but there to split or compare rows by: a patient, a date.",
    )
    part: str | None = Field(
        default=None,
        description="Column that says train, validation or test of each row, for `split: {test: given}`.",
    )

    @model_validator(mode="after")
    def _label_where_one_is_learned(self) -> Columns:
        if (self.label is None) != (self.target == "none"):
            raise ValueError(
                "label is missing: name the column to be learned, or set target to none"
                if self.label is None
                else "with target none nothing is learned; leave label out"
            )
        if self.classes is not None and self.target != "classes":
            raise ValueError(f"classes belong to target classes; leave them out with {self.target}")
        return self

    def wanted(self, names: list[str]) -> tuple[str, ...]:
        """The columns to read of a file that has these. Raises InvalidInput for one that is missing or comes twice."""
        features = self._features(names)
        beside = dict.fromkeys([*self._special, *self.keep])
        for name in (*beside, *features, *self.text):
            if names.count(name) != 1:
                what = f"no column {name!r}" if name not in names else f"{names.count(name)} columns {name!r}"
                raise InvalidInput(f"{self.path} has {what}; its columns are {', '.join(names)}")
        if both := set(beside) & set(features):
            raise InvalidInput(
                f"{both.pop()!r} is the label or part, or only kept, and cannot be a feature; take it out of features"
            )
        if not features:
            raise InvalidInput(f"{self.path} has no column besides {', '.join(beside)}; rows need features")
        return (*beside, *features)

    def survey(self, read: pa.Table, survey: Survey, *, first_row: int | None = None) -> None:
        """Let `survey` see some rows, of which it needs the label and the columns of text.

        Raises InvalidInput for a missing label.
        """
        names = read.column_names
        features = [name for name in self._features(names) if name in names and name not in self.text]
        labels = None
        if self.label is not None and self._finds_classes:
            labels = label_texts(read[self.label], where=self._where(self.label), first_row=first_row)
        survey.see(read.select(features), read.select([n for n in self.keep if n in names]), labels)

    def from_columns(
        self, read: pa.Table, *, forms: Forms | None = None, first_row: int | None = None
    ) -> pa.Table:
        """The table of `raymaas.data.table` made from the wanted columns of `read`.

        Of a piece of a table, `forms` is what all of them decided, and `first_row` what a message calls its first.
        """
        self.wanted(read.column_names)
        if read.num_rows == 0:
            raise InvalidInput(f"{self.path} has no rows; give it some")
        if forms is None:
            survey = Survey()
            self.survey(read, survey)
            forms = survey.forms()
        learned, y_N = self._learned(read, forms, first_row)
        columns = {
            INPUT + name: input_values(
                read[name],
                as_text=name in self.text or (name in forms.text and is_text(read[name].type)),
                where=self._where(name),
                first_row=first_row,
            )
            for name in self._features(read.column_names)
        }
        for name in self.keep:
            text_as = forms.kept.get(name, pa.string())
            columns[KEPT + name] = kept_values(read[name], text_as=text_as, where=self._where(name))
        return table_of_columns(columns, learned, y_N, part_N=self._own_parts(read, first_row))

    def _features(self, names: list[str]) -> tuple[str, ...]:
        beside = {*self._special, *self.keep}
        return self.features or tuple(name for name in names if name not in beside)

    def _learned(
        self, read: pa.Table, forms: Forms, first_row: int | None
    ) -> tuple[Learned, np.ndarray | None]:
        if self.label is None:
            return Learned("none"), None
        values, where = read[self.label], self._where(self.label)
        if self.target == "number":
            return Learned("number"), numbers(values, where=where, first_row=first_row)
        classes = self.classes or forms.classes
        y_N, classes = class_indices(values, classes=classes, where=where, first_row=first_row)
        return Learned("classes", classes), y_N

    def _own_parts(self, read: pa.Table, first_row: int | None) -> np.ndarray | None:
        if self.part is None:
            return None
        codes_N, _ = class_indices(
            read[self.part], classes=tuple(PARTS), where=self._where(self.part), first_row=first_row
        )
        return codes_N

    @property
    def _finds_classes(self) -> bool:
        """Whether the classes are the labels found."""
        return self.target == "classes" and self.classes is None

    @property
    def _special(self) -> tuple[str, ...]:
        return tuple(name for name in (self.label, self.part) if name is not None)

    def _where(self, column: str) -> str:
        return f"column {column!r} of {self.path}"

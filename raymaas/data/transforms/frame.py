"""Frame: the named columns of some rows, on their way through transforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from raymaas.data.columns import missing
from raymaas.errors import InvalidInput


def is_text(values: np.ndarray) -> bool:
    return values.dtype == object


def is_numbers(values: np.ndarray) -> bool:
    return not is_text(values)


@dataclass(frozen=True, eq=False)
class Frame:
    """Columns as `raymaas.data.columns` has them in memory: numbers [N, ...] with NaN, or text [N] with None."""

    columns: Mapping[str, np.ndarray]
    row_N: np.ndarray
    """What a message calls each row."""

    def __len__(self) -> int:
        return len(self.row_N)

    def with_columns(self, changed: Mapping[str, np.ndarray]) -> Frame:
        """Others in place of the columns of those names."""
        return replace(self, columns={**self.columns, **changed})

    def choose(
        self, named: Sequence[str] | None, *, among: Callable[[np.ndarray], bool], what: str
    ) -> tuple[str, ...]:
        """The columns `named`, or all that `among` takes. Raises InvalidInput for one that is not there or not taken.

        `what` says in a message what is taken, such as "text".
        """
        fitting = [name for name, values in self.columns.items() if among(values)]
        for name in named or ():
            if name not in self.columns:
                raise InvalidInput(f"there is no column {name!r}; there are {', '.join(self.columns)}")
            if name not in fitting:
                raise InvalidInput(f"column {name!r} is not {what}; leave it out")
        if not fitting:
            raise InvalidInput(f"no column is {what}; leave this transform out")
        return tuple(fitting if named is None else named)

    def require(self, name: str) -> np.ndarray:
        """The column, in which nothing is missing. Raises InvalidInput naming the row."""
        values = self.columns[name]
        absent = np.flatnonzero(missing(values))
        if len(absent):
            count = f" ({len(absent)} such rows in all)" if len(absent) > 1 else ""
            raise InvalidInput(
                f"column {name!r} has nothing in row {self.row_N[absent[0]]}{count}; "
                "give it a value, or train with {use: impute} among the transforms"
            )
        return values

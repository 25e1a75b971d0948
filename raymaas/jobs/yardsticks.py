"""Yardsticks: what a compression measures of each recipe beside the metrics of its task.

Of a network that makes rows it is how like its parent's they are; of any network a metric of the user's own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from raymaas.data.rows import Rows
from raymaas.errors import InvalidInput, RunFailed
from raymaas.evaluate.answers import in_batches
from raymaas.jobs.judging import Subject
from raymaas.jobs.likeness import NOTHING_TO_COMPARE, Likeness
from raymaas.registry.code import read_code
from raymaas.registry.versions import Versions
from raymaas.specs.compression import CompressJob
from raymaas.specs.versions import ModelVersion
from raymaas.store import Store
from raymaas.train.own_code import importable

Answers = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class MetricRows:
    """The rows a metric of one's own is to judge, which are validation rows."""

    inputs: Mapping[str, np.ndarray]
    """What a client sends, [N, ...] by the input's name: before the version's transforms."""
    targets: np.ndarray
    """[N]: the place of a row's label in `classes`, or its number; nothing to go by for rows without labels."""
    classes: tuple[str, ...]
    """A classifier's labels."""


@dataclass(frozen=True, eq=False)
class OwnMetric:
    """A function `metric(predict, data) -> float` of the user's, named as `my_package.metrics:top_two`.

    `predict` maps inputs [N, ...] by name to all outputs [N, ...] by name, as the served version answers them; `data`
    is a `MetricRows`. It travels to the trials with its code, and is imported where it is asked.
    """

    use: str
    code: str
    packed: bytes

    def figures(self, subject: Subject, rows: Rows) -> Mapping[str, float]:
        """The metric by its name. Raises InvalidInput when it is not there, raises, or gives no finite number."""
        asked = MetricRows(rows.inputs(subject.signature.inputs), rows.y_N, subject.signature.classes)

        def predict(inputs: Mapping[str, np.ndarray]) -> Answers:
            return in_batches(subject.runtime.run, inputs)

        try:
            value = float(self._function()(predict, asked))
        except (InvalidInput, RunFailed):
            raise
        except Exception as error:
            raise InvalidInput(f"metric {self.use!r} raised {type(error).__name__}: {error}") from error
        if not np.isfinite(value):
            raise InvalidInput(f"metric {self.use!r} gave {value}, which cannot be compared with another")
        return {self.use: value}

    def _function(self) -> Callable[..., float]:
        importable(self.code, lambda: self.packed)
        module, _, name = self.use.partition(":")
        found = getattr(importlib.import_module(module), name, None)
        if not callable(found):
            raise InvalidInput(f"metric {self.use!r}: {module} has no function called {name!r}")
        function: Callable[..., float] = found
        return function


@dataclass(frozen=True, eq=False)
class Yardsticks:
    """All of them that a compression has."""

    likeness: Likeness = NOTHING_TO_COMPARE
    own: OwnMetric | None = None

    @classmethod
    def of(cls, job: CompressJob, parent: ModelVersion, versions: Versions, store: Store) -> Self:
        """Asks the parent's own files, verified.

        Raises InvalidInput for a metric that came without its code, and NotFound and IntegrityError as `read_code`.
        """
        return cls(Likeness.of(versions, parent), _own_metric(job, store))

    def figures(self, subject: Subject, rows: Rows) -> Mapping[str, float]:
        """What `subject` comes to on these rows, by name. Raises as `Likeness.figures` and `OwnMetric.figures`."""
        own = {} if self.own is None else self.own.figures(subject, rows)
        return {**self.likeness.figures(subject), **own}


TASK_ALONE = Yardsticks()


def _own_metric(job: CompressJob, store: Store) -> OwnMetric | None:
    if not job.own_metric:
        return None
    if job.code is None:
        raise InvalidInput(
            f"metric {job.metric!r} came without its code; submit the job by the CLI or the Python client, which "
            "bring it along"
        )
    return OwnMetric(job.own_metric, job.code, read_code(store, job.code))

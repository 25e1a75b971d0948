"""The catalogue of data: sources by name, and the way from a job's `{use, config}` to a table.

Adding one means its class in `raymaas.data.sources` and its line here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from raymaas.data.sources.arrays import Npz
from raymaas.data.sources.base import Source
from raymaas.data.sources.csv_table import Csv
from raymaas.data.sources.docstrings import Docstrings
from raymaas.data.sources.feedback import FeedbackRows
from raymaas.data.sources.idx import Idx
from raymaas.data.sources.images import Images
from raymaas.data.sources.lines import Lines
from raymaas.data.sources.mnist import Mnist
from raymaas.data.sources.parquet import Parquet
from raymaas.data.sources.python_help import PythonHelp
from raymaas.data.sources.scikit import BreastCancer, Diabetes, Digits, Iris, Synthetic, Wine
from raymaas.errors import InvalidInput
from raymaas.specs.base import Spec
from raymaas.specs.feedback import FEEDBACK_ROWS
from raymaas.specs.jobs import Component

SOURCES: Mapping[str, type[Source]] = {
    "digits": Digits,
    "mnist": Mnist,
    "breast_cancer": BreastCancer,
    "iris": Iris,
    "wine": Wine,
    "diabetes": Diabetes,
    "python_help": PythonHelp,
    "docstrings": Docstrings,
    "synthetic": Synthetic,
    "csv": Csv,
    "parquet": Parquet,
    "npz": Npz,
    "idx": Idx,
    "images": Images,
    "lines": Lines,
    FEEDBACK_ROWS: FeedbackRows,
}


def source_of(component: Component) -> Source:
    """The source that `component` names, with its settings. Raises InvalidInput for an unknown name or setting."""
    settings, source = described(component.use), f"data set {component.use!r}"
    if component.config and not settings.model_fields:
        raise InvalidInput(
            f"{source} takes no settings, got {', '.join(sorted(component.config))}; remove data.config"
        )
    return settings.parse(component.config, source=source)


def described(name: str) -> type[Source]:
    """The source called `name`, without settings. Raises InvalidInput with the nearest known name."""
    if name not in SOURCES:
        near = difflib.get_close_matches(name, SOURCES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(SOURCES))}"
        raise InvalidInput(f"data set {name!r} is unknown; {hint}")
    return SOURCES[name]


def dataset_name(component: Component) -> str:
    """What the data set is called in the store: an import may have a name of its own."""
    return source_of(component).called(component.use)


def summary_of(settings: type[Spec]) -> str:
    """One line for people."""
    return (settings.__doc__ or "").partition("\n")[0]

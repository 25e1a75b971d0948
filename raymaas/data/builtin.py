"""The catalogue of data sets that come with the platform, as Arrow tables.

Every table has the same three columns, which is all the rest of raymaas knows about data:

    row  int64                    identity of the row, stable over splits and versions
    x    fixed_size_list<float>   the features, one list of D values per row
    y    int64                    index into the classes

The classes themselves travel as JSON in the schema's metadata, under `classes`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

import numpy as np
import orjson
import pyarrow as pa

from raymaas.errors import InvalidInput
from raymaas.specs.jobs import Component


def digits() -> pa.Table:
    """1,797 handwritten digits of 8 x 8 pixels with values 0 to 16, from scikit-learn.

    E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI repository, 1998 (its test part).
    """
    from sklearn.datasets import load_digits  # a second to import, and only needed here

    bunch = load_digits()
    return table_of(bunch.data, bunch.target, classes=tuple(str(name) for name in bunch.target_names))


BUILTIN: Mapping[str, Callable[[], pa.Table]] = {"digits": digits}


def table_of(x_ND: np.ndarray, y_N: np.ndarray, *, classes: tuple[str, ...]) -> pa.Table:
    """Features [N, D] and class indices [N] as a table of the form above, its rows numbered from 0."""
    values = pa.array(np.ascontiguousarray(x_ND, dtype=np.float32).ravel())
    columns = {
        "row": pa.array(np.arange(len(y_N), dtype=np.int64)),
        "x": pa.FixedSizeListArray.from_arrays(values, x_ND.shape[1]),
        "y": pa.array(np.asarray(y_N, dtype=np.int64)),
    }
    return pa.table(columns).replace_schema_metadata({"classes": orjson.dumps(classes)})


def load_builtin(component: Component) -> pa.Table:
    """The built-in set that `component` names. Raises InvalidInput for an unknown name or setting."""
    if component.use not in BUILTIN:
        near = difflib.get_close_matches(component.use, BUILTIN, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(BUILTIN))}"
        raise InvalidInput(f"data set {component.use!r} is unknown; {hint}")
    if component.config:
        raise InvalidInput(
            f"data set {component.use!r} takes no settings, got {', '.join(sorted(component.config))}; "
            "remove data.config"
        )
    return BUILTIN[component.use]()

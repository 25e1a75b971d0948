"""`raymaas predict`: ask a deployed model about rows in a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import typer

from raymaas.cli.show import client_of, notes, print_json, print_table
from raymaas.client import Prediction
from raymaas.errors import InvalidInput

app = typer.Typer()


@app.command()
def predict(
    context: typer.Context,
    reference: Annotated[
        str,
        typer.Argument(
            metavar="MODEL[@VERSION]", help="digits follows the traffic; digits@1 or digits@prod pins."
        ),
    ],
    rows: Annotated[
        str, typer.Option("--input", "-i", metavar="FILE", help="JSON rows, as [[...], ...]; - reads stdin.")
    ],
    method: Annotated[
        str, typer.Option("--method", "-m", help="What else it answers, such as sample, encode or generate.")
    ] = "infer",
    as_json: Annotated[bool, typer.Option("--json", help="Print all outputs as JSON.")] = False,
) -> None:
    """Predict for the rows of a JSON file: [[...], ...], {"x": [[...]]} by input, or {"inputs": ...}.

    Example:

      raymaas predict digits@1 --input rows.json

      echo '{"seed": [1, 2, 3]}' | raymaas predict faces@1 --method sample --input -
    """
    inputs = read_rows(rows)
    with client_of(context) as client:
        prediction = client.model(reference).predict(inputs, method=method)
    if as_json or not prediction.classes:
        return print_json(
            {
                "model_name": prediction.model_name,
                "model_version": prediction.model_version,
                "request_id": prediction.request_id,
                "outputs": prediction.outputs,
                "classes": prediction.classes,
            }
        )
    answered = f"{prediction.model_name}@{prediction.model_version}"
    notes().print(f"answered by {answered}, request {prediction.request_id}", soft_wrap=True)
    print_table(("row", "class", "probability"), _label_rows(prediction), empty="no rows were given")
    return None


def read_rows(source: str) -> Any:
    """The rows in a JSON file, or on standard input for `-`. Raises InvalidInput naming file and problem."""
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"{source} cannot be read: {error.strerror}; give a JSON file, or - for stdin"
        ) from None
    name = "standard input" if source == "-" else source
    try:
        rows = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{name}, line {error.lineno}: not JSON: {error.msg}") from None
    if isinstance(rows, dict) and set(rows) == {"inputs"}:
        rows = rows["inputs"]
    if not isinstance(rows, list | dict):
        raise InvalidInput(f"{name} holds {type(rows).__name__}, not rows such as [[0.0, 1.0], [2.0, 3.0]]")
    return rows


def _label_rows(prediction: Prediction[list[Any]]) -> list[tuple[int, str, str]]:
    probabilities = prediction.outputs.get("probabilities")
    if probabilities is None:
        return [(index, label, "") for index, label in enumerate(prediction.labels)]
    best = np.asarray(probabilities).max(axis=-1)
    return [(i, label, f"{best[i]:.4f}") for i, label in enumerate(prediction.labels)]

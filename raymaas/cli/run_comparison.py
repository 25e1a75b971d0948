"""`raymaas runs compare`: runs beside each other, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import orjson
import typer
from pydantic import JsonValue

from raymaas.cli.loglines import brief, duration
from raymaas.cli.show import AsJson, client_of, print_json, print_table
from raymaas.specs.comparison import ComparedRun

app = typer.Typer()


@app.command()
def compare(
    context: typer.Context,
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Two runs at least.")],
    as_json: AsJson = False,
) -> None:
    """Compare runs: the settings in which they differ, what each reached, and what it used.

    Figures are those of the epoch with the lowest validation loss; `test` figures are those of the version.

    Example:

      raymaas runs compare train-digits-9f31c2d4e5 train-digits-0a7be1f2c3
    """
    with client_of(context) as client:
        found = client.runs.compare(*run_ids)
    if as_json:
        return print_json(found)
    columns = ("", *(run.run_id for run in found.runs))
    print_table(columns, rows_of(found.runs), empty="there is nothing to compare")
    return None


def rows_of(runs: Sequence[ComparedRun]) -> list[tuple[str, ...]]:
    """A row for each thing that is compared, with a cell for each run."""
    rows = [
        ("state", *(run.state for run in runs)),
        ("version", *(run.version or "" for run in runs)),
        *(
            (name, *(_setting(run.settings.get(name)) for run in runs))
            for name in _names([run.settings for run in runs])
        ),
        ("epochs", *(str(run.epochs) for run in runs)),
        ("best epoch", *(str(run.best_epoch or "") for run in runs)),
        *_figures("", [_measured(run) for run in runs]),
        *_figures("test ", [run.test for run in runs]),
        ("time", *(duration(run.spent.seconds) if run.spent else "" for run in runs)),
        ("CPU hours", *(f"{run.spent.cpu_hours:.4f}" if run.spent else "" for run in runs)),
    ]
    if any(run.spent and run.spent.gpu_seconds for run in runs):
        rows.append(("GPU hours", *(f"{run.spent.gpu_hours:.4f}" if run.spent else "" for run in runs)))
    return rows


def _settings(runs: Sequence[ComparedRun]) -> list[tuple[str, ...]]:
    names = _names([run.settings for run in runs])
    return [(name, *(_setting(run.settings.get(name)) for run in runs)) for name in names]


def _measured(run: ComparedRun) -> dict[str, float]:
    """The figures of the best epoch, its speed in place of its rows and seconds."""
    rows, seconds = run.figures.get("rows", 0), run.figures.get("seconds", 0)
    shown = {name: value for name, value in run.figures.items() if name not in ("rows", "seconds")}
    return shown | ({"samples/s": rows / seconds} if rows and seconds else {})


def _figures(prefix: str, figures: Sequence[Mapping[str, float]]) -> list[tuple[str, ...]]:
    return [
        (
            prefix + name.replace("_", " "),
            *(brief(measured[name]) if name in measured else "" for measured in figures),
        )
        for name in _names(figures)
    ]


def _names(mappings: Sequence[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _setting(value: JsonValue) -> str:
    return "" if value is None else value if isinstance(value, str) else orjson.dumps(value).decode()

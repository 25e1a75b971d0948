"""`raymaas init`: a folder to start from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from raymaas.errors import InvalidInput, Refused

app = typer.Typer()

STARTERS = ("train.yaml", "rows.json", "model.py", "README.md")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; made if need be.")] = Path(),
) -> None:
    """Write a job file, rows to predict, a model of your own to begin with, and how they go together.

    Example:

      raymaas init first-model && cd first-model && raymaas train train.yaml
    """
    for path in write_starters(folder):
        typer.echo(path)


def write_starters(folder: Path) -> list[Path]:
    """Write the starter files into `folder`; returns their paths.

    Raises Refused, having written nothing, when one of them is there already, and InvalidInput when `folder`
    cannot be written.
    """
    present = [name for name in STARTERS if (folder / name).exists()]
    if present:
        raise Refused(f"{folder / present[0]} exists and is not overwritten; give another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in STARTERS:
            text = files("raymaas").joinpath("templates", name).read_text(encoding="utf-8")
            # "x": a file that appeared since the check is not overwritten either.
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError as error:
        raise Refused(f"{error.filename} exists and is not overwritten; give another folder") from None
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be written: {error.strerror}; give another folder") from None
    return [folder / name for name in STARTERS]

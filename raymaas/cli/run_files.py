"""`raymaas runs report|front|tensorboard`: the files that runs leave for people, brought to this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raymaas.cli.show import client_of, notes
from raymaas.client.client import RunHandle
from raymaas.errors import InvalidInput, NotFound

app = typer.Typer()

_REPORT, _EVENTS, _FRONT = "report/", "tensorboard/", "front."


@app.command()
def report(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Run id, as `raymaas runs list` shows it.")],
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write report.md and its pictures there; absent: print the page."
        ),
    ] = None,
) -> None:
    """Show the report of a training: figures, learning curves, mistakes, samples.

    Every training leaves one: of the version it registered, or else of why it ended and how far it got.

    Example:

      raymaas runs report train-digits-9f31c2d4e5 --to report
    """
    with client_of(context) as client:
        run = client.run(run_id)
        names = _names(run, _REPORT)
        if not names:
            state = run.status().status.state
            raise NotFound(
                f"run {run_id!r} is {state} and has no report: a training leaves one when it ends, unless its driver "
                f"was killed. `raymaas runs show {run_id}` shows what it measured"
            )
        if to is None:
            typer.echo(run.file(f"{_REPORT}report.md").decode(), nl=False)
            notes().print(f"its pictures come with `raymaas runs report {run_id} --to FOLDER`")
            return
        written = _fetch(run, names, to)
    pictures = ", ".join(path.name for path in written if path.suffix == ".png")
    typer.echo(f"{to / 'report.md'} with {pictures}")


@app.command()
def front(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Run id, as `raymaas runs list` shows it.")],
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write front.html, front.png and front.csv there; absent: print the table.",
        ),
    ] = None,
) -> None:
    """Show the recipes of a compression: what each takes and is worth, and which none beats.

    While the search goes on it is the front so far. front.html needs no network: open it in a browser, point at a dot.

    Example:

      raymaas runs front compress-digits-9f31c2d4e5 --to front
    """
    with client_of(context) as client:
        run = client.run(run_id)
        names = _names(run, _FRONT)
        if not names:
            raise NotFound(
                f"run {run_id!r} has no front: a compression has one once its first recipe has ended. `raymaas runs "
                f"show {run_id}` shows how it stands"
            )
        if to is None:
            typer.echo(run.file(f"{_FRONT}csv").decode(), nl=False)
            notes().print(f"as a picture: `raymaas runs front {run_id} --to FOLDER`", soft_wrap=True)
            return
        written = _fetch(run, names, to)
    typer.echo(", ".join(str(path) for path in written))


@app.command()
def tensorboard(
    context: typer.Context,
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs to look at side by side.")],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="Where a folder for each run is written.")],
) -> None:
    """Bring the TensorBoard event files of trainings to this machine. Again, it brings what was added since.

    A store that is a folder needs no copy: `tensorboard --logdir STORE/runs` follows its runs as they go on.

    Example:

      raymaas runs tensorboard train-digits-9f31c2d4e5 --to events && tensorboard --logdir events
    """
    with client_of(context) as client:
        for run_id in run_ids:
            run = client.run(run_id)
            names = _names(run, _EVENTS)
            if not names:
                raise NotFound(
                    f"run {run_id!r} has no event files yet: a training writes them after its first epochs, other "
                    "jobs write none"
                )
            written = _fetch(run, names, to / run_id)
            typer.echo(f"{to / run_id}: {len(written)} event files")
    notes().print(
        f"look at them with `tensorboard --logdir {to}`, from `pip install tensorboard`", soft_wrap=True
    )


def _names(run: RunHandle, below: str) -> list[str]:
    return [file.name for file in run.files() if file.name.startswith(below)]


def _fetch(run: RunHandle, names: list[str], folder: Path) -> list[Path]:
    """Write the files `names` into `folder`. What is there under the same name is written over."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InvalidInput(f"{str(folder)!r} is a file; name a folder") from None
    written = []
    for name in names:
        path = folder / name.rpartition("/")[2]
        path.write_bytes(run.file(name))
        written.append(path)
    return written

"""`raymaas schema`: the JSON schema of job documents and of the passes of a recipe, for editors and for people."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from raymaas.cli.show import print_json
from raymaas.errors import InvalidInput
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import JOB_KINDS

app = typer.Typer()

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


@app.command()
def schema(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="Kind of job, such as train; or a pass of a recipe, such as prune."
        ),
    ],
) -> None:
    """Print the JSON schema of a kind of job, or of the settings of a compression's pass, with a sentence for each.

    Examples:

      raymaas schema train > train.schema.json

      raymaas schema quantize
    """
    print_json(job_schema(kind) if kind in JOB_KINDS else pass_schema(kind))


def job_schema(kind: str) -> dict[str, Any]:
    """The schema of what a job file of that known kind may say, its `kind` line included."""
    described = JOB_KINDS[kind].model_json_schema()
    described["properties"] = {"kind": {"const": kind}} | described["properties"]
    if kind != TrainJob.kind:
        described["required"] = ["kind", *described.get("required", [])]
    return {"$schema": _DRAFT} | described


def pass_schema(name: str) -> dict[str, Any]:
    """The schema of the settings of the pass called `name`. Raises InvalidInput for what is no pass either."""
    from raymaas.compress.recipe import PASSES, pass_called

    if name not in PASSES:
        raise InvalidInput(
            f"{name!r} is not a kind of job, which are {', '.join(sorted(JOB_KINDS))}, nor a pass, which are "
            f"{', '.join(sorted(PASSES))}"
        )
    return {"$schema": _DRAFT} | pass_called(name).Config.model_json_schema()

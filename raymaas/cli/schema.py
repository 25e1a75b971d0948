"""`raymaas schema`: the JSON schema of job documents, for editors and for people."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from raymaas.cli.show import print_json
from raymaas.errors import InvalidInput
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import JOB_KINDS

app = typer.Typer()


@app.command()
def schema(kind: Annotated[str, typer.Argument(metavar="KIND", help="Kind of job, such as train.")]) -> None:
    """Print the JSON schema of a kind of job, with a sentence for each field.

    Example:

      raymaas schema train > train.schema.json
    """
    print_json(job_schema(kind))


def job_schema(kind: str) -> dict[str, Any]:
    """The schema of what a job file of `kind` may say, its `kind` line included. Raises InvalidInput."""
    if kind not in JOB_KINDS:
        raise InvalidInput(f"{kind!r} is not a kind of job; known are {', '.join(sorted(JOB_KINDS))}")
    described = JOB_KINDS[kind].model_json_schema()
    described["properties"] = {"kind": {"const": kind}} | described["properties"]
    if kind != TrainJob.kind:
        described["required"] = ["kind", *described.get("required", [])]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | described

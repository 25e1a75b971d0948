"""Commands that need no server: init, schema, and what the others read from files and arguments."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from raymaas.cli.deploy import scaling_from, weights_from
from raymaas.cli.init import STARTERS, write_starters
from raymaas.cli.main import main
from raymaas.cli.predict import read_rows
from raymaas.cli.schema import job_schema, pass_schema
from raymaas.client.jobfile import read_job
from raymaas.compress.recipe import PASSES
from raymaas.errors import InvalidInput, RaymaasError, Refused

COMMANDS = (
    "up",
    "down",
    "status",
    "env",
    "data list",
    "data show",
    "data prepare",
    "train",
    "run",
    "quickstart",
    "runs list",
    "runs show",
    "runs front",
    "compress",
    "runs logs",
    "runs stop",
    "models list",
    "models show",
    "models history",
    "models card",
    "models policy show",
    "models policy set",
    "models policy remove",
    "deploy",
    "undeploy",
    "alias set",
    "traffic",
    "predict",
    "schema",
    "init",
    "gc",
    "models export",
    "models import",
    "models copy",
    "models import-weights",
)


def status_of(*arguments: str) -> int:
    """The exit status of one command."""
    with pytest.raises(SystemExit) as raised:
        main(list(arguments))
    return int(raised.value.code or 0)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(*command.split(), "--help") == 0
    shown = capsys.readouterr().out
    assert "Example" in shown
    assert f"raymaas {command}" in shown


def test_a_mistake_in_usage_has_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("runs", "list", "--limit", "0") == 2
    assert status_of("no-such-command") == 2
    assert "no-such-command" in capsys.readouterr().err


def test_an_error_is_one_line_on_stderr_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of("train", str(tmp_path / "[missing].yaml")) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert "[missing].yaml does not exist" in shown.err
    assert shown.err.count("\n") == 1


def test_init_writes_what_can_be_run(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert [path.name for path in write_starters(folder)] == list(STARTERS)
    job = read_job(folder / "train.yaml")
    rows = read_rows(str(folder / "rows.json"))
    assert (job.model, len(rows), {len(row) for row in rows}) == ("digits", 2, {64})
    assert job.model in (folder / "README.md").read_text()


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("mine")
    with pytest.raises(Refused, match=r"rows\.json exists"):
        write_starters(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


def test_init_into_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(RaymaasError):
        write_starters(tmp_path / "taken")


def test_the_starter_model_is_one_of_the_catalogues_kind(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    write_starters(tmp_path)
    scope: dict[str, object] = {"__name__": "starter"}
    exec(compile((tmp_path / "model.py").read_text(), "model.py", "exec", dont_inherit=True), scope)
    family = scope["ResidualMLP"]
    config = family.Config(in_features=5, classes=3)  # type: ignore[attr-defined]
    network = family(config)  # type: ignore[operator]
    rows = torch.arange(20.0).reshape(4, 5)
    scores = network(rows)
    assert scores.shape == (4, 3)
    torch.testing.assert_close(network(rows[:1]), scores[:1])
    assert network(rows[:0]).shape == (0, 3)


def test_the_schema_describes_the_file_with_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("schema", "train") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == job_schema("train")
    assert {"kind", "model", "data", "architecture", "training"} <= set(shown["properties"])
    assert shown["additionalProperties"] is False
    assert "kind" not in shown["required"], "a job file that names no kind is a train job"
    assert "kind" in job_schema("compress")["required"]


def test_the_settings_of_a_pass_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("schema", "quantize") == 0
    shown = json.loads(capsys.readouterr().out)
    assert {"bits", "grid", "rate"} <= shown["properties"].keys()
    assert all(field["description"] for field in shown["properties"].values())
    assert all(pass_schema(name)["properties"] for name in PASSES)
    with pytest.raises(
        InvalidInput, match="compress, evaluate, sweep, train, nor a pass, which are channels"
    ):
        pass_schema("trian")


def test_traffic_is_read_as_version_to_percent() -> None:
    assert weights_from(["1=90", "2=10"]) == {1: 90, 2: 10}
    for wrong in (["1"], ["1=ten"], ["prod=10"], ["1=-5"], ["1=50", "1=50"]):
        with pytest.raises(InvalidInput):
            weights_from(wrong)


def test_scaling_is_absent_when_no_option_names_it() -> None:
    assert scaling_from({"min_replicas": None, "threads": None}) is None
    chosen = scaling_from({"min_replicas": 2, "max_replicas": 4, "threads": None})
    assert chosen is not None
    assert (chosen.min_replicas, chosen.max_replicas, chosen.threads) == (2, 4, 1)
    with pytest.raises(InvalidInput, match="runtime"):
        scaling_from({"runtime": "tensorrt"})


def test_rows_are_lists_inputs_by_name_or_a_whole_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.json"
    for text, rows in (
        ("[[1, 2]]", [[1, 2]]),
        ('{"x": [[1, 2]]}', {"x": [[1, 2]]}),
        ('{"inputs": [[1, 2]]}', [[1, 2]]),
    ):
        path.write_text(text)
        assert read_rows(str(path)) == rows
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"[[3]]")))
    assert read_rows("-") == [[3]]


@pytest.mark.parametrize(
    ("text", "said"),
    [("[[1,\n2,,]]", r"rows\.json, line 2: not JSON"), ('"x"', "not rows"), ("", "not JSON")],
)
def test_rows_that_cannot_be_read_are_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(InvalidInput, match=said):
        read_rows(str(tmp_path / "rows.json"))
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_rows(str(tmp_path / "none.json"))

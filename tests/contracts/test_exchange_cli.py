"""`raymaas models export`, `import`, `copy` and `import-weights`, as typed, without a cluster, on disk and on S3."""

from __future__ import annotations

import io
import json
import shlex
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from s3_server import S3Server
from torch import nn

from raymaas.cli import exchange
from raymaas.cli.main import main
from raymaas.data.dataset import open_dataset, prepare
from raymaas.data.rows import Rows
from raymaas.data.split import Parts, split
from raymaas.jobs.origin import network_of, rows_of_version, trained_original
from raymaas.models import catalogue
from raymaas.registry.versions import Versions
from raymaas.specs.jobs import Component, Split
from raymaas.store import LocalStore, Store, open_store

Type = Callable[..., tuple[int, str, str]]

DIGITS = Component(use="digits")
MLP = Component(use="mlp", config={"in_features": 64, "classes": 10, "hidden": [128], "input_scale": 1.0})


@pytest.fixture
def raymaas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """Type a command in a folder of its own, at a home of its own; gives status, output and errors."""
    monkeypatch.setenv("RAYMAAS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["models", *arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    """A network somebody trained on the digits with PyTorch alone."""
    rows = digits(LocalStore(tmp_path_factory.mktemp("data"))).train
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = catalogue.build(MLP)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(torch.tensor(rows.x_ND)), torch.tensor(rows.y_N)).backward()
            optimizer.step()
    return network.eval()


@dataclass(frozen=True)
class Typed:
    """A folder where the example of the help was typed, and what it printed."""

    folder: Path
    out: str
    err: str


@pytest.fixture(scope="module")
def typed_example(fitted: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Typed:
    """Typed once: it exports a graph, which takes seconds. Its `mlp.pth` is the fitted network's."""
    folder, out, err = tmp_path_factory.mktemp("example"), io.StringIO(), io.StringIO()
    torch.save(fitted.state_dict(), folder / "mlp.pth")
    lines = [line.strip() for line in (exchange.import_weights.__doc__ or "").splitlines()]
    (example,) = [line for line in lines if line.startswith("raymaas models")]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("RAYMAAS_HOME", str(folder / "home"))
        patch.chdir(folder)
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(example)[1:])
    assert not ended.value.code, err.getvalue()
    return Typed(folder, out.getvalue(), err.getvalue())


@pytest.fixture
def registered(typed_example: Typed, tmp_path: Path) -> str:
    """What the example printed; what it left is in this test's own folder."""
    shutil.copytree(typed_example.folder, tmp_path, dirs_exist_ok=True)
    return typed_example.out


def digits(store: Store) -> Parts:
    return split(prepare(store, DIGITS), Split())


def answers(network: nn.Module, rows: Rows) -> np.ndarray:
    with torch.no_grad():
        return network(torch.tensor(rows.x_ND)).argmax(dim=1).numpy()


def versions_at(url: str | Path) -> Versions:
    return Versions(open_store(str(url)))


def test_the_example_of_the_help_registers_the_network_with_its_real_accuracy(
    registered: str, typed_example: Typed, fitted: nn.Module, tmp_path: Path
) -> None:
    assert "evaluating on 360 test rows" in typed_example.err
    store = open_store(str(tmp_path / "home" / "store"))
    version = Versions(store).get("digits", 1)
    rows = digits(store)
    accuracy = float((answers(fitted, rows.test) == rows.test.y_N).mean())
    assert accuracy > 0.9
    assert registered.startswith(f"registered digits@1: test accuracy {accuracy:.4f} ")
    assert version.runtimes == ("onnx", "torch")
    assert version.evaluation.fingerprint == rows.fingerprint
    assert version.lineage.job["weights"]["name"] == "mlp.pth"  # type: ignore[index, call-overload]
    assert open_dataset(store, "digits", version.lineage.data_fingerprint).card.rows == 1797


def test_what_was_imported_can_be_compressed_like_what_was_trained(
    registered: str, fitted: nn.Module, tmp_path: Path
) -> None:
    store = open_store(str(tmp_path / "home" / "store"))
    versions = Versions(store)
    version = versions.get("digits", 1)
    assert trained_original(versions, version) == version
    rows = rows_of_version(store, version)
    np.testing.assert_array_equal(rows.test.id_N, digits(store).test.id_N)
    np.testing.assert_array_equal(
        answers(network_of(versions, version), rows.test), answers(fitted, rows.test)
    )


def test_weights_are_imported_once_with_their_card(registered: str, raymaas: Type, tmp_path: Path) -> None:
    (tmp_path / "mlp.yaml").write_text("hidden: [128]\n")
    (tmp_path / "card.yaml").write_text("licence: cc-by-4.0\nlimits: [eight by eight pixels only]\n")
    typed = ["import-weights", "mlp.pth", "--model", "digits", "--architecture", "mlp", "--data", "digits"]
    assert raymaas(*typed, "--config", "{hidden: [128]}")[1] == registered
    status, out, _ = raymaas(*typed, "--config", "@mlp.yaml", "--card", "card.yaml", "--json")
    assert status == 0
    assert (json.loads(out)["version"], json.loads(out)["card"]["licence"]) == (2, "CC-BY-4.0")
    assert [v.version for v in versions_at(tmp_path / "home" / "store").list("digits")] == [2, 1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--config", "{hidden: [64]}"),
            r"mlp.pth does not fit architecture 'mlp': hidden.0.weight is float32 [128, 64]",
        ),
        (("--config", "{hiden: [64]}"), "did you mean 'hidden'?"),
        (("--config", "[64]"), "architecture.config: "),
        (("--config", "{"), "is not YAML"),
        (("--config", "@none.yaml"), "none.yaml does not exist"),
        (("--data", "digit"), "did you mean 'digits'?"),
        (("--transforms", "[{use: standardise}]"), "did you mean 'standardize'?"),
        (("--architecture", "mpl"), "did you mean 'mlp'?"),
        (("--model", "../up"), "is not a name"),
    ],
)
def test_a_mistake_in_an_import_of_weights_is_one_sentence(
    options: tuple[str, ...], said: str, fitted: nn.Module, raymaas: Type, tmp_path: Path
) -> None:
    torch.save(fitted.state_dict(), tmp_path / "mlp.pth")
    usual = {"--model": "digits", "--architecture": "mlp", "--data": "digits", "--config": "{hidden: [128]}"}
    typed = [part for option in (usual | dict([options])).items() for part in option]
    status, out, err = raymaas("import-weights", "mlp.pth", *typed)
    assert (status, out) == (1, "")
    assert said in err.splitlines()[-1]
    assert versions_at(tmp_path / "home" / "store").models() == []


def test_export_and_import_by_hand(registered: str, raymaas: Type, tmp_path: Path) -> None:
    status, out, _ = raymaas("export", "digits@1", "out")
    assert status == 0
    assert out.startswith("digits@1 is in out, digest ")
    digest, away = out.split()[-1], str(tmp_path / "away")
    status, out, _ = raymaas("import", "out", "--storage", away, "--digest", digest, "--model", "ours")
    assert (status, out.split(" of ")[0]) == (0, "ours@1 is digits@1")
    assert raymaas("import", "out", "--storage", away, "--model", "ours")[1] == out
    ours, theirs = versions_at(away).get("ours", 1), versions_at(tmp_path / "home" / "store").get("digits", 1)
    assert versions_at(away).read_files(ours) == versions_at(tmp_path / "home" / "store").read_files(theirs)
    for typed, said in (
        (("export", "digits@1", "out"), "not empty"),
        (("export", "digits@2", "new"), "latest is 1"),
        (("import", "out", "--digest", "0" * 64), "another version"),
        (("import", "out", "--model", "No"), "is not a name"),
        (("import", "nowhere"), "is not a folder"),
    ):
        status, out, err = raymaas(*typed)
        assert (status, out) == (1, "")
        assert said in err


def test_copies_go_to_s3_and_back(
    registered: str, raymaas: Type, tmp_path: Path, s3: S3Server, s3_prefix: str
) -> None:
    home, bucket, back = str(tmp_path / "home" / "store"), s3.url(s3_prefix), str(tmp_path / "back")
    for source, destination in ((home, bucket), (bucket, back), (back, home)):
        status, out, err = raymaas("copy", "digits@1", "--from", source, "--to", destination)
        assert status == 0, err
        assert out.startswith(f"digits@1 is digits@1 of {open_store(source).url}, ")
    first, there, last = (versions_at(url).get("digits", 1) for url in (home, bucket, back))
    assert versions_at(back).read_files(last) == versions_at(home).read_files(first)
    assert last.lineage.imported is not None
    assert there.lineage.imported is not None
    assert last.lineage.imported.manifest == there.lineage.imported.manifest
    assert [v.version for v in versions_at(home).list("digits")] == [1]

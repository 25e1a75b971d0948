"""Asking a served model: every way a user might, compared with the version's own bundle run in this process."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import httpx
import numpy as np

from raymaas.bundle.runtimes.opening import open_runtime
from raymaas.client import Client
from raymaas.data.dataset import open_dataset
from raymaas.data.split import split
from raymaas.errors import RaymaasError
from raymaas.serve.oip.describe import PLATFORM_PREFIX
from raymaas.specs.jobs import Split
from raymaas.specs.versions import ModelVersion
from raymaas.wiring import Registry

# Served answers come from the same runtime and bytes; batches of another size may round differently.
_TOLERANCE = 1e-5


class CheckFailed(RaymaasError):
    """A step of the walk did not give what it must."""

    code = "check-failed"


def held_out_rows(registry: Registry, manifest: ModelVersion, how: Split) -> np.ndarray:
    """The held-out rows of the data `manifest` was made from, float32 [N, D]."""
    dataset = open_dataset(registry.store, manifest.lineage.dataset, manifest.lineage.data_fingerprint)
    return split(dataset, how).test.x_ND


@dataclass(frozen=True, eq=False)
class Expected:
    """Rows, and what one version must answer for them: probabilities [N, C] of its own bundle, run here."""

    manifest: ModelVersion
    x_ND: np.ndarray
    p_NC: np.ndarray

    @classmethod
    def of(cls, registry: Registry, manifest: ModelVersion, x_ND: np.ndarray, *, runtime: str) -> Self:
        """Run in `runtime`: left to choose, this process may find another one faster than the replica did."""
        opened = open_runtime(manifest, partial(registry.versions.read_file, manifest), runtime=runtime)
        return cls(manifest, x_ND, opened.run({manifest.signature.inputs[0].name: x_ND})["probabilities"])

    @property
    def reference(self) -> str:
        return f"{self.manifest.model}@{self.manifest.version}"

    def require(self, p_BC: np.ndarray, rows: slice, *, way: str) -> None:
        """Raise CheckFailed unless `p_BC` is this version's answer for `rows`."""
        if p_BC.shape != self.p_NC[rows].shape or not np.allclose(
            p_BC, self.p_NC[rows], atol=_TOLERANCE, rtol=0
        ):
            raise CheckFailed(f"the answers of {self.reference} over {way} are not the model's own")


def served_runtime(url: str, manifest: ModelVersion, *, api_key: str | None) -> str:
    """The runtime that a replica of the version serves it with, as its metadata names it."""
    headers = {"x-api-key": api_key} if api_key else {}
    path = f"/v2/models/{manifest.model}/versions/{manifest.version}"
    answer = httpx.get(f"{url}{path}", headers=headers, timeout=30, trust_env=False)
    if answer.status_code != 200:
        raise CheckFailed(f"HTTP {answer.status_code} for the metadata of {path}: {answer.text[:300]}")
    return str(answer.json()["platform"]).removeprefix(PLATFORM_PREFIX)


def ask_with_client(client: Client, expected: Expected) -> None:
    """All rows in one request through the Python client, pinned to the version."""
    answer = client.model(expected.reference).predict(expected.x_ND)
    expected.require(answer.outputs["probabilities"], slice(None), way="the Python client")


def ask_over_http(url: str, expected: Expected, *, requests: int, api_key: str | None) -> None:
    """As somebody with curl would: Open Inference Protocol JSON, one row a request, no client of ours."""
    manifest, name = expected.manifest, expected.manifest.signature.inputs[0].name
    path = f"/v2/models/{manifest.model}/versions/{manifest.version}/infer"
    headers = {"x-api-key": api_key} if api_key else {}
    with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as http:
        for row in range(requests):
            data = expected.x_ND[row : row + 1]
            tensor = {"name": name, "datatype": "FP32", "shape": data.shape, "data": data.ravel().tolist()}
            answer = http.post(path, json={"inputs": [tensor]})
            if answer.status_code != 200:
                raise CheckFailed(f"HTTP {answer.status_code} for a test digit: {answer.text[:300]}")
            output = next(o for o in answer.json()["outputs"] if o["name"] == "probabilities")
            got = np.array(output["data"]).reshape(output["shape"])
            expected.require(got, slice(row, row + 1), way="plain HTTP")


def latencies_ms(client: Client, expected: Expected, *, requests: int) -> tuple[float, float]:
    """p50 and p99 of one-row requests to the version over one connection."""
    taken = []
    for row in range(requests):
        begun = time.perf_counter()
        client.model(expected.reference).predict(expected.x_ND[row % len(expected.x_ND)][None])
        taken.append((time.perf_counter() - begun) * 1e3)
    p50_ms, p99_ms = np.percentile(taken, [50, 99])
    return float(p50_ms), float(p99_ms)


def count_answers(
    client: Client, model: str, versions: dict[int, Expected], *, requests: int
) -> Counter[int]:
    """Ask the model without a pin, one row a request: answers by version, each compared with that version's own."""
    answers: Counter[int] = Counter()
    rows = len(next(iter(versions.values())).x_ND)
    for request in range(requests):
        row = request % rows
        answer = client.model(model).predict(next(iter(versions.values())).x_ND[row : row + 1])
        if answer.model_version not in versions:
            raise CheckFailed(f"version {answer.model_version} of {model!r} answered, which has no traffic")
        versions[answer.model_version].require(
            answer.outputs["probabilities"], slice(row, row + 1), way="the traffic split"
        )
        answers[answer.model_version] += 1
    return answers


class Steady:
    """A caller that goes on asking while something else happens, and remembers who answered when."""

    def __init__(self, url: str, model: str, row_1D: np.ndarray, *, api_key: str | None = None) -> None:
        self._url, self._model, self._row_1D = url, model, row_1D
        self._api_key = api_key
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="steady-caller")
        self.failures: list[str] = []
        self._answers: list[tuple[float, int]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def answered(self) -> int:
        return len(self._answers)

    def seconds_until_answered_by(self, version: int, *, since: float, timeout_s: float) -> float:
        """Seconds from `since` (time.monotonic) to the first answer of `version`; CheckFailed after `timeout_s`."""
        while time.monotonic() < since + timeout_s:
            found = [at for at, answerer in self._answers if answerer == version and at >= since]
            if found:
                return found[0] - since
            time.sleep(0.01)
        raise CheckFailed(f"no answer by version {version} within {timeout_s:g} s of the move")

    def seconds_until_only(
        self, version: int, *, since: float, timeout_s: float, quiet_s: float = 0.5
    ) -> float:
        """Seconds from `since` to the last request another version answered, once none did for `quiet_s` seconds."""
        while time.monotonic() < since + timeout_s:
            others = [at for at, answerer in self._answers if answerer != version and at >= since]
            last = max(others, default=since)
            later = [at for at, answerer in self._answers if answerer == version and at > last]
            if later and time.monotonic() - last > quiet_s:
                return last - since
            time.sleep(0.01)
        raise CheckFailed(
            f"version {version} is still not the only one to answer {timeout_s:g} s after the move"
        )

    def _ask(self) -> None:
        with Client(self._url, api_key=self._api_key) as client:
            while not self._stop.is_set():
                begun = time.monotonic()
                try:
                    answer = client.model(self._model).predict(self._row_1D[None])
                except RaymaasError as error:
                    self.failures.append(str(error))
                    time.sleep(0.05)
                else:
                    # When it was asked: only then is it sure that the move had been made.
                    self._answers.append((begun, answer.model_version))

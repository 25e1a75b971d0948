"""A served version, from outside: its answers, its refusals, its metrics, and what listens where."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import numpy as np
import psutil
import pytest
from journey_home import Home, everything_of, wait_until

from raymaas.bundle.files import GRAPH
from raymaas.bundle.runtimes.opening import open_runtime
from raymaas.errors import InvalidInput, NotFound, Unavailable
from raymaas.registry.layout import blob_key
from raymaas.registry.versions import VersionDraft, Versions
from raymaas.specs.names import Reference
from raymaas.store import LocalStore
from raymaas.wiring import open_registry

pytestmark = [pytest.mark.journey]


def requests_counted(home: Home) -> dict[str, float]:
    """`raymaas_requests_total` by HTTP status, as Prometheus would scrape it from the node."""
    text = httpx.get(f"http://127.0.0.1:{home.plan().metrics_port}/metrics", trust_env=False, timeout=60).text
    counts: dict[str, float] = {}
    for line in text.splitlines():
        if (
            line.startswith("ray_raymaas_requests_total{")
            and 'model="digits"' in line
            and 'version="1"' in line
        ):
            status = line.split('status="')[1].split('"')[0]
            counts[status] = counts.get(status, 0) + float(line.rsplit(" ", 1)[1])
    return counts


def test_answers_are_the_bundles_own(home: Home, digits: str, rows: np.ndarray) -> None:
    registry = open_registry(home.plan().storage)
    manifest = registry.versions.get("digits", Reference.parse(digits).version or 0)
    runtime = open_runtime(manifest, partial(registry.versions.read_file, manifest))

    with home.client() as client:
        prediction = client.model("digits").predict(rows[:100])

    assert prediction.model_version == 1
    expected = runtime.run({"x": rows[:100]})
    for name in ("logits", "probabilities"):
        np.testing.assert_allclose(prediction.outputs[name], expected[name], atol=1e-5)


def test_a_pin_an_alias_and_the_traffic_all_reach_the_version(
    home: Home, digits: str, rows: np.ndarray
) -> None:
    home.cli("alias", "set", "digits@prod", "1", RAYMAAS_URL=home.plan().url)

    with home.client() as client:
        for reference in ("digits", "digits@1", "digits@prod"):
            wait_until(
                lambda reference=reference: _answers(client, reference, rows),
                timeout_s=5,
                what=f"{reference} answers",
            )
        with pytest.raises(NotFound, match="did you mean 'digits'"):
            client.model("digit").predict(rows[:1])
        with pytest.raises(NotFound, match="9999"):
            client.model("digits@9999").predict(rows[:1])


def _answers(client: object, reference: str, rows: np.ndarray) -> bool:
    try:
        return client.model(reference).predict(rows[:1]).model_version == 1  # type: ignore[attr-defined, no-any-return]
    except NotFound:
        return False


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"inputs": [[1, 2]]}', "input 'x' must be FP32"),
        (b'{"inputs": [["a", "b"]]}', "input 'x': expected numbers of FP32, got a string"),
        (b'{"inputs": [[1, 2], [3]]}', "rows have different lengths"),
        (b'{"inputs": {"y": [[1]]}}', "input 'y' does not exist; this model takes x"),
        (b'{"rows": 1}', 'JSON object with "inputs"'),
        (b"{nonsense", "the body is not JSON"),
        (b'{"inputs": [[NaN]]}', "the body is not JSON"),
        (
            b'{"inputs": [{"name": "x", "shape": [1, 64], "datatype": "INT64", "data": [1]}]}',
            "input 'x': expected datatype FP32, got 'INT64'",
        ),
        (
            b'{"inputs": [{"name": "x", "shape": [9, 64], "datatype": "FP32", "data": [1]}]}',
            "shape [9, 64] holds 576 elements, the data has 1",
        ),
    ],
)
def test_bad_input_is_a_400_that_names_the_field(home: Home, digits: str, body: bytes, sentence: str) -> None:
    answer = httpx.post(
        f"{home.plan().url}/v2/models/digits/infer", content=body, trust_env=False, timeout=60
    )

    assert answer.status_code == 400, answer.text
    assert sentence in answer.json()["error"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_the_client_raises_what_the_server_raised(home: Home, digits: str) -> None:
    with home.client() as client, pytest.raises(InvalidInput, match="must be FP32"):
        client.model("digits").predict([[1.0, 2.0]])


def test_a_replica_answers_401_past_the_edge(home: Home, digits: str, rows: np.ndarray) -> None:
    slow_lane = f"http://127.0.0.1:{home.plan().serve_port}/models/digits/1/v2/models/digits/infer"
    body = {"inputs": rows[:1].tolist()}

    without = httpx.post(slow_lane, json=body, trust_env=False, timeout=60)
    wrong = httpx.post(slow_lane, json=body, headers={"x-raymaas-edge": "guess"}, trust_env=False, timeout=60)
    secret = (home.run_dir / "edge-secret").read_text()
    right = httpx.post(slow_lane, json=body, headers={"x-raymaas-edge": secret}, trust_env=False, timeout=60)

    assert (without.status_code, wrong.status_code, right.status_code) == (401, 401, 200)
    assert "edge" in without.json()["error"]


def test_a_version_whose_bytes_changed_in_the_store_never_answers(
    home: Home, digits: str, rows: np.ndarray
) -> None:
    store = LocalStore(Path(unquote(urlsplit(home.plan().storage).path)))
    whole = Versions(store).get("digits", 1)
    # Copies older than half a grace period are not shared: digits@1 must stay as it is.
    versions = Versions(store, grace=timedelta(seconds=2))
    said = {field: getattr(whole, field) for field in VersionDraft.model_fields}
    files = versions.read_files(whole)
    made = versions.publish(VersionDraft(**said | {"model": "flipped", "run_id": "flipped-1"}), files)
    blob = store.root / blob_key(made.files[GRAPH])
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)

    with home.client() as client:
        with pytest.raises(Unavailable, match=rf"{GRAPH} of flipped@1 is damaged"):
            client.deploy("flipped@1", timeout_s=120)
        with pytest.raises(Unavailable, match="flipped@1"):
            client.model("flipped@1").predict(rows[:1])
        client.undeploy("flipped@1", force=True)


def test_every_request_sent_is_counted_in_rays_metrics(home: Home, digits: str, rows: np.ndarray) -> None:
    # Reported every few seconds: what was sent before this test has to arrive first.
    before = _settled(home)
    with home.client() as client:
        for _ in range(23):
            client.model("digits").predict(rows[:1])
        for _ in range(4):
            with pytest.raises(InvalidInput):
                client.model("digits").predict([[1.0]])
    for _ in range(6):
        past_the_fast_lane(home, rows[:1])

    def difference() -> dict[str, float]:
        now = requests_counted(home)
        return {
            status: now[status] - before.get(status, 0)
            for status in now
            if now[status] != before.get(status, 0)
        }

    wait_until(
        lambda: difference() == {"200": 29, "400": 4}, timeout_s=40, what="29 answers and 4 errors counted"
    )
    _settled(home)
    assert difference() == {"200": 29, "400": 4}, "and none is counted twice"


def past_the_fast_lane(home: Home, rows: np.ndarray) -> None:
    """Asks Ray Serve's proxy, which edges do while no replica has announced itself."""
    plan = home.plan()
    answer = httpx.post(
        f"http://127.0.0.1:{plan.serve_port}/models/digits/1/v2/models/digits/infer",
        json={"inputs": rows.tolist()},
        headers={"x-raymaas-edge": (home.run_dir / "edge-secret").read_text()},
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == 200


def _settled(home: Home) -> dict[str, float]:
    """The counts once they no longer change from one report of the replica to the next."""
    counts, since = requests_counted(home), time.monotonic()
    deadline = since + 60
    while time.monotonic() - since < 12 and time.monotonic() < deadline:
        time.sleep(0.5)
        now = requests_counted(home)
        if now != counts:
            counts, since = now, time.monotonic()
    return counts


def test_everything_listens_on_loopback(home: Home, digits: str) -> None:
    exposed = []
    for identity in everything_of(home.plan(), home.table()):
        process = psutil.Process(identity.pid)
        for connection in process.net_connections(kind="inet"):
            address = connection.laddr.ip.removeprefix("::ffff:")
            if connection.status == psutil.CONN_LISTEN and address not in ("127.0.0.1", "::1"):
                exposed.append((process.name(), address, connection.laddr.port))

    # Ray Serve's own inter-deployment port has no setting (ray/serve/_private/replica.py binds [::]:0).
    assert all(name.startswith("ray::ServeReplica") for name, _, _ in exposed), exposed
    assert len(exposed) == len({name for name, _, _ in exposed}), exposed

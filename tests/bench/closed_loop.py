"""A closed loop: each connection asks again as soon as it was answered. The client is wrk, with one thread."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.bench.asked import Asked


@dataclass(frozen=True)
class Told:
    """What wrk says of some seconds."""

    per_s: float
    p50_ms: float
    failed: int


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        sys.exit("the client is wrk: apt-get install wrk, or brew install wrk, and run this again")


def closed_loop(asked: Asked, *, connections: int, seconds: int) -> Told:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "request.lua"
        script.write_text(_script(asked))
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--latency",
            "-s",
            str(script),
            asked.url,
        ]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    per_s = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    p50 = re.search(r"50%\s+([0-9.]+)(us|ms|s)", said)
    assert per_s, said
    assert p50, said
    failed = sum(int(count) for count in re.findall(r"Non-2xx or 3xx responses: (\d+)", said))
    failed += sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", said)))
    return Told(float(per_s[1]), float(p50[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[p50[2]], failed)


def _script(asked: Asked) -> str:
    quoted = "".join(f"\\{byte:03d}" for byte in asked.body)
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in asked.headers.items()]
    return "\n".join(['wrk.method = "POST"', f'wrk.body = "{quoted}"', *lines])

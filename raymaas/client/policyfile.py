"""Policy files: YAML to a promotion policy, with mistakes named by file and line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raymaas.client.yamlfile import Place, read_yaml
from raymaas.specs.policies import Policy

PolicySource = Policy | Mapping[str, Any] | str | Path

_START = "write one, such as `metrics: {accuracy: {at_least: 0.9}}`; `raymaas models policy set --help` has all fields"


def read_policy(policy: PolicySource) -> Policy:
    """The policy in a document, a mapping, or the YAML file at a path.

    Raises InvalidInput naming the file, the line and the field.
    """
    if isinstance(policy, Policy):
        return policy
    places: dict[Place, str] = {}
    if isinstance(policy, Mapping):
        return Policy.parse(dict(policy), source="policy")
    return Policy.parse(read_yaml(Path(policy), places, start=_START), source=str(policy), places=places)

"""What the fields of a message ask: which inputs and outputs they name, and what their parameters say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from raymaas.errors import InvalidInput
from raymaas.serve.oip.values import brief, kind_of
from raymaas.specs.versions import Signature, TensorSpec

_FOREIGN = ("classification", "shared_memory_region")


def wanted_outputs(outputs: Any, signature: Signature, *, binary: bool) -> dict[str, bool]:
    """The outputs asked for, all if none are, in the signature's order; and which of them in binary."""
    known = [spec.name for spec in signature.outputs]
    if not outputs and (outputs is None or outputs == []):
        return dict.fromkeys(known, binary)
    if not isinstance(outputs, list):
        raise InvalidInput(f'"outputs" must be a list of {{"name": ...}}, got {kind_of(outputs)}')
    wanted: dict[str, bool] = {}
    for output in outputs:
        asked = output if isinstance(output, dict) else {"name": output}
        name = asked.get("name")
        if not isinstance(name, str) or name not in known:
            raise InvalidInput(f"output {brief(name)} does not exist; this model has {', '.join(known)}")
        parameters = parameters_of(asked, f"output {name!r}")
        wanted[name] = flag(parameters, "binary_data", default=binary)
    return {name: wanted[name] for name in known if name in wanted}


def parameters_of(holder: Mapping[str, Any], whose: str) -> Mapping[str, Any]:
    """The parameters of a request, an input or an output; those unknown are let be, as the protocol has it."""
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidInput(f"the parameters of {whose} must be an object, got {kind_of(parameters)}")
    for name in _FOREIGN:
        if name in parameters:
            raise InvalidInput(f"the parameter {name!r} of {whose} is an extension this server does not have")
    return parameters


def flag(parameters: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInput(f"the parameter {name!r} must be true or false, got {kind_of(value)}")
    return value


def only_input(signature: Signature) -> TensorSpec:
    if len(signature.inputs) == 1:
        return signature.inputs[0]
    required = [spec for spec in signature.inputs if spec.default is None] or list(signature.inputs)
    if len(required) > 1:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise InvalidInput(f'this model takes several inputs; send {{"inputs": {{...}}}} with {names}')
    return required[0]


def refuse_unknown(names: Iterable[str], specs: Mapping[str, TensorSpec]) -> None:
    for name in names:
        if name not in specs:
            raise InvalidInput(f"input {brief(name)} does not exist; this model takes {', '.join(specs)}")

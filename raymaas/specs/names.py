"""Names and references: `digits`, `digits@3`, `digits@prod`. Nothing else ever becomes part of a path."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import AfterValidator, WithJsonSchema

from raymaas.errors import InvalidInput

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
NAME_SCHEMA = {"type": "string", "pattern": f"^{_NAME.pattern}$"}
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


def check_name(text: str) -> str:
    """`text` if it is a name, else ValueError with the grammar."""
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a name: use 1 to 63 of a-z 0-9 . _ - and begin with a letter or digit"
        )
    return text


def check_alias(text: str) -> str:
    """An alias is a name that cannot be read as a version number."""
    if check_name(text).isdigit():
        raise ValueError(f"{text!r} is not an alias: a number would be read as a version")
    return text


Name = Annotated[str, AfterValidator(check_name), WithJsonSchema(NAME_SCHEMA)]
AliasName = Annotated[str, AfterValidator(check_alias), WithJsonSchema(NAME_SCHEMA)]


def new_run_id(kind: str, model: str) -> str:
    """A fresh run id, such as `train-digits-9f31c2d4e5`: a valid name that no other run has."""
    return check_name(f"{kind}-{model[:40]}-{secrets.token_hex(5)}")


@dataclass(frozen=True)
class Reference:
    """A model, a version of it, or an alias of it; at most one of `version` and `alias` is set."""

    model: str
    version: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name`, `name@3` or `name@alias`. Raises InvalidInput with the form expected."""
        model, at, pointer = text.partition("@")
        try:
            check_name(model)
            if not at:
                return cls(model)
            if _VERSION.fullmatch(pointer):
                return cls(model, version=int(pointer))
            return cls(model, alias=check_alias(pointer))
        except ValueError as error:
            raise InvalidInput(
                f"{text!r} is not a reference such as digits, digits@3 or digits@prod: {error}"
            ) from None

    def __str__(self) -> str:
        pointer = self.alias if self.version is None else self.version
        return self.model if pointer is None else f"{self.model}@{pointer}"

"""What every document shares: strict fields, canonical JSON, a format number, and a digest of itself."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from types import UnionType
from typing import Annotated, Any, ClassVar, Self, Union, get_args, get_origin

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, PlainSerializer, ValidationError

from raymaas.errors import IntegrityError, InvalidInput


def utc_text(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds: sorts as text, and reads the same in every document."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _in_four_digits(moment: datetime) -> datetime:
    """Refuses the years that `utc_text` cannot write, or that may be such a year's in UTC."""
    if not 1000 < moment.year < 9999:
        raise ValueError("the year must be 1001 to 9998")
    return moment


Places = Mapping[tuple[int | str, ...], str]

Moment = Annotated[AwareDatetime, AfterValidator(_in_four_digits), PlainSerializer(utc_text, return_type=str)]


def canonical_json(value: Any) -> bytes:
    """The one encoding of `value`: sorted keys, no spaces, UTF-8. Non-finite floats would become null."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Spec(BaseModel):
    """A frozen part of a document. Unknown fields are refused, never dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, data: Any, *, source: str, places: Places | None = None) -> Self:
        """Validate `data`; on failure raise InvalidInput naming `source`, each field, and the nearest known name.

        `places` says where in `source` a field stands, e.g. `{("training", "epochs"): "line 7"}`, to name it too.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InvalidInput(f"{source}: " + "; ".join(explain(cls, error, places or {}))) from None


class Document(Spec):
    """A spec that crosses a process or disk border, sealed with its kind, format and digest.

    `seal` and `unseal` are the only way to and from bytes, so what is read is what was written or an error.
    """

    kind: ClassVar[str]
    format: ClassVar[int] = 1

    def seal(self) -> bytes:
        body = self.model_dump(mode="json")
        body |= {"kind": self.kind, "format": self.format}
        return canonical_json(body | {"digest": sha256_hex(canonical_json(body))})

    @classmethod
    def unseal(cls, raw: bytes, *, source: str) -> Self:
        """The document in `raw`.

        Raises IntegrityError when the bytes are not a sealed document of this kind or its digest differs, and
        InvalidInput when a newer raymaas wrote it.
        """
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise IntegrityError(f"{source} is not JSON; it was damaged or not written by raymaas") from None
        if not isinstance(body, dict) or "digest" not in body:
            raise IntegrityError(f"{source} carries no digest; it was damaged or not written by raymaas")
        digest = body.pop("digest")
        # Compared over the bytes, not the parsed value: a flip inside ignored whitespace must show as well.
        if digest != sha256_hex(canonical_json(body)) or raw != canonical_json(body | {"digest": digest}):
            raise IntegrityError(f"{source} does not match its own digest; nothing was loaded from it")
        kind, number = body.pop("kind", None), body.pop("format", None)
        if kind != cls.kind:
            raise IntegrityError(f"{source} is a {kind!r} document where {cls.kind!r} was expected")
        if not isinstance(number, int) or number < 1 or number > cls.format:
            raise InvalidInput(
                f"{source} has format {number} of {cls.kind!r}; this raymaas reads up to {cls.format}. Upgrade raymaas"
            )
        for older in range(number, cls.format):
            body = cls.upgraded(body, older)
        return cls.parse(body, source=source)

    @classmethod
    def upgraded(cls, body: dict[str, Any], number: int) -> dict[str, Any]:
        """The body of format `number` as format `number + 1` has it. A class that raises its format says how."""
        raise NotImplementedError(f"{cls.__name__} has format {cls.format} and does not read format {number}")


def explain(cls: type[BaseModel], error: ValidationError, places: Places) -> list[str]:
    """One sentence per problem, with the dotted path of the field and, for an unknown one, the nearest known name."""
    sentences = []
    for problem in error.errors():
        if (
            problem["type"] == "default_factory_not_called"
        ):  # its default follows from a field that is told of
            continue
        path = ".".join(str(part) for part in problem["loc"]) or "document"
        if place := _nearest(places, problem["loc"]):
            path = f"{place}: {path}"
        if problem["type"] == "extra_forbidden":
            known = _fields_at(cls, problem["loc"][:-1])
            near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
            sentences.append(f"{path}: unknown field; {hint}")
        elif problem["type"] == "missing":
            sentences.append(f"{path}: required field is missing")
        else:
            given = repr(problem["input"])
            message = problem["msg"].removeprefix("Value error, ")
            message = message[:1].lower() + message[1:]
            sentences.append(f"{path}: {message}, got {given if len(given) < 80 else given[:77] + '...'}")
    return sentences


def _nearest(places: Places, location: tuple[int | str, ...]) -> str | None:
    """The place of `location`, or of the closest field around it."""
    around = (location[:length] for length in range(len(location), 0, -1))
    return next((places[part] for part in around if part in places), None)


def _fields_at(cls: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The field names a document has at `location`."""
    at: Any = cls
    for part in location:
        found = [c for c in _classes_in(at) if isinstance(part, str) and part in c.model_fields]
        if found:
            at = found[0].model_fields[str(part)].annotation
    return [name for c in _classes_in(at) for name in c.model_fields]


def _classes_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, Annotated, list, tuple, dict, Mapping):
        return [c for arg in get_args(annotation) for c in _classes_in(arg)]
    return []


def _sentence_free(text: str) -> str:
    if "\n" in text:
        raise ValueError("must be one line")
    return text


OneLine = Annotated[str, AfterValidator(_sentence_free)]

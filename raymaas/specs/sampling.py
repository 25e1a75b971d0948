"""Sampling rules: of which requests a model's answers and feedback are kept, for how long, and with what hidden."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from raymaas.specs.base import Document, Moment, OneLine, Spec, utc_text
from raymaas.specs.names import Name

LABEL = "label"
REQUEST_ID = "request_id"
INPUT, OUTPUT = "in.", "out."
"""What the name of a field begins with: in.age is the input `age`, out.probabilities an output."""

_MASK = re.compile(r"hash|drop|round:(-?[0-9])")
_FIELD = re.compile(r"(in|out)\..+|label|request_id")


class Masking(NamedTuple):
    """What is done to a field: `digits` are those kept behind the point, of `round` alone."""

    how: Literal["hash", "drop", "round"]
    digits: int = 0

    def __str__(self) -> str:
        return f"round:{self.digits}" if self.how == "round" else self.how


def masking_of(mask: str) -> Masking:
    """What a mask such as `round:1` says. Raises ValueError for none."""
    found = _MASK.fullmatch(mask)
    if found is None:
        raise ValueError("a mask is hash, drop, or round:N with the digits to keep behind the point")
    if found[1] is not None:
        return Masking("round", int(found[1]))
    return Masking("hash" if mask == "hash" else "drop")


def _a_mask(text: str) -> str:
    masking_of(text)
    return text


def _a_field(text: str) -> str:
    if not _FIELD.fullmatch(text):
        raise ValueError(
            "a field is in.NAME for an input, out.NAME for an output, label (of feedback), or request_id"
        )
    return text


Mask = Annotated[str, AfterValidator(_a_mask)]
FieldName = Annotated[str, AfterValidator(_a_field)]


class SamplingRule(Spec):
    """What is kept of a model's requests. What a rule hides is hidden before anything is written.

    A request is kept or not by its id alone, so that its answer and its feedback are kept together.
    """

    rate: float = Field(gt=0, le=1, description="Share of the requests that are kept.")
    keep_days: int = Field(30, ge=1, le=36500, description="Days that they are kept.")
    masks: dict[FieldName, Mask] = Field(
        default_factory=dict,
        description="Field to what is done to it. drop: it is not kept. hash: a keyed SHA-256 is kept in its place, "
        "the same for the same value of this model. round:N: N digits behind the point are kept, of numbers.",
    )
    others: Literal["keep", "drop"] = Field(
        "keep", description="What is done to inputs and outputs that `masks` does not name."
    )

    @model_validator(mode="after")
    def _feedback_can_be_joined(self) -> SamplingRule:
        if self.masks.get(REQUEST_ID, "hash") != "hash":
            raise ValueError(
                "request_id joins answers and feedback: it may be hashed, not dropped or rounded"
            )
        return self

    def masking(self, field: str) -> Masking | None:
        """What is done to `field`; None: it is kept as it is."""
        if field in self.masks:
            return masking_of(self.masks[field])
        hidden = self.others == "drop" and field.startswith((INPUT, OUTPUT))
        return Masking("drop") if hidden else None


class SamplingRevision(Document):
    """One entry in the log of a model's sampling rules; the newest is in force."""

    kind = "sampling-rule"

    model: Name
    revision: int = Field(ge=1, description="Counts up by one with each change.")
    write_id: str
    rule: SamplingRule | None = Field(description="Null: nothing is kept from this revision on.")
    keep_days: int = Field(
        ge=1, description="So long is kept what was sampled before; the rule's own, or the last one's."
    )
    salt: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description="Key of the hashes. Hashes hide values from whoever sees what is kept; who can read this "
        "document as well can try values out.",
    )
    who: OneLine
    why: OneLine = ""
    at: Moment


@dataclass(frozen=True)
class KeptUnder:
    """The revisions that were in force while some rows were kept, newest first."""

    revisions: tuple[SamplingRevision, ...] = ()

    def mask(self, field: str, *, rounds: bool = True) -> str | None:
        """What the newest of them that hides `field` does, such as `in.age=hash`, and until when it was in force.

        None: those rows hold the field as it was; but rounded, if `rounds` is False.
        """
        ended = None
        for revision in self.revisions:
            masking = revision.rule.masking(field) if revision.rule else None
            if masking is not None and (rounds or masking.how != "round"):
                return f"{field}={masking}" + (f" until {utc_text(ended)}" if ended else "")
            ended = revision.at
        return None

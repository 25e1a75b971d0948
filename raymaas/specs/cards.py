"""Card: what a version's maker says of it: under which licence, what for, from what, and where it ends."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import AfterValidator, Field, StringConstraints

from raymaas.specs.base import Spec

CardField = Literal["licence", "intended_use", "data_sources", "limits"]
Text = Annotated[str, StringConstraints(strip_whitespace=True)]
Statement = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

_ONE_ID = re.compile(r"[A-Za-z0-9.-]+")


def check_licence_id(text: str) -> str:
    """The SPDX licence id that `text` is, in the list's own spelling. ValueError for anything else.

    One licence, no expression: whether "A OR B" is allowed where only A is would be a judgement.
    """
    if _ONE_ID.fullmatch(text) and not text.lower().startswith("licenseref-"):
        try:
            return canonicalize_license_expression(text)
        except InvalidLicenseExpression:
            pass
    raise ValueError("it must be one licence of the SPDX list, https://spdx.org/licenses, such as CC-BY-4.0")


class OtherLicence(Spec):
    """Terms that are not on the SPDX list."""

    other: Statement = Field(
        description="Which terms, and why none of the list, e.g. 'trained on our own mail'."
    )


def _checked(licence: str | OtherLicence) -> str | OtherLicence:
    if isinstance(licence, OtherLicence):
        return licence
    try:
        return check_licence_id(licence)
    except ValueError as error:
        raise ValueError(f"{error}; if none of it fits, {{other: the reason}}") from None


Licence = Annotated[str | OtherLicence, AfterValidator(_checked)]
"""`CC-BY-4.0`, or `{other: why}`."""


class Card(Spec):
    """What a version's maker says of it. Figures are not here: they come from the evaluation.

    Every field may be left out; a promotion policy says which ones an alias asks for.
    """

    licence: Licence | None = Field(
        default=None, description="SPDX id of the version's licence, or {other: the reason}."
    )
    intended_use: Text = Field("", description="What it is for, and what it is not for.")
    data_sources: tuple[Statement, ...] = Field(
        (), description="Where the rows came from, under which terms."
    )
    limits: tuple[Statement, ...] = Field((), description="Where it is known, or must be expected, to fail.")

    def gives(self, field: CardField) -> bool:
        return bool(getattr(self, field))


def licence_text(licence: Licence) -> str:
    return licence if isinstance(licence, str) else f"other: {licence.other}"

"""The catalogue of transforms: by name the settings, and the step that fitting makes of them.

Adding one means its file in `raymaas.data.transforms` and its line here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from raymaas.data.transforms.base import Step, Transform
from raymaas.data.transforms.impute import Impute, Imputed
from raymaas.data.transforms.one_hot import OneHot, OneHotCoded
from raymaas.data.transforms.standardize import Standardize, Standardized
from raymaas.data.transforms.tokenize import Tokenize, Tokenized
from raymaas.errors import InvalidInput

TRANSFORMS: Mapping[str, tuple[type[Transform], type[Step]]] = {
    "impute": (Impute, Imputed),
    "standardize": (Standardize, Standardized),
    "one_hot": (OneHot, OneHotCoded),
    "tokenize": (Tokenize, Tokenized),
}


def transform(name: str) -> tuple[type[Transform], type[Step]]:
    """The transform called `name`. Raises InvalidInput with the nearest known name."""
    if name not in TRANSFORMS:
        near = difflib.get_close_matches(name, TRANSFORMS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(TRANSFORMS))}"
        raise InvalidInput(f"transform {name!r} is unknown; {hint}")
    return TRANSFORMS[name]

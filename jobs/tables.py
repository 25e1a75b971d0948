"""The tables of jobs/README.md: each is written by a script of its own, which leaves the others as they are."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

PAGE = Path(__file__).parent / "README.md"


def written(heading: str, new: Mapping[str, str], *, known: Collection[str]) -> None:
    """Put the rows `new`, by the name in their first cell, under `heading`, which ends in the table's own head.

    Rows already there stay if they are among `known`. A page that has no such table gets it at its end.
    """
    title = heading.splitlines()[0]
    sections = re.split(r"^(?=## )", PAGE.read_text() if PAGE.exists() else "", flags=re.M)
    found = next((section for section in sections if section.startswith(f"{title}\n")), "")
    rows = {m[1]: m[0] for m in re.finditer(r"^\| (\w+) \| .*\|$", found, re.M)} | dict(new)
    kept = [row for name, row in sorted(rows.items()) if name in known]
    table = heading + "\n".join(kept) + "\n"
    if found:
        others = [table.rstrip("\n") if section is found else section.rstrip("\n") for section in sections]
    else:
        others = [*(section.rstrip("\n") for section in sections if section), table.rstrip("\n")]
    PAGE.write_text("\n\n".join(others) + "\n")

"""Sentences from the documentation inside numpy, scipy and scikit-learn, by the section they stand in.

What a sentence is for is in how it begins and how its words follow each other more than in which words there are,
so a bag of words is not enough. The docstrings follow the numpydoc style guide, which names the sections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import numpy as np
import pyarrow as pa

from raymaas.data.columns import INPUT
from raymaas.data.sources.base import DataFiles, Source
from raymaas.data.table import Learned, table_of_columns
from raymaas.errors import NotFound

CLASSES = ("note", "parameter", "return", "summary")
_PACKAGES = ("numpy", "scipy", "sklearn")
_SECTIONS = {"Parameters": "parameter", "Other Parameters": "parameter", "Returns": "return", "Notes": "note"}

_DOCSTRING = re.compile(r'^[ \t]*[rR]?"""(.*?)"""', re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(\w[\w ]*)\n-{3,} *$", re.MULTILINE)
_PARAGRAPH = re.compile(r"\n[ \t]*\n|\n(?= *[-*] )")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_NO_PROSE = (">>>", "..", "|", "$", ":math", "[")
_WORDS = range(5, 51)


class Docstrings(Source):
    """20,000 sentences of Python documentation by what they are: summary, parameter, return or note.

    The first sentence of a docstring or of an entry, and each of its notes, in numpy, scipy and scikit-learn as
    installed here: other releases have other sentences, and so another fingerprint. A sentence is 5 to 50 words
    in ASCII; one that stands in two kinds of sections is left out. The column is `text`.
    """

    def table(self, files: DataFiles) -> pa.Table:
        sections: dict[str, set[str]] = {}
        for docstring in _docstrings():
            for section, sentence in sectioned(docstring):
                sections.setdefault(sentence, set()).add(section)
        rows = sorted((text, found.pop()) for text, found in sections.items() if len(found) == 1)
        texts, labels = zip(*rows, strict=True)
        y_N = np.array([CLASSES.index(label) for label in labels])
        return table_of_columns(
            {INPUT + "text": pa.array(texts, pa.string())}, Learned("classes", CLASSES), y_N
        )


def sectioned(docstring: str) -> Iterator[tuple[str, str]]:
    """Each class and sentence of a docstring in the numpydoc style."""
    first, _, rest = docstring.partition("\n")
    opening, *sections = _HEADING.split(f"{first.strip()}\n{dedent(rest)}")
    for sentence in _sentences(_PARAGRAPH.split(opening.strip())[0])[:1]:
        yield "summary", sentence
    for heading, body in zip(sections[::2], sections[1::2], strict=True):
        section = _SECTIONS.get(heading.strip())
        if section == "note":
            for sentence in _sentences(body):
                yield section, sentence
        elif section is not None:
            for entry in _entries(body):
                for sentence in _sentences(entry)[:1]:
                    yield section, sentence


def _entries(body: str) -> Iterator[str]:
    """What is said of each name of a list: the lines indented below it."""
    lines: list[str] = []
    for line in [*body.split("\n"), "end"]:
        if line and not line[0].isspace():
            yield dedent("\n".join(lines))
            lines = []
        else:
            lines.append(line)


def _sentences(block: str) -> list[str]:
    """The sentences of paragraphs that are prose: no code, tables, formulas or lists of references."""
    found = []
    for paragraph in _PARAGRAPH.split(block):
        lines = [line.strip() for line in paragraph.split("\n")]
        if not any(line.startswith(_NO_PROSE) for line in lines):
            found += _SENTENCE_END.split(" ".join(line for line in lines if line))
    return [text for text in found if _is_sentence(text)]


def _is_sentence(text: str) -> bool:
    whole = text[:1].isupper() and text.endswith(".")
    return whole and text.isascii() and len(text.split()) in _WORDS


def _docstrings() -> Iterator[str]:
    for package in _PACKAGES:
        folder = _folder(package)
        for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
            if "tests" not in path.parts:
                yield from _DOCSTRING.findall(path.read_text("utf-8"))


def _folder(package: str) -> Path:
    spec = find_spec(package)  # looks for the package and does not import it
    if spec is None or not spec.submodule_search_locations:
        raise NotFound(f"{package} is not installed; `pip install raymaas[server]` brings it")
    return Path(spec.submodule_search_locations[0])

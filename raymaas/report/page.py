"""The page of a report: Markdown made of sections, each with text, a table or a picture, and the files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PAGE = "report.md"


@dataclass(frozen=True)
class Picture:
    """A PNG file of the report, and what it shows in words, for those who do not see it."""

    name: str
    shows: str
    png: bytes


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading: paragraphs of Markdown, and pictures after them."""

    title: str
    paragraphs: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()


def files_of(title: str, sections: Sequence[Section]) -> Mapping[str, bytes]:
    """The files of a report by name: `report.md` and its pictures. Sections without content are left out."""
    lines = [f"# {title}"]
    files: dict[str, bytes] = {}
    for section in sections:
        if not section.paragraphs and not section.pictures:
            continue
        lines += [f"## {section.title}", *section.paragraphs]
        for picture in section.pictures:
            lines.append(f"![{picture.shows}]({picture.name})")
            files[picture.name] = picture.png
    return {PAGE: ("\n\n".join(lines) + "\n").encode(), **files}


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; text that would break it is escaped."""
    cells = [[str(value).replace("|", "\\|").replace("\n", " ") for value in row] for row in (columns, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])


def block(text: str) -> str:
    """Text as it is, in a fenced block. A fence in the text itself ends neither."""
    longest = max((len(run) for run in _backticks(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _backticks(text: str) -> list[str]:
    return [run for run in "".join(c if c == "`" else " " for c in text).split(" ") if run]

"""What every source of data is: frozen settings that make a table, given where named files may be found."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import Field

from raymaas.data.sources.labelled import AskForLabelled
from raymaas.specs.base import Spec
from raymaas.specs.names import Name


def say_nothing(text: str) -> None:
    """For whoever does not want to hear how far it got."""


@dataclass(frozen=True)
class DataFiles:
    """Where files of sets known by name are: looked for in `folder`, then in `cache`, then fetched into `cache`.

    What is absent is not looked at; without a mirror nothing is ever downloaded. `say` hears of downloads.
    """

    folder: Path | None = None
    cache: Path | None = None
    mnist_mirror: str = ""
    say: Callable[[str], None] = say_nothing
    labelled: AskForLabelled | None = None
    """Gives answers of models that feedback labelled; absent where there is no store to read them from."""


class Source(Spec):
    """Settings of one source. The first line of a source's docstring is what `raymaas data list` says of it."""

    def called(self, use: str) -> str:
        """What the data set is called in the store."""
        return use

    @property
    def taken_once(self) -> bool:
        """Whether the rows that are read first hold for whoever reads these settings again: what they are read from
        passes away.
        """
        return False

    @abstractmethod
    def table(self, files: DataFiles) -> pa.Table:
        """All its rows. Raises InvalidInput, naming what is wrong and where, for data that cannot be used."""

    def tables(self, files: DataFiles) -> Iterable[pa.Table]:
        """The same rows, in more than one table when they may not fit in memory. Raises as `table`.

        They can be gone through several times, and are read each time.
        """
        return (self.table(files),)


@dataclass(frozen=True)
class Again(Iterable[pa.Table]):
    """Tables that are read whenever they are gone through."""

    read: Callable[[], Iterator[pa.Table]]

    def __iter__(self) -> Iterator[pa.Table]:
        return self.read()


class Importer(Source):
    """A source that reads files of the user's."""

    name: Name | None = Field(
        default=None, description="What to call the data set; default the importer's name."
    )
    classes: tuple[str, ...] | None = Field(
        default=None,
        min_length=2,
        description="The labels in the order of their indices; default those found, sorted. Others are refused.",
    )

    def called(self, use: str) -> str:
        return self.name or use

"""Artifacts: files that a run leaves for people to look at, its report, its TensorBoard events and its front.

Their names are such as `report/learning.png`. They are written once and never change, but for the front of a search
under way (see `registry.fronts`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Literal, get_args

from raymaas.errors import AlreadyExists, InvalidInput, NotFound
from raymaas.registry.fronts import FRONT_FILES, Fronts
from raymaas.registry.layout import artifacts_folder
from raymaas.specs.runs import RunFile
from raymaas.store import Store, check_key

Kind = Literal["report", "tensorboard"]
_KINDS: tuple[Kind, ...] = get_args(Kind)
_PAGE = 1000


class Artifacts:
    """The files that one run in a store has left."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self.run_id = run_id
        self.front = Fronts(store, run_id)

    def keep(self, name: str, data: bytes) -> None:
        """Keep a file. One that is there already stays: the run was carried out before, as far as there."""
        with suppress(AlreadyExists):
            self._store.create(self._key(name), data)

    def list(self) -> tuple[RunFile, ...]:
        """All of them, by name."""
        root = self._root()
        kept = tuple(
            RunFile(name=key.removeprefix(root), bytes=self._store.size(key))
            for kind in _KINDS
            for key in self._under(artifacts_folder(self.run_id, kind))
        )
        return (*self.front.list(), *kept)

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises NotFound, and InvalidInput for what cannot be the name of one."""
        try:
            return self.front.read(name) if name in FRONT_FILES else self._store.read(self._key(name))
        except NotFound:
            raise NotFound(
                f"run {self.run_id!r} has no file {name!r}; `raymaas runs show {self.run_id}` names those it has"
            ) from None

    def _key(self, name: str) -> str:
        kind = name.partition("/")[0]
        if kind not in _KINDS:
            raise InvalidInput(
                f"{name!r} is no file of a run; they begin with {'/, '.join(_KINDS)}/, or are {', '.join(FRONT_FILES)}"
            )
        return check_key(f"{self._root()}{name}")

    def _root(self) -> str:
        return artifacts_folder(self.run_id, "report").removesuffix("report/")

    def _under(self, folder: str) -> Iterator[str]:
        after = None
        while True:
            page = self._store.list(folder, after=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1]

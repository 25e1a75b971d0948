"""Widths: the numbers of alike units that a network could have fewer of, and how each unit lies in its weights.

A unit is whatever can be taken out alone: a hidden unit, a map of a convolution, a group of maps that are normalised
together, an attention head, a cell's state. Once all its weights are zero, the network computes the same without it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """Where a config says how many units there are: `each` for every one, and in a word, after `before`.

    ("hidden", 0) is the first of `hidden`; with `each` 4, three units are written as 12.
    """

    place: tuple[str | int, ...]
    each: int = 1
    before: str = ""

    def value(self, units: int) -> int | str:
        """What stands there for that many."""
        return f"{self.before}{units * self.each}" if self.before else units * self.each


@dataclass(frozen=True)
class Along:
    """How the units lie along dimension `dim` of a tensor: one after another, `run` values each, `times` over.

    A flattened convolution has runs, of the values of each map; a cell has all its units once for every gate.
    """

    tensor: str
    dim: int = 0
    run: int = 1
    times: int = 1


@dataclass(frozen=True)
class Width:
    """So many units, the settings that say so, and all the weights they have. Of others, none belong to one unit.

    Widths with the same settings can only be changed alike: each keeps as many units, and may keep others.
    """

    units: int
    settings: tuple[Setting, ...]
    along: tuple[Along, ...]


def out_of(layer: str) -> tuple[Along, ...]:
    """The weights of `layer` that make the units."""
    return Along(f"{layer}.weight"), Along(f"{layer}.bias")


def normalised(conv: str, norm: str, *, run: int) -> tuple[Along, ...]:
    """The weights of a convolution without a bias that make groups of `run` maps, and of the norm that shifts them."""
    return tuple(Along(name, run=run) for name in (f"{conv}.weight", f"{norm}.weight", f"{norm}.bias"))


def into(layer: str, *, run: int = 1) -> Along:
    """The weights of `layer` that the units are multiplied with."""
    return Along(f"{layer}.weight", dim=1, run=run)

"""Deleting a version: first a move of its model's state, then its tombstone.

The state decides, because only it can refuse a version that is deployed or has an alias while another move is
under way: of a deletion and a deployment from one revision one wins, and the other sees it. The tombstone
is what everyone else reads. A crash between the two leaves a state that names the deletion; no move may
name that version from then on, and the next deletion writes the missing tombstone before its own.
"""

from __future__ import annotations

from raymaas.registry import moves
from raymaas.registry.moves import Stamp
from raymaas.registry.states import States
from raymaas.registry.tombstones import Tombstones
from raymaas.specs.serving import ModelState

_ATTEMPTS = 5


def delete_version(
    states: States, tombstones: Tombstones, model: str, version: int, *, who: str, why: str = ""
) -> ModelState:
    """Afterwards `model@version` has a tombstone; returns the state that now holds. Repeating it is harmless.

    Raises NotFound when it does not exist or was deleted before, Refused when it is deployed or an alias
    points at it, and AlreadyExists, Unavailable or OutcomeUnknown as a move does: then delete it again.
    """

    def step(state: ModelState | None, stamp: Stamp) -> ModelState:
        pending = state.deletion if state else None
        if pending is not None:
            tombstones.set(model, pending)
        if pending is None or pending.version != version:
            tombstones.require_alive(model, version)
        return moves.delete(state, stamp, version=version)

    state = states.move(model, step, who=who, why=why, attempts=_ATTEMPTS)
    if state.deletion is not None:
        tombstones.set(model, state.deletion)
    return state

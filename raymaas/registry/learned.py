"""Learned: which data sets, made from feedback, hold the rows of a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from raymaas.errors import NotFound
from raymaas.specs.datasets import DatasetCard
from raymaas.specs.feedback import FEEDBACK_ROWS
from raymaas.specs.requests import RequestRecord
from raymaas.store import Store

CardOf = Callable[[str, str], DatasetCard | None]
"""The card of the data set with that name and fingerprint; None when the store does not have it."""

_COLUMN = "kept.request_id"


def datasets_with(store: Store, request: RequestRecord, *, card_of: CardOf) -> Iterator[str]:
    """Fingerprints of the data sets in `store` that hold rows of `request`, by what they kept of its id.

    Ids that a sampling rule hashed are not found by the id itself.
    """
    name = f"{FEEDBACK_ROWS}-{request.model}"
    for fingerprint in store.children(f"datasets/{name}/"):
        card = card_of(name, fingerprint)
        if card is not None and _may_hold(card, request) and _holds(store, card, request.request_id):
            yield fingerprint


def _may_hold(card: DatasetCard, request: RequestRecord) -> bool:
    made = card.feedback
    return made is not None and request.model == made.model and request.version in made.versions


def _holds(store: Store, card: DatasetCard, request_id: str) -> bool:
    # Only who asks for a request's lineage needs it.
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for number in range(len(card.parts) or 1):
        try:
            raw = store.read(f"datasets/{card.name}/{card.fingerprint}/part-{number}.parquet")
        except NotFound:
            continue
        ids = pq.read_table(pa.BufferReader(raw), columns=[_COLUMN])[_COLUMN]
        if pc.any(pc.equal(ids, request_id), min_count=0).as_py():
            return True
    return False

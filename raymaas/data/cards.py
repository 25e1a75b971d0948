"""Where a data set lies in the store, and its card without its rows."""

from __future__ import annotations

import re

from raymaas.errors import InvalidInput, NotFound
from raymaas.specs.datasets import DatasetCard
from raymaas.specs.names import check_name
from raymaas.store import Store

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def dataset_folder(name: str, fingerprint: str) -> str:
    """Folder of the data set, without the last '/'. Raises InvalidInput for what is no name or no fingerprint."""
    try:
        check_name(name)
    except ValueError as error:
        raise InvalidInput(str(error)) from None
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise InvalidInput(f"{fingerprint!r} is not a fingerprint: 64 hexadecimal digits")
    return f"datasets/{name}/{fingerprint}"


def card_key(name: str, fingerprint: str) -> str:
    """The card is written last, so that its appearance is the publication."""
    return f"{dataset_folder(name, fingerprint)}/card.json"


def taken_key(name: str, settings_sha256: str) -> str:
    """Where it says which data set settings of a source mean, of one whose rows are taken once."""
    return f"datasets-taken/{name}/{settings_sha256}.json"


def find_card(store: Store, name: str, fingerprint: str) -> DatasetCard | None:
    """The card of a prepared data set; None when it was never prepared in this store, or is gone."""
    try:
        key = card_key(name, fingerprint)
        sealed = store.read(key)
    except (InvalidInput, NotFound):
        return None
    return DatasetCard.unseal(sealed, source=key)

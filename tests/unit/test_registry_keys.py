"""API keys in the store: who may be given one, what is kept of it, and what must hold of all of them."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from datetime import UTC, datetime

import pytest

from raymaas.errors import AlreadyExists, InvalidInput, NotFound, Refused
from raymaas.registry.keys import Keys
from raymaas.specs.keys import Grant, KeyRing, RateLimit
from raymaas.store import MemoryStore, Store

OPS = Grant(name="ops", scopes=("admin",))
SHOP = Grant(name="shop", models=("digits*",), limit=RateLimit(requests_per_s=5, burst=10))


@pytest.fixture
def store() -> Store:
    return MemoryStore(lambda: datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def keys(store: Store) -> Keys:
    keys = Keys(store)
    keys.create(OPS, who="me")
    return keys


def all_bytes(store: Store) -> bytes:
    return b"".join(store.read(key) for key in store.list(""))


def ring_of(keys: Keys) -> KeyRing:
    ring = keys.ring()
    assert ring is not None
    return ring


def test_a_key_is_random_and_only_its_digest_is_kept(store: Store, keys: Keys) -> None:
    new = keys.create(SHOP, who="ana", why="web shop")
    found = re.fullmatch(r"rmk_([0-9a-f]{8})_([A-Za-z0-9_-]+)", new.text)
    assert found
    assert found[1] == new.kept.key_id
    assert len(urlsafe_b64decode(found[2] + "=" * (-len(found[2]) % 4))) >= 24
    assert keys.create(SHOP, who="ana").text != new.text
    assert found[2].encode() not in all_bytes(store)
    assert found[2] not in repr(new)
    assert new.kept.facts().model_dump().keys().isdisjoint({"sha256", "key", "text"})


def test_a_key_lets_its_holder_in_until_it_is_revoked(store: Store, keys: Keys) -> None:
    new = keys.create(SHOP, who="ana")
    holder = ring_of(keys).holder_of(new.text)
    assert holder is not None
    assert (holder.name, holder.scopes, holder.created_by) == ("shop", ("predict",), "ana")
    assert [
        ring_of(keys).holder_of(text) for text in ("", "rmk_", new.text[:-1], new.text + "A", "\udcff")
    ] == [None] * 5

    revoked = keys.revoke("shop", who="bob", why="leaked")
    assert (revoked.revoked_by, revoked.live) == ("bob", False)
    assert ring_of(keys).holder_of(new.text) is None
    assert ring_of(Keys(store)).change.why == "leaked"
    again = keys.revoke(f"rmk_{revoked.key_id}", who="eve")
    assert (again, ring_of(keys).revision) == (revoked, 3)


def test_a_second_reader_sees_what_the_first_wrote(store: Store, keys: Keys) -> None:
    other = Keys(store)
    assert ring_of(other).revision == 1
    new = keys.create(SHOP, who="ana")
    assert ring_of(other).holder_of(new.text)
    assert Keys(MemoryStore(lambda: datetime(2026, 1, 1, tzinfo=UTC))).ring() is None


def test_the_first_key_is_an_admins_and_the_last_admin_stays(store: Store, keys: Keys) -> None:
    fresh = MemoryStore(lambda: datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidInput, match="first key must be an admin's"):
        Keys(fresh).create(SHOP, who="ana")
    assert fresh.list("") == []

    keys.create(SHOP, who="ana")
    with pytest.raises(Refused, match=r"last key with scope admin.*create another first"):
        keys.revoke("ops", who="ana")
    keys.create(Grant(name="ops2", scopes=("admin",)), who="ana")
    assert not keys.revoke("ops", who="ana").live


def test_two_keys_of_one_name_let_a_caller_change_over_and_are_revoked_by_id(keys: Keys) -> None:
    old, new = keys.create(SHOP, who="ana"), keys.create(SHOP, who="ana")
    with pytest.raises(AlreadyExists, match=rf"'shop' has 2 live keys already, rmk_{old.kept.key_id} and "):
        keys.create(SHOP, who="ana")
    with pytest.raises(InvalidInput, match=f"rmk_{old.kept.key_id} and rmk_{new.kept.key_id}; say which"):
        keys.revoke("shop", who="ana")
    # A whole key, pasted, names itself.
    keys.revoke(old.text, who="ana")
    assert ring_of(keys).holder_of(old.text) is None
    assert ring_of(keys).holder_of(new.text)
    keys.revoke("shop", who="ana")
    assert ring_of(keys).holder_of(new.text) is None


def test_what_names_no_key_is_told_without_the_secret_in_it(keys: Keys) -> None:
    with pytest.raises(NotFound, match="'rmk_00000000'") as raised:
        keys.revoke("rmk_00000000_CANARY", who="ana")
    assert "CANARY" not in str(raised.value)


def test_of_concurrent_changes_both_are_kept(store: Store) -> None:
    class Overtaken(Keys):
        """Another writes between this one's look and its write, once."""

        overtaken = False

        def ring(self) -> KeyRing | None:
            seen = super().ring()
            if not self.overtaken:
                self.overtaken = True
                Keys(store).create(SHOP, who="other")
            return seen

    Keys(store).create(OPS, who="me")
    Overtaken(store).create(Grant(name="mail"), who="me")
    assert [key.name for key in ring_of(Keys(store)).keys] == ["ops", "shop", "mail"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "Shop"}, "name"),
        ({"name": "rmk_1"}, "must not begin with rmk_"),
        ({"name": "a", "scopes": []}, "scopes"),
        ({"name": "a", "scopes": ["root"]}, "scopes"),
        ({"name": "a", "scopes": ["admin", "admin"]}, "named twice"),
        ({"name": "a", "scopes": ["admin"], "models": ["digits"]}, "models or admin, not both"),
        ({"name": "a", "models": ["../x"]}, "pattern such as"),
        ({"name": "a", "limit": {"requests_per_s": 0, "burst": 1}}, "requests_per_s"),
        ({"name": "a", "limit": {"requests_per_s": 0.01, "burst": 100}}, "lower burst"),
    ],
)
def test_what_cannot_be_granted_is_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Grant.parse(given, source="key")


def test_models_are_names_and_patterns_and_none_means_all() -> None:
    assert Grant(name="a").may_ask("anything")
    some = Grant(name="a", models=("digits", "churn-*"))
    assert [some.may_ask(model) for model in ("digits", "digits2", "churn-eu", "churn")] == [
        True,
        False,
        True,
        False,
    ]

"""Servers: every slot has its version's replicas and the proxies behind them; old ones leave when they can."""

from __future__ import annotations

import pytest

from raymaas.errors import InvalidInput, Unavailable
from raymaas.serve.edge.config import REPLICA
from raymaas.serve.edge.routes import Routes
from raymaas.serve.edge.servers import Addresses, Server, parse_servers, plan_servers
from raymaas.specs.serving import EdgeTable, EdgeTarget


def test_a_missing_server_is_added_and_one_in_maintenance_is_made_ready() -> None:
    running = [Server("slot00", "10.0.0.1:8000", in_maintenance=True), Server("control", "10.0.0.9:1", False)]
    assert plan_servers(Addresses(("10.0.0.1:8000",)), running, slots=2) == [
        "set server slot00/10.0.0.1:8000 state ready",
        "add server slot01/10.0.0.1:8000 10.0.0.1:8000 backup",
        "set server slot01/10.0.0.1:8000 state ready",
    ]


def test_an_unwanted_server_gets_no_request_and_is_deleted_until_it_is_gone() -> None:
    running = [Server("slot00", "10.0.0.1:8000", in_maintenance=False)]
    assert plan_servers(Addresses(), running, slots=1) == [
        "set server slot00/10.0.0.1:8000 state maint",
        "del server slot00/10.0.0.1:8000",
    ]
    waiting = [Server("slot00", "10.0.0.1:8000", in_maintenance=True)]
    assert plan_servers(Addresses(), waiting, slots=1) == ["del server slot00/10.0.0.1:8000"]
    assert plan_servers(Addresses(), [], slots=1) == []


def test_an_ipv6_server_is_named_without_brackets() -> None:
    assert (
        plan_servers(Addresses(("[::1]:80",)), [], slots=1)[0] == "add server slot00/::1:80 [::1]:80 backup"
    )


def table(proxies: tuple[str, ...], *replicas: str) -> EdgeTable:
    target = EdgeTarget(model="digits", version=2, path_prefix="/models/digits/2", replicas=replicas)
    return EdgeTable(revision="r", proxies=proxies, targets=(target,))


ROUTES = Routes(slots={("digits", 2): 1})


def test_a_replica_is_added_to_the_slot_of_its_version_only_and_is_asked_whether_it_lives() -> None:
    to = Addresses.of(table(("10.0.0.1:8000",), "10.0.0.2:4000", "10.0.0.2:4000"), ROUTES)
    proxies = [Server(f"slot0{slot}", "10.0.0.1:8000", in_maintenance=False) for slot in (0, 1)]

    assert plan_servers(to, proxies, slots=2) == [
        f"add server slot01/10.0.0.2:4000 10.0.0.2:4000 {REPLICA}",
        "enable health slot01/10.0.0.2:4000",
        "set server slot01/10.0.0.2:4000 state ready",
    ]
    there = [*proxies, Server("slot01", "10.0.0.2:4000", in_maintenance=False)]
    assert plan_servers(to, there, slots=2) == []
    assert plan_servers(Addresses.of(table(("10.0.0.1:8000",)), ROUTES), there, slots=2) == [
        "set server slot01/10.0.0.2:4000 state maint",
        "del server slot01/10.0.0.2:4000",
    ]


@pytest.mark.parametrize(
    "address",
    [
        "head:8000",
        "127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:99999",
        "::1:80",
        "[127.0.0.1]:80",
        "127.0.0.1:80; shutdown",
    ],
)
def test_what_is_not_an_address_is_refused_by_name(address: str) -> None:
    with pytest.raises(InvalidInput, match="is not an address such as"):
        Addresses.of(table((address,)), ROUTES)
    with pytest.raises(InvalidInput, match="is not an address such as"):
        Addresses.of(table((), address), ROUTES)


def test_a_proxy_named_twice_counts_once() -> None:
    assert Addresses.of(table(("1.2.3.4:5", "[::1]:6", "1.2.3.4:5")), ROUTES).proxies == (
        "1.2.3.4:5",
        "[::1]:6",
    )


def test_a_list_of_servers_in_another_form_is_not_guessed_at() -> None:
    with pytest.raises(Unavailable, match=r"2\.8"):
        parse_servers("2\n# be_id be_name\n")

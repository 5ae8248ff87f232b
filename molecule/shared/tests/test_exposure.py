"""What must not be reached from outside is not."""

from __future__ import annotations

import ipaddress
import socket

from fleet import Fleet

WORLD = {80, 443}


def listening(fleet: Fleet, host: str) -> set[tuple[str, int]]:
    """Address and port of every TCP socket that waits on a host."""
    sockets = set()
    for line in fleet.output(host, "ss --no-header --listening --numeric --tcp").splitlines():
        address, _, port = line.split()[3].rpartition(":")
        sockets.add((address.strip("[]").split("%")[0], int(port)))
    return sockets


def refused(address: str, port: int) -> bool:
    """Whether a connection from here is turned down."""
    try:
        with socket.create_connection((address, port), timeout=2):
            return False
    except OSError:
        return True


def test_only_nginx_listens_to_the_world(fleet: Fleet) -> None:
    for host in fleet.hosts:
        private = {fleet.variable("synapse_address", "127.0.0.1", host), "127.0.0.1"}
        world = WORLD if host in fleet.edges else set()
        open_to_all = {
            f"{address}:{port}"
            for address, port in listening(fleet, host)
            if address not in private and not (address not in ("*",) and ipaddress.ip_address(address).is_loopback)
            and port not in world
        }  # fmt: skip
        assert not open_to_all, host


def test_the_status_page_answers_on_the_host_itself_only(fleet: Fleet) -> None:
    for host in fleet.edges:
        page = fleet.output(host, "curl --silent --show-error --fail http://127.0.0.1:8089/nginx_status")
        assert "Active connections" in page
        assert refused(fleet.ip(host), 8089)


def test_no_port_of_a_process_is_open_on_an_edge_of_one_host(fleet: Fleet) -> None:
    if len(fleet.hosts) > 1:
        # There the other hosts reach the workers, and this machine is in their network.
        return
    (host,) = fleet.hosts
    ports = {port for _address, port in listening(fleet, host)} - WORLD
    assert {8008, 9093, 21000, 5432, 6379, 8089} <= ports
    assert not [port for port in sorted(ports) if not refused(fleet.ip(host), port)]

"""What must not be reached from outside is not."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import NamedTuple

from fleet import Fleet


class Socket(NamedTuple):
    """A TCP socket that waits."""

    address: str
    port: int
    program: str

    @property
    def private(self) -> bool:
        """Whether only the host itself can reach it."""
        return self.address != "*" and ipaddress.ip_address(self.address).is_loopback


def listening(fleet: Fleet, host: str) -> list[Socket]:
    """Every socket that waits on a host; of two programs at one, the first."""
    sockets = []
    for line in fleet.output(host, "ss --no-header --listening --numeric --tcp --processes").splitlines():
        address, _, port = line.split()[3].rpartition(":")
        program = re.search(r'users:\(\("([^"]+)"', line)
        sockets.append(Socket(address.strip("[]").split("%")[0], int(port), program[1] if program else ""))
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
        own = fleet.variable("synapse_address", "127.0.0.1", host)
        others = [one for one in listening(fleet, host) if not one.private and one.address != own]
        assert {one.program for one in others} <= {"nginx"}, host
        if host in fleet.edges:
            assert {one.port for one in others} <= {80, 443}


def test_the_status_page_answers_on_the_host_itself_only(fleet: Fleet) -> None:
    for host in fleet.edges:
        page = fleet.get(host, "http://127.0.0.1:8089/nginx_status")
        assert "Active connections" in page
        assert refused(fleet.ip(host), 8089)


def test_no_port_of_a_process_is_open_on_an_edge_of_one_host(fleet: Fleet) -> None:
    if len(fleet.hosts) > 1:
        # There the other hosts reach the workers, and this machine is in their network.
        return
    (host,) = fleet.hosts
    ports = {one.port for one in listening(fleet, host) if one.program != "nginx"} | {8089}
    assert {8008, 9093, 21000, 5432, 6379} <= ports
    assert not [port for port in sorted(ports) if not refused(fleet.ip(host), port)]

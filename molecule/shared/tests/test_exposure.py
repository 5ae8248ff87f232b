"""What must not be reached from outside is not."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import NamedTuple

import pytest
from fleet import SERVICE, Fleet
from outsider.edge import Edge
from outsider.scan import HIDDEN, ask, attempts, probes, table


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


@pytest.fixture(scope="module")
def edge(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Edge:
    return fleet.edge(tmp_path_factory.mktemp("scan"))


def lines_about(fleet: Fleet, run: str) -> dict[str, str]:
    """User agent → line of the access log, for all that began with ``run``."""
    text = fleet.output(fleet.edges[0], f"grep -aF {run} /var/log/nginx/{SERVICE}.access.log || true")
    return {found[1]: line for line in text.splitlines() if (found := re.search(rf'"({re.escape(run)}-\d+)" worker=', line))}


def test_what_is_private_is_closed_in_every_spelling(fleet: Fleet, edge: Edge) -> None:
    run = edge.agent.replace("/", "-scan-")
    asked = probes(edge.host, run)
    answers = {probe.agent: ask(edge.address, probe.data, edge.tls, edge.host) for probe in asked}
    print(f"\n{table((probe.spelling, probe.what, ' '.join(map(str, answers[probe.agent]))) for probe in asked)}")
    wrong = [
        (probe.what, probe.spelling, answers[probe.agent])
        for probe in asked
        if not probe.asks_open and any(0 < status < 400 for status in answers[probe.agent])
    ]
    assert wrong == []
    passed_on = {agent for agent, line in lines_about(fleet, run).items() if 'upstream="-"' not in line}
    allowed = {probe.agent for probe in asked if probe.asks_open or probe.below}
    assert passed_on - allowed == set()
    # Not only the log of nginx says so.
    assert {probe.agent for probe in asked if probe.asks_open} <= passed_on


def test_no_request_hides_another(fleet: Fleet, edge: Edge) -> None:
    run = edge.agent.replace("/", "-hidden-")
    answers = [(attempt.name, ask(edge.address, attempt.data, edge.tls, edge.host)) for attempt in attempts(edge.host, run)]
    print(f"\n{table((name, 'answer', ' '.join(map(str, statuses))) for name, statuses in answers)}")
    # Synapse answers its own 405 to what is no GET.
    assert not [one for one in answers if not set(one[1]) <= {100, 200, 400, 404, 405, 411, 413, 501}]
    for host in fleet.hosts:
        seen = fleet.output(host, f"journalctl --no-pager --unit='{SERVICE}*' --since=-1h --grep='hidden' || true")
        assert not [line for line in seen.splitlines() if re.search(rf'"[A-Z]+ {re.escape(HIDDEN)}', line)], host


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

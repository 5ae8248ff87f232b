"""Each host has its part of the homeserver, and no other."""

from __future__ import annotations

import http.client
from contextlib import closing

from fleet import CONFIG, SERVICE, Fleet


def test_hosts_without_processes_have_no_settings_and_no_secrets(fleet: Fleet) -> None:
    for host in ("fleet-edge", "fleet-db"):
        assert fleet.output(host, f"find {CONFIG} 2>/dev/null || true") == "", host


def test_the_signing_key_stays_with_the_main_process(fleet: Fleet) -> None:
    """Whoever has it is the homeserver; workers that sign need it too, hosts without processes never."""
    having = [host for host in fleet.hosts if fleet.output(host, f"ls {CONFIG}/secrets/signing.key 2>/dev/null || true")]
    assert fleet.main_host in having
    assert not {"fleet-edge", "fleet-db"} & set(having)


def test_processes_listen_on_their_private_address_only(fleet: Fleet) -> None:
    for host in ("fleet-app1", "fleet-app2"):
        own = fleet.variable("synapse_address", host=host)
        sockets = fleet.output(host, "ss --no-header --listening --numeric --tcp --processes | grep python").splitlines()
        addresses = {line.split()[3].rpartition(":")[0] for line in sockets}
        # Metrics too: Prometheus is on another host.
        assert addresses == {own}, host


def test_plain_http_leads_to_tls(fleet: Fleet) -> None:
    with closing(http.client.HTTPConnection(fleet.ip("fleet-edge"), 80, timeout=10)) as link:
        link.request("GET", "/_matrix/client/versions?a=%21b", headers={"Host": "fleet.example"})
        answer = link.getresponse()
        answer.read()
    assert (answer.status, answer.headers["Location"]) == (301, "https://fleet.example/_matrix/client/versions?a=%21b")


def test_only_hosts_with_processes_may_use_the_database(fleet: Fleet) -> None:
    database = fleet.ip("fleet-db")
    ask = "import socket; s = socket.create_connection((%r, 5432), 5); s.sendall(%r); print(s.recv(200))"
    # A start-up message of PostgreSQL's protocol 3.0, without TLS.
    words = b"user\0matrix-synapse\0database\0synapse\0\0"
    start = (len(words) + 8).to_bytes(4, "big") + (3 << 16).to_bytes(4, "big") + words
    answers = {
        host: fleet.on(host).check_output("python3 -c %s", ask % (database, start)) for host in ("fleet-app1", "fleet-edge")
    }
    # R: PostgreSQL asks for the password. E: it refuses the host.
    assert answers["fleet-app1"].startswith("b'R"), answers
    assert answers["fleet-edge"].startswith("b'E"), answers


def test_no_host_runs_the_units_of_another(fleet: Fleet) -> None:
    planned = {f"{SERVICE}-worker@{name}.service": host for name, host in fleet.workers().items()}
    for host in fleet.hosts:
        listed = fleet.output(
            host, f"systemctl list-units --plain --no-legend --state=active '{SERVICE}-worker@*' | cut -d' ' -f1"
        )
        assert {planned[unit] for unit in listed.split()} <= {host}, host

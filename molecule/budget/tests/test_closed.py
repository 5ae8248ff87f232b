"""Nothing gets in that should not, and no secret gets out: modes, command lines, what Ansible says, the firewall."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet import CONFIG, SERVICE, Fleet

APP, DB = "synapse-budget", "synapse-budget-db"

SECRETS = (
    "synapse_worker_replication_secret", "synapse_registration_shared_secret", "synapse_macaroon_secret_key", "synapse_form_secret",
    "synapse_database_password", "synapse_redis_password",
)  # fmt: skip


def test_secrets_lie_in_their_files_and_nowhere_else(fleet: Fleet) -> None:
    words = [str(fleet.variable(name)) for name in SECRETS]
    assert all(len(word) > 20 for word in words)
    for host in fleet.hosts:
        patterns = "\n".join(words)
        places = "/etc /home /opt/venvs/*/etc /root /run /srv /tmp /usr/local /var"
        find = f"printf %s {shlex.quote(patterns)} | grep -rlaF -f - {places} 2>/dev/null || true"
        files = fleet.output(host, find).split()
        allowed = {f"{CONFIG}/secrets", f"/var/lib/synapse-workers/{SERVICE}/secrets", "/etc/redis"}
        assert {str(Path(file).parent) for file in files} <= allowed, (host, files)
        assert files, host
        for file in files:
            mode = int(fleet.output(host, f"stat --format=%a {file}"), 8)
            assert mode & 0o007 == 0, file
            assert mode in (0o640, 0o600, 0o400), (file, oct(mode))


def reached(address: str, port: int) -> bool:
    """Whether somebody outside of the homeserver gets a connection."""
    try:
        with socket.create_connection((address, port), timeout=3):
            return True
    except OSError:
        return False


def can(fleet: Fleet, host: str, address: str, port: int) -> bool:
    """Whether a host gets a connection."""
    ask = f"import socket; socket.create_connection(({address!r}, {port}), 5)"
    return bool(fleet.on(host).run("python3 -c %s", ask).rc == 0)


def listening(fleet: Fleet, host: str) -> set[int]:
    """The ports of a host's private address that somebody listens at."""
    lines = fleet.output(host, f"ss --no-header --listening --numeric --tcp src {fleet.ip(host)}").splitlines()
    return {int(line.split()[3].rpartition(":")[2]) for line in lines}


def test_private_ports_are_closed_to_all_but_the_homeserver(fleet: Fleet) -> None:
    app, database = fleet.ip(APP), fleet.ip(DB)
    assert {8008, 9093, 11100} <= listening(fleet, APP)
    assert listening(fleet, DB) == {5432, 6379}
    # This machine is in their network, and no host of theirs.
    assert [port for port in sorted(listening(fleet, APP)) if reached(app, port)] == []
    assert [port for port in (5432, 6379) if reached(database, port)] == []
    assert reached(app, 80)
    for port in (5432, 6379):
        assert can(fleet, APP, database, port)
    assert can(fleet, DB, app, 8008)


def test_the_rules_come_back_after_debians_own(fleet: Fleet) -> None:
    unit = f"{SERVICE}-firewall.service"
    # systemd starts ours again behind it, and does not wait for that.
    fleet.output(
        DB, f"systemctl restart nftables.service; timeout 30 sh -c 'until systemctl -q is-active {unit}; do sleep 0.2; done'"
    )
    assert not reached(fleet.ip(DB), 5432)
    fleet.output(DB, f"systemctl stop nftables.service; systemctl start {unit}")
    assert not reached(fleet.ip(DB), 5432)


def test_redis_and_postgresql_ask_the_homeservers_own_hosts_for_passwords(fleet: Fleet) -> None:
    link = f"s = socket.create_connection(({fleet.ip(DB)!r}, 6379), 5)"
    ask = f"import socket; {link}; s.sendall(b'PING\\r\\n'); print(s.recv(100).decode().split()[0])"
    assert fleet.on(APP).check_output("python3 -c %s", ask) == "-NOAUTH"
    refused = fleet.on(APP).run(
        "sh -c %s", f"PGPASSWORD=wrong /opt/venvs/{SERVICE}/bin/python -c 'import psycopg2; "
        f"psycopg2.connect(host=\"{fleet.ip(DB)}\", user=\"{SERVICE}\", dbname=\"synapse\")'"
    )  # fmt: skip
    assert refused.rc != 0
    assert "password authentication failed" in refused.stderr


@contextmanager
def watched(fleet: Fleet) -> Iterator[list[str]]:
    """Every command line of the hosts and of this machine while something is done."""
    seen: set[str] = set()
    done = threading.Event()
    for host in fleet.hosts:
        loop = (
            "rm -f /run/watch.*; while [ ! -e /run/watch.end ]; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' "
            "| sort -u >/run/watch.one; sort -u /run/watch.one /run/watch.all 2>/dev/null >/run/watch.new; "
            "mv /run/watch.new /run/watch.all; sleep 0.2; done"
        )
        subprocess.run(["docker", "exec", "--detach", host, "sh", "-c", loop], check=True)

    def look() -> None:
        while not done.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_text(errors="replace"))
                except OSError:
                    continue

    watcher = threading.Thread(target=look)
    watcher.start()
    lines: list[str] = []
    try:
        yield lines
    finally:
        done.set()
        watcher.join()
        for host in fleet.hosts:
            fleet.output(host, "touch /run/watch.end")
            lines += fleet.output(host, "cat /run/watch.all").splitlines()
            fleet.output(host, "rm -f /run/watch.*")
        lines += seen


def test_no_secret_is_said_or_handed_over_by_command_line(fleet: Fleet, tmp_path: Path) -> None:
    """Other secrets than before, so that every task that brings one has something to bring."""
    new = {name: f"other-{name.replace('_', '-')}-0123456789" for name in SECRETS if name != "synapse_macaroon_secret_key"}
    variables = tmp_path / "secrets.yml"
    variables.write_text("".join(f"{name}: {value}\n" for name, value in new.items()))
    command = [
        "ansible-playbook",
        "-vvv",
        "--diff",
        f"--inventory={fleet.inventory}",
        f"--extra-vars=@{variables}",
        "synapse.workers.roll_out",
    ]
    with watched(fleet) as commands:
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=fleet.environment)
    assert run.returncode == 0, run.stdout[-6000:]
    # Something was done, and something was seen.
    assert re.search(r"(restart|stop, start) +main", run.stdout), run.stdout[-3000:]
    assert any("synapse.app.homeserver" in line for line in commands)
    words = [*new.values(), *(str(fleet.variable(name)) for name in SECRETS)]
    for word in words:
        assert word not in run.stdout + run.stderr
        assert [line for line in commands if word in line] == []
    for host in fleet.hosts:
        pattern = shlex.quote("\n".join(words))
        assert fleet.output(host, f"journalctl --output=cat --no-pager | grep -cF {pattern} || true") == "0", host
    # They did arrive.
    assert fleet.output(APP, f"cat {CONFIG}/secrets/redis_password") == new["synapse_redis_password"]


def test_without_the_variable_the_rules_are_taken_away_again(fleet: Fleet) -> None:
    unit = f"{SERVICE}-firewall.service"
    opened = fleet.play("roll_out", fleet.inventory, "--extra-vars=synapse_firewall=false")
    try:
        assert reached(fleet.ip(DB), 5432)
        for host in fleet.hosts:
            assert opened[host]["changed"] > 0
            assert "matrix_synapse" not in fleet.output(host, "nft list tables")
            assert (
                fleet.output(host, f"systemctl list-unit-files --no-legend {unit}; find /etc/nftables.d 2>/dev/null || true")
                == ""
            )
    finally:
        fleet.roll_out(fleet.inventory)
    assert not reached(fleet.ip(DB), 5432)

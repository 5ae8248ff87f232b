"""What the hosts cannot hold is refused, with what would fit, and nothing of them is changed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from fleet import CONFIG, SERVICE, Fleet

APP, DB = "synapse-budget", "synapse-budget-db"


def state(fleet: Fleet) -> list[object]:
    """What runs, and when each file of the hosts' settings was written."""
    files = "find /etc /var/lib/synapse-workers -type f -printf '%T@ %p\\n' | sort"
    return [fleet.invocations(), *(fleet.output(host, files) for host in fleet.hosts)]


def refused(fleet: Fleet, folder: Path, *more: str, count: int = 3) -> str:
    """What the operator reads of a run that must fail, with so many synchrotrons; nothing may be changed by it."""
    rows = [{**row, "count": count} if row.get("type") == "synchrotron" else row for row in fleet.rows]
    inventory = fleet.edited(folder, rows)
    before = state(fleet)
    command = ["ansible-playbook", f"--inventory={inventory}", "synapse.workers.roll_out", *more]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=fleet.environment)
    assert run.returncode != 0, run.stdout[-3000:]
    assert state(fleet) == before
    return run.stdout + run.stderr


@pytest.mark.parametrize("mode", [[], ["--check"]])
def test_a_port_of_somebody_else_is_refused(mode: list[str], fleet: Fleet, tmp_path: Path) -> None:
    address = fleet.ip(APP)
    listen = f"systemd-run --quiet --unit=stranger python3 -m http.server 11102 --bind {address}"
    fleet.output(APP, f"systemctl stop stranger 2>/dev/null || true; {listen}; sleep 1")
    try:
        said = refused(fleet, tmp_path, *mode)
    finally:
        fleet.output(APP, "systemctl stop stranger")
    assert (
        f"synapse_workers[0]: port 11102 (listen of synchrotron-3) on {APP} is taken by python3 of stranger.service; "
        "give the row a `port` of its own, or stop that" in said
    )


def test_more_connections_than_postgresql_has_are_refused(fleet: Fleet, tmp_path: Path) -> None:
    """The database is said to be the operator's own: his server is asked, and it has a hundred connections and more, not thousands."""
    most = int(fleet.output(DB, "runuser -u postgres -- psql -XAtc 'SHOW max_connections'"))
    args = {"host": fleet.ip(DB), "user": SERVICE, "dbname": "synapse", "passfile": f"{CONFIG}/secrets/pgpass", "cp_max": 60}
    database = json.dumps({"synapse_database": {"name": "psycopg2", "args": args}})
    said = refused(fleet, tmp_path, "--check", f"--extra-vars={database}")
    # Eight processes with 60 connections, and one more each while they start.
    assert (
        f"connections of PostgreSQL: 8 processes may open 488, 0 are others' now and 3 reserved, and {most} are all there are"
        in said
    )
    assert f"raise its max_connections to 491, or lower cp_max from 60 to {(most - 3) // 8 - 1}" in said


def test_an_address_of_no_interface_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    rows = fleet.rows
    inventory = fleet.edited(tmp_path, rows)
    hosts = inventory / "hosts.yml"
    hosts.write_text(hosts.read_text().replace(f"synapse_address: {fleet.ip(APP)}", "synapse_address: 172.30.77.139"))
    command = ["ansible-playbook", f"--inventory={inventory}", "synapse.workers.roll_out", "--check"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=fleet.environment)
    assert run.returncode != 0
    assert (
        f"synapse_address: {APP} has 172.30.77.139 in the inventory, and no interface of it has that address"
        in run.stdout + run.stderr
    )

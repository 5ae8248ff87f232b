"""Processes restart, are killed, lose their database, while hundreds of users go on.

The rows of the table that is printed, and kept in ``.cache/load``, are the tests of this file in their order. Of what is planned
nobody notices anything. What is not planned loses no message and doubles none, and only those requests fail that have to.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from fleet import SERVICE, Fleet

from bench.load.book import LONG_POLL, Figures
from bench.load.load import Load

Watch = Callable[[str, Callable[[], object]], Figures]


@pytest.fixture(scope="session")
def watch(load: Load) -> Watch:
    """Does something as one operation of the load, and returns the account of it."""

    def do(name: str, act: Callable[[], object]) -> Figures:
        with load.operation(name) as operation:
            act()
            # What comes of it shows in the next requests.
            enough = len(load.book.entries) + 100
            while len(load.book.entries) < enough:
                time.sleep(0.1)
        figures = load.figures(operation)
        assert not figures.harm, load.table()
        return figures

    return do


def unit_of(name: str) -> str:
    return f"{SERVICE}.service" if name == "main" else f"{SERVICE}-worker@{name}.service"


def kill(fleet: Fleet, name: str) -> None:
    """End a process as the kernel does when memory is short, and wait until systemd has brought it back."""
    script = f"""
        show() {{ systemctl show --value --property="$1" {unit_of(name)}; }}
        before=$(show InvocationID)
        kill -9 "$(show MainPID)"
        for _ in $(seq 600); do
            if [ "$(show InvocationID)" != "$before" ] && [ "$(show ActiveState)" = active ]; then exit; fi
            sleep 0.2
        done
        exit 1
    """
    fleet.output(fleet.main_host, script)


# --- Planned: nobody notices ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "playbook", "options"),
    [
        ("restart of all workers", "restart", []),
        ("restart of the main process", "restart", ["--extra-vars=only=[main]", "--extra-vars=main=true"]),
        ("roll back to the main process", "roll_back", []),
        ("and forth again", "roll_out", []),
    ],
)
def test_nobody_notices(name: str, playbook: str, options: list[str], fleet: Fleet, load: Load, watch: Watch) -> None:
    figures = watch(name, lambda: fleet.play(playbook, fleet.inventory, *options))
    assert figures.requests > 100
    assert not figures.failed, load.table()


def test_nobody_notices_reloads_of_nginx(fleet: Fleet, load: Load, watch: Watch) -> None:
    # A reload that comes while the last one is not done yet is the harder case.
    reloads = "for _ in 1 2 3; do systemctl reload nginx; sleep 1; done"
    assert not watch("nginx reloads three times", lambda: fleet.output(fleet.main_host, reloads)).failed, load.table()


# --- Not planned: no message is lost or doubled ------------------------------------------------------------------------------

# What may fail when a process is killed. Everything else is sent again or waits.
# A POST that was under way may have been carried out, and nobody sends it a second time.
UNDER_WAY = {
    "client_reader-1": {"keys", "login"},
    "event_creator-1": {"send, POST", "create room"},
    "media_repository-1": {"upload"},
}
# A process that asks another one, and is cut, answers with an error: sends ask the writer of events, a login that of devices, a sync
# that of presence; and all of them the main process for this and that.
ASKED_BY_OTHERS = {
    "event_persister-1": {"send, PUT", "send, POST", "create room"},
    "writers-1": {"login", "sync", LONG_POLL, "federation, send", "account data", "keys"},
    "main": {"login", "create room", "federation, send"},
}


@pytest.mark.parametrize(
    "name",
    [
        "synchrotron-1",
        "client_reader-1",
        "event_creator-1",
        "media_repository-1",
        "federation-1",
        "helpers-1",
        "event_persister-1",
        "writers-1",
        "main",
    ],
)
def test_a_killed_process_costs_only_what_was_under_way(name: str, fleet: Fleet, load: Load, watch: Watch) -> None:
    figures = watch(f"kill -9 {name}", lambda: kill(fleet, name))
    assert {kind for kind, _fault in figures.failures} <= UNDER_WAY.get(name, ASKED_BY_OTHERS.get(name, set())), load.table()


def restart(fleet: Fleet, unit: str) -> None:
    fleet.output(fleet.main_host, f"systemctl restart {unit}")


def test_nobody_notices_a_restart_of_redis(fleet: Fleet, load: Load, watch: Watch) -> None:
    """Processes hear of each other's news by it; they ask for what they missed."""
    assert not watch("Redis restarts", lambda: restart(fleet, f"redis-server@{SERVICE}.service")).failed, load.table()


def test_a_restart_of_postgresql_loses_nothing(fleet: Fleet, load: Load, watch: Watch) -> None:
    """Any request may need the database, and is answered with an error until it is back."""
    figures = watch("PostgreSQL restarts", lambda: restart(fleet, "'postgresql@*'"))
    assert not [fault for _kind, fault in figures.failures if not fault.startswith("50")], load.table()

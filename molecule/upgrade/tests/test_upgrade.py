"""From a release that is a year old to the newest and back, while people use the server; and what happens when that goes wrong.

The tests are one story, in this order.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fleet import SERVICE, UNITS, Fleet
from outsider.judge import table

from bench.load.book import LONG_POLL, Figures
from bench.load.load import Load
from bench.load.people import Size

OLD, NEW = "1.142.0", "1.163.2"
VENV = f"/opt/venvs/{SERVICE}"
PACKAGE = f"{VENV}-{NEW}/lib/python3.11/site-packages/synapse"
SQL = f"su -s /bin/sh {SERVICE} -c 'psql -qtA synapse -c \"{{}}\"'"


@pytest.fixture(scope="session")
def size() -> Size:
    """A few dozen who go on through all of it."""
    return Size(quiet=4, devices=5, rooms=2, talkers=4, pace=0.4)


def watched(load: Load, name: str, act: Callable[[], str]) -> tuple[str, Figures]:
    """Does something as one operation of the load; what it said, and the account of it."""
    with load.operation(name) as operation:
        said = act()
        # What comes of it shows in the next requests.
        enough = len(load.book.entries) + 50
        while len(load.book.entries) < enough:
            time.sleep(0.1)
    return said, load.figures(operation)


def running(fleet: Fleet) -> dict[str, str]:
    """Name of each process → the release whose files it has loaded, by the kernel's word."""
    listed = fleet.output(
        fleet.main_host,
        f"for unit in $(systemctl list-units --plain --no-legend --state=active {UNITS} | cut -d' ' -f1); do "
        'pid=$(systemctl show --property=MainPID --value "$unit"); '
        'echo "$unit $(grep -o "[^ ]*/synapse/[^ ]*abi3.so" "/proc/$pid/maps" | sort -u)"; done',
    )
    found = {}
    for line in listed.splitlines():
        unit, path = line.split()
        name = re.sub(rf"^{SERVICE}(-worker@)?|\.service$", "", unit) or "main"
        folder = path.partition("/lib/")[0]
        release = fleet.output(fleet.main_host, f"basename {folder}/lib/python3*/site-packages/matrix_synapse-*.dist-info")
        found[name] = release.removeprefix("matrix_synapse-").removesuffix(".dist-info")
    return found


def all_run(fleet: Fleet, release: str) -> bool:
    return running(fleet) == dict.fromkeys(["main", *fleet.workers()], release)


def sql(fleet: Fleet, query: str) -> str:
    return fleet.output(fleet.main_host, SQL.format(query))


def upgrade(fleet: Fleet, release: str, *more: str) -> str:
    """What a run says that ends well."""
    ended = fleet.attempt("upgrade", fleet.inventory, "-e", f"synapse_version={release}", *more)
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]
    return ended.stdout


def refused(fleet: Fleet, release: str, *more: str) -> str:
    """What a run says that does not."""
    ended = fleet.attempt("upgrade", fleet.inventory, "-e", f"synapse_version={release}", *more)
    assert ended.returncode != 0, ended.stdout[-8000:]
    return ended.stdout + ended.stderr


@contextmanager
def spoilt(fleet: Fleet, path: str, line: str) -> Iterator[None]:
    """A line at the end of the imports of a file of the release that comes."""
    fleet.output(fleet.main_host, f"cp {path} /root/spoilt && sed -i '/^from __future__\\|^import logging/a {line}' {path}")
    try:
        yield
    finally:
        fleet.output(fleet.main_host, f"cp /root/spoilt {path}")


def test_the_older_release_runs_from_its_folder(fleet: Fleet) -> None:
    assert all_run(fleet, OLD)
    assert fleet.output(fleet.main_host, f"test -d {VENV} && ! test -L {VENV} && ls -d {VENV}*") == VENV


def test_a_dry_run_says_what_would_be_done_and_does_nothing(fleet: Fleet) -> None:
    before = fleet.invocations(), fleet.written()
    said = upgrade(fleet, NEW, "--check", "--diff")
    assert f"Synapse {OLD} to {NEW}" in said
    assert "the database first, then the main process, then the workers" in " ".join(said.split())
    assert (fleet.invocations(), fleet.written()) == before
    assert fleet.output(fleet.main_host, f"ls -d {VENV}*") == VENV


def test_a_failed_schema_update_touches_no_process_and_is_finished_by_the_next_run(fleet: Fleet) -> None:
    before = fleet.invocations()
    # A table of the schema to come is in its way.
    sql(fleet, "CREATE TABLE quarantined_media_changes (in_the_way int)")
    try:
        said = refused(fleet, NEW)
    finally:
        sql(fleet, "DROP TABLE quarantined_media_changes")
    assert "could not be brought to the schema" in said
    assert "quarantined_media_changes" in said
    assert fleet.invocations() == before
    assert all_run(fleet, OLD)


def test_nobody_notices_an_upgrade(fleet: Fleet, load: Load) -> None:
    _said, figures = watched(load, f"{OLD} -> {NEW}", lambda: upgrade(fleet, NEW))
    assert all_run(fleet, NEW)
    # The folder of before is kept, by the name of what it holds.
    assert fleet.output(fleet.main_host, f"readlink -f {VENV}") == f"{VENV}-{NEW}"
    assert fleet.output(fleet.main_host, f"ls -d {VENV}*").split() == [VENV, f"{VENV}-{OLD}", f"{VENV}-{NEW}"]
    assert figures.requests > 100
    assert not figures.noticed, load.table()


def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    recap = fleet.play("roll_out", fleet.inventory, "-e", f"synapse_version={NEW}")
    assert recap[fleet.main_host]["changed"] == 0


def test_a_way_back_that_the_database_does_not_allow_is_refused_with_the_plan(fleet: Fleet) -> None:
    before = fleet.invocations(), fleet.written()
    compat = sql(fleet, "SELECT compat_version FROM schema_compat_version")
    sql(fleet, "UPDATE schema_compat_version SET compat_version = 94")
    try:
        said = [refused(fleet, OLD, *options) for options in ([], ["--check"])]
    finally:
        sql(fleet, f"UPDATE schema_compat_version SET compat_version = {compat}")
    assert all(f"Synapse {OLD} does not understand the database any more" in one for one in said)
    assert (fleet.invocations(), fleet.written()) == before


def test_a_way_back_that_apps_would_not_get_over_is_refused(fleet: Fleet) -> None:
    before = fleet.invocations(), fleet.written()
    assert "-e synapse_token_loss_allowed=true goes back all the same" in refused(fleet, OLD)
    assert (fleet.invocations(), fleet.written()) == before


def only_tokens_are_refused(figures: Figures) -> bool:
    """Of an older release, those that the newer one has given out: one that it does not know keys of."""
    faults = {(kind, fault.partition(": ")[2]) for kind, fault in figures.failures}
    return faults <= {(kind, "Invalid stream token") for kind in (LONG_POLL, "sync")}


def test_the_way_back_costs_the_tokens_only(fleet: Fleet, load: Load) -> None:
    said, figures = watched(load, f"{NEW} -> {OLD}", lambda: upgrade(fleet, OLD, "-e", "synapse_token_loss_allowed=true"))
    assert f"Synapse goes back from {NEW} to {OLD}" in said
    assert all_run(fleet, OLD)
    assert fleet.output(fleet.main_host, f"readlink -f {VENV}") == f"{VENV}-{OLD}"
    assert figures.requests > 100
    assert only_tokens_are_refused(figures), load.table()


def test_a_worker_that_does_not_come_up_ends_the_run(fleet: Fleet, load: Load) -> None:
    broken = '"client_reader-2.yaml" in " ".join(__import__("sys").argv) and __import__("sys").exit("spoilt")'
    with spoilt(fleet, f"{PACKAGE}/app/generic_worker.py", broken):
        said, figures = watched(load, f"{OLD} -> {NEW}, one worker does not start", lambda: refused(fleet, NEW))
    assert "client_reader-2 did not get ready" in said
    assert f"runs Synapse {NEW}, the rest" in said
    assert f"synapse.workers.upgrade -e synapse_version={OLD}" in said
    runs = running(fleet)
    assert {"main", *fleet.workers()} - runs.keys() == {"client_reader-2"}
    assert figures.requests > 100
    assert only_tokens_are_refused(figures), load.table()


def test_it_goes_on_where_it_stopped(fleet: Fleet, load: Load) -> None:
    main = fleet.invocations()[f"{fleet.main_host} {SERVICE}.service"]
    _said, figures = watched(load, f"{OLD} -> {NEW}, the rest of it", lambda: upgrade(fleet, NEW))
    assert all_run(fleet, NEW)
    assert fleet.invocations()[f"{fleet.main_host} {SERVICE}.service"] == main
    assert not figures.failed, load.table()


def test_every_message_is_there_in_the_end(load: Load) -> None:
    """Also those that were sent while some apps had tokens that nobody took."""
    with load.operation("in the end"):
        pass
    harmed = [figures.name for figures in load.book.account() if figures.harm]
    assert harmed == [], load.table()


def test_all_is_routed_right_in_the_end(fleet: Fleet, tmp_path: Path) -> None:
    rows, short = fleet.traffic(tmp_path)
    wrong = [row for row in rows if row.problems]
    assert not wrong, table(wrong, short)

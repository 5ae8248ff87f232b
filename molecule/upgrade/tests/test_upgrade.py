"""From a release that is a year old to the newest and back, while people use the server; and what happens when that goes wrong.

The tests are one story, in this order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fleet import SERVICE, Fleet

from bench.load.load import Load
from bench.load.people import Size

OLD, NEW = "1.142.0", "1.163.2"
VENV = f"/opt/venvs/{SERVICE}"
PACKAGE = f"{VENV}-{NEW}/lib/python3.11/site-packages/synapse"
SQL = f"su -s /bin/sh {SERVICE} -c 'psql -qtA synapse -c \"{{}}\"'"


@pytest.fixture(scope="module")
def people(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Load]:
    """A few dozen who go on through all of it."""
    load = fleet.load(tmp_path_factory.mktemp("load"), Size(quiet=4, devices=5, rooms=2, talkers=4, pace=0.4))
    try:
        with load:
            yield load
    finally:
        load.write(Path(__file__).resolve().parents[3] / ".cache/load/upgrade", f"upgrade: {load.size.polls} long-polls")
        capture = pytestconfig.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"\n{load.table()}")


def running(fleet: Fleet) -> dict[str, str]:
    """Name of each process → the release whose files it has loaded, by the kernel's word."""
    listed = fleet.output(
        fleet.main_host,
        f"for unit in $(systemctl list-units --plain --no-legend --state=active '{SERVICE}*.service' | cut -d' ' -f1); do "
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


def refused(fleet: Fleet, release: str) -> str:
    """What a run says that does not; broken lines are joined."""
    ended = fleet.attempt("upgrade", fleet.inventory, "-e", f"synapse_version={release}")
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
    assert "the database first, then the main process, then the workers" in said
    assert (fleet.invocations(), fleet.written()) == before
    assert fleet.output(fleet.main_host, f"ls -d {VENV}*") == VENV


def test_a_failed_schema_update_leaves_everything_as_it_was(fleet: Fleet) -> None:
    before, schema = fleet.invocations(), sql(fleet, "SELECT version FROM schema_version")
    # A table of the schema to come is in its way.
    sql(fleet, "CREATE TABLE quarantined_media_changes (in_the_way int)")
    said = refused(fleet, NEW)
    assert "could not be brought to the schema" in said
    assert "quarantined_media_changes" in said
    sql(fleet, "DROP TABLE quarantined_media_changes")
    assert sql(fleet, "SELECT version FROM schema_version") == schema
    assert fleet.invocations() == before
    assert all_run(fleet, OLD)


def test_a_worker_that_does_not_come_up_goes_back_and_ends_the_run(fleet: Fleet, people: Load) -> None:
    broken = '"client_reader-2.yaml" in " ".join(__import__("sys").argv) and __import__("sys").exit("spoilt")'
    with spoilt(fleet, f"{PACKAGE}/app/generic_worker.py", broken), people.operation("a release that fails"):
        said = refused(fleet, NEW)
    assert "client_reader-2 did not get ready" in said
    assert f"went back to {OLD}" in said
    assert "synapse_version=" + OLD in said
    runs = running(fleet)
    assert runs["main"] == NEW
    assert runs["client_reader-2"] == OLD
    assert runs.keys() == {"main", *fleet.workers()}
    assert not people.figures(people.book.operations[-1]).harm, people.table()


def test_it_goes_on_where_it_stopped(fleet: Fleet, people: Load) -> None:
    main = fleet.invocations()[f"{fleet.main_host} {SERVICE}.service"]
    with people.operation(f"{OLD} -> {NEW}, the rest"):
        upgrade(fleet, NEW)
    assert all_run(fleet, NEW)
    assert fleet.invocations()[f"{fleet.main_host} {SERVICE}.service"] == main
    assert fleet.output(fleet.main_host, f"readlink -f {VENV}") == f"{VENV}-{NEW}"
    # The folder of before is kept, by the name of what it holds.
    assert fleet.output(fleet.main_host, f"ls -d {VENV}*").split() == [VENV, f"{VENV}-{OLD}", f"{VENV}-{NEW}"]


def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    recap = fleet.play("roll_out", fleet.inventory, "-e", f"synapse_version={NEW}")
    assert recap[fleet.main_host]["changed"] == 0


def test_a_way_back_that_the_database_does_not_allow_is_refused(fleet: Fleet) -> None:
    before = fleet.invocations(), fleet.written()
    compat = sql(fleet, "SELECT compat_version FROM schema_compat_version")
    sql(fleet, "UPDATE schema_compat_version SET compat_version = 94")
    said = refused(fleet, OLD)
    sql(fleet, f"UPDATE schema_compat_version SET compat_version = {compat}")
    assert f"Synapse {OLD} does not understand the database any more" in said
    assert (fleet.invocations(), fleet.written()) == before


def test_back(fleet: Fleet, people: Load) -> None:
    with people.operation(f"{NEW} -> {OLD}"):
        said = upgrade(fleet, OLD)
    assert "the workers first, the main process last" in said
    assert all_run(fleet, OLD)
    assert fleet.output(fleet.main_host, f"readlink -f {VENV}") == f"{VENV}-{OLD}"
    figures = people.figures(people.book.operations[-1])
    assert not figures.harm, people.table()


def test_forth_in_one_go(fleet: Fleet, people: Load) -> None:
    with people.operation(f"{OLD} -> {NEW}"):
        upgrade(fleet, NEW)
    assert all_run(fleet, NEW)
    figures = people.figures(people.book.operations[-1])
    assert not figures.harm, people.table()

"""What may go wrong beside a run, in a real server under a small load: does it serve on, what does the operator read, does the next run
mend it? The answers are printed as a table."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import CONFIG, POLITELY, ROOT, SERVICE, Fleet

from bench.load.book import Figures
from bench.load.load import Load
from bench.load.people import Size

HEAD = ("fault", "while it lasted", "over the next run", "news late by", "the operator reads", "mended by the next run")
STATE = f"/var/lib/synapse-workers/{SERVICE}"
REDIS = f"redis-server@{SERVICE}.service"


@dataclass
class Faults:
    """The server, its users, and the table."""

    fleet: Fleet
    users: Load
    folder: Path
    table: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.fleet.main_host

    def sh(self, command: str) -> str:
        return self.fleet.output(self.host, command)

    def begin(self, workers: int, *more: str) -> subprocess.Popen[str]:
        """A roll-out of so many synchrotrons, which goes on by itself."""
        rows = [{**row, "count": workers} if row["type"] == "synchrotron" else row for row in self.fleet.rows]
        inventory = self.fleet.edited(self.folder, rows)
        return subprocess.Popen(
            [*POLITELY, "ansible-playbook", f"--inventory={inventory}", "synapse.workers.roll_out", *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.fleet.environment,
        )

    def run(self, workers: int, *more: str) -> tuple[int, str]:
        """Exit status and output of a roll-out of so many synchrotrons."""
        process = self.begin(workers, *more)
        output, _ = process.communicate(timeout=900)
        return process.returncode, output

    def refused(self, workers: int, *words: str, more: tuple[str, ...] = ()) -> str:
        """What the operator reads of a roll-out that fails; it holds ``words``."""
        code, output = self.run(workers, *more)
        assert code != 0, output
        said = error(output)
        for word in words:
            assert word in said, said
        return said

    def mended(self, workers: int) -> None:
        """A roll-out brings the plan, and the next one finds nothing to do."""
        code, output = self.run(workers)
        assert code == 0, output
        units = {f"{SERVICE}-worker@synchrotron-{number}.service" for number in range(1, workers + 1)}
        active = self.sh(
            f"systemctl list-units --plain --no-legend --state=active '{SERVICE}-worker@synchrotron*' | cut -d' ' -f1"
        )
        assert set(active.split()) == units
        site = self.sh(f"cat /etc/nginx/conf.d/{SERVICE}.conf")
        assert all(f"synchrotron-{number}" in site for number in range(1, workers + 1))

    def strike(self, fault: str, happens: Callable[[], str], workers: int) -> tuple[Figures, Figures]:
        """The account of a fault and of the next run, which has to bring so many synchrotrons; into the table with both.

        ``happens`` breaks something, runs, takes away what broke it, and returns what the operator read.
        """
        # What the rooms hold is read back when it is mended: a server without its database cannot be asked.
        with self.users.book.operation(fault) as operation:
            said = happens()
        with self.users.operation(f"{fault}, the next run") as repair:
            self.mended(workers)
        figures = self.users.figures(operation), self.users.figures(repair)
        counts = [f"{one.requests} requests, {one.failed} failed, {one.seconds:.0f} s" for one in figures]
        late = max(one.slowest_news for one in figures)
        self.table.append((fault, *counts, f"{late:.1f} s", " ".join(said.split()), "yes"))
        return figures

    def strike_unnoticed(self, fault: str, happens: Callable[[], str], workers: int) -> None:
        """The same, where it costs no user a request or a message."""
        for figures in self.strike(fault, happens, workers):
            assert not figures.noticed, self.users.table()
            assert figures.requests > 5

    def serves(self) -> None:
        """It answers as if nothing had been."""
        with self.users.operation("afterwards") as operation:
            goal = len(self.users.book.entries) + 40
            deadline = time.monotonic() + 60
            while len(self.users.book.entries) < goal and time.monotonic() < deadline:
                time.sleep(0.2)
        assert not self.users.figures(operation).noticed, self.users.table()
        assert self.users.figures(operation).requests >= 40


def error(output: str) -> str:
    """The last error of a run's output, without what Ansible says around it."""
    found = re.findall(r"^fatal: .*?^    msg: ?(.*?)(?=^\S|\Z|^    \w+:)", output, re.MULTILINE | re.DOTALL)
    assert found, output[-3000:]
    # As YAML has it: a block, or a line in quotes.
    return str(yaml.safe_load(f"msg: {found[-1]}")["msg"]).strip()


@pytest.fixture(scope="module")
def faults(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Faults]:
    fleet.environment["ANSIBLE_CALLBACK_RESULT_FORMAT"] = "yaml"
    folder = tmp_path_factory.mktemp("faults")
    here = Faults(fleet, fleet.load(folder, Size(quiet=2, devices=2, rooms=1, talkers=2, pace=0.15), most_seconds=5400), folder)
    try:
        with here.users:
            yield here
    finally:
        kept = ROOT / ".cache/load/faults"
        here.users.write(kept, "faults")
        lines = [f"| {' | '.join(row)} |" for row in [HEAD, ("---",) * len(HEAD), *here.table]]
        with kept.with_suffix(".md").open("a") as page:
            page.write("\n" + "\n".join(lines) + "\n")
        capture = pytestconfig.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"\n{here.users.table()}")
            for fault, lasting, repair, late, said, mended in here.table:
                print(f"\n{fault}: {lasting}; the next run: {repair}; news late by {late}; mended: {mended}")
                print(textwrap.indent(textwrap.fill(said, 110), "    "))


def full(faults: Faults, folder: str) -> Callable[[], str]:
    """Fill what lies under a folder; returns how to end that. A small file system over it, with the same in it."""
    faults.sh(
        f"cp -a {folder} /tmp/full && mount -t tmpfs -o size=256k,mode=755 tmpfs {folder} && cp -a /tmp/full/. {folder}/"
        f" && (dd if=/dev/zero of={folder}/filler bs=4k 2>/dev/null || true)"
    )
    return lambda: faults.sh(f"umount {folder} && rm -r /tmp/full")


def test_a_full_disk_leaves_all_files_as_they_were(faults: Faults) -> None:
    def happens() -> str:
        before = faults.fleet.written()
        end = full(faults, f"{CONFIG}/workers")
        try:
            said = faults.refused(3, "No space left on device", "run again")
        finally:
            end()
        assert {path: time for path, time in faults.fleet.written().items() if path in before} == before
        return said

    faults.strike_unnoticed("the disk is full where the settings of workers lie", happens, 3)


def test_a_disk_that_is_full_everywhere_ends_the_run_before_it_begins(faults: Faults) -> None:
    def happens() -> str:
        end = full(faults, STATE)
        try:
            return faults.refused(2, "No space left on device", "run again")
        finally:
            end()

    faults.strike_unnoticed("the disk is full where the collection remembers", happens, 2)


def test_nginx_keeps_what_it_has_when_it_would_refuse_the_new(faults: Faults) -> None:
    def happens() -> str:
        faults.sh("echo 'server { listen nonsense; }' > /etc/nginx/conf.d/of-the-operator.conf")
        try:
            return faults.refused(3, "of-the-operator.conf", "the old ones are still in force")
        finally:
            faults.sh("rm /etc/nginx/conf.d/of-the-operator.conf")

    faults.strike_unnoticed("nginx refuses a file", happens, 3)


def test_a_worker_that_never_gets_ready_gets_no_requests(faults: Faults) -> None:
    unit = f"{SERVICE}-worker@synchrotron-4.service"
    drop_in = f"/etc/systemd/system/{unit}.d"

    def happens() -> str:
        # It starts, says nothing, and does nothing.
        lines = "[Service]\\nType=exec\\nExecStart=\\nExecStart=/bin/sleep infinity\\n"
        faults.sh(f"mkdir {drop_in} && printf '{lines}' > {drop_in}/hangs.conf && systemctl daemon-reload")
        try:
            said = faults.refused(4, "synchrotron-4 did not get ready", "Mend the cause and run again", f"journalctl -u {unit}")
            assert "synchrotron-4" not in faults.sh(f"cat /etc/nginx/conf.d/{SERVICE}.conf")
        finally:
            # The cause is mended; what hangs is left to the next run.
            faults.sh(f"rm -r {drop_in} && systemctl daemon-reload")
        return said

    faults.strike_unnoticed("a worker never gets ready", happens, 4)


def broken(faults: Faults, unit: str) -> Callable[[], str]:
    """A service that ended and does not come up again; returns how to mend it."""
    folder = f"/etc/systemd/system/{unit}.d"
    faults.sh(
        f"mkdir -p {folder} && printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\nRestart=no\\n' > {folder}/zz-broken.conf"
        f" && systemctl daemon-reload && systemctl stop {unit}"
    )
    return lambda: faults.sh(f"rm {folder}/zz-broken.conf && systemctl daemon-reload && systemctl reset-failed {unit}")


def nothing_is_lost_without(faults: Faults, unit: str, fault: str, workers: int) -> None:
    """A run that finds ``unit`` broken says so, and neither then nor over the next run a message gets lost or comes twice."""

    def happens() -> str:
        mend = broken(faults, unit)
        try:
            return faults.refused(workers, unit, "does not come up", "run again")
        finally:
            mend()

    for figures in faults.strike(fault, happens, workers):
        assert not figures.harm, faults.users.table()
    faults.serves()


def test_without_redis_nothing_is_lost(faults: Faults) -> None:
    nothing_is_lost_without(faults, REDIS, "Redis is absent", 3)


def test_without_postgresql_nobody_is_served_and_nothing_is_lost(faults: Faults) -> None:
    unit = faults.sh("systemctl list-units --plain --no-legend 'postgresql@*' | cut -d' ' -f1")
    nothing_is_lost_without(faults, unit, "PostgreSQL is absent", 2)


def test_a_host_that_is_out_of_reach_in_the_middle_of_a_run_serves_on(faults: Faults, tmp_path: Path) -> None:
    """The way to it breaks when the run holds the host and has written the settings of the third worker."""
    # Ansible's own connection by SSH, with a program of that name that takes another way into the container.
    way = tmp_path / "ssh"
    way.write_text(
        "#!/bin/sh\n"
        "for command; do :; done\n"
        f"if docker exec {faults.host} test -e {CONFIG}/workers/synchrotron-3.yaml; then\n"
        f"  echo 'ssh: connect to host {faults.host} port 22: No route to host' >&2; exit 255\n"
        "fi\n"
        f'exec docker exec --interactive {faults.host} sh -c "$command"\n'
    )
    way.chmod(0o755)
    more = ("-e", f"ansible_connection=ssh ansible_ssh_executable={way} ansible_ssh_transfer_method=piped")

    def happens() -> str:
        return faults.refused(3, "No route to host", more=more)

    faults.strike_unnoticed("the host is out of reach in mid-run", happens, 3)


def held(faults: Faults) -> dict[str, Any]:
    """Who holds the host, once somebody does."""
    for _ in range(600):
        run = json.loads(faults.sh(f"cat {STATE}/run.json"))
        if not run["ended"]:
            return dict(run)
        time.sleep(0.2)
    raise AssertionError("nobody holds the host")


def test_the_second_of_two_runs_is_refused_and_the_first_goes_on(faults: Faults) -> None:
    def happens() -> str:
        first = faults.begin(2)
        run = held(faults)
        said = faults.refused(4, "Another run is at work", f"process {first.pid}", run["id"])
        output, _ = first.communicate(timeout=900)
        assert first.returncode == 0, output
        return said

    faults.strike_unnoticed("two runs at once", happens, 4)


def test_a_run_that_was_killed_elsewhere_holds_the_host_until_somebody_says_that_it_is_over(faults: Faults) -> None:
    def happens() -> str:
        killed = faults.begin(2)
        run = held(faults)
        os.kill(killed.pid, signal.SIGKILL)
        killed.communicate()
        # As another controller sees it.
        faults.sh(f'sed -i \'s/"controller": "[^"]*"/"controller": "elsewhere"/\' {STATE}/run.json')
        said = faults.refused(2, f"synapse_dead_run={run['id']}")
        code, output = faults.run(2, "-e", f"synapse_dead_run={run['id']}")
        assert code == 0, output
        return said

    faults.strike_unnoticed("a run was killed on another machine", happens, 2)


TOUCHES = {
    "a mode": (f"chmod 600 /etc/redis/redis-{SERVICE}.conf", f"stat -c %a /etc/redis/redis-{SERVICE}.conf", "640"),
    "a setting": (
        f"echo >> {CONFIG}/conf.d/90-synapse-workers.yaml",
        f"tail -c1 {CONFIG}/conf.d/90-synapse-workers.yaml | wc -l; tail -n1 {CONFIG}/conf.d/90-synapse-workers.yaml | grep -c .",
        "1\n1",
    ),
    "a right of the role": (
        f"""runuser -u postgres -- psql -qc 'ALTER ROLE "{SERVICE}" CREATEDB'""",
        f"""runuser -u postgres -- psql -Atc "SELECT rolcreatedb FROM pg_roles WHERE rolname = '{SERVICE}'" """,
        "f",
    ),
    "nginx at boot": ("systemctl disable nginx", "systemctl is-enabled nginx", "enabled"),
}


def test_what_hands_have_touched_is_seen_and_put_right(faults: Faults) -> None:
    """A run that passes over what is settled overlooks none of it."""

    def happens() -> str:
        for touch, _ask, _right in TOUCHES.values():
            faults.sh(touch)
        return "nothing; the table of changes names what is put right"

    faults.strike_unnoticed("files, a role and a unit touched by hand", happens, 2)
    for name, (_touch, ask, right) in TOUCHES.items():
        assert faults.sh(ask).strip() == right, name
    inventory = faults.fleet.edited(faults.folder, faults.fleet.rows)
    recap = faults.fleet.roll_out(inventory)[faults.host]
    assert recap["changed"] == 0
    # And again one that finds everything settled: it looks once.
    assert faults.fleet.roll_out(inventory)[faults.host]["ok"] <= recap["ok"]

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
from fleet import CONFIG, ROOT, SERVICE, Fleet

from bench.load.book import Figures
from bench.load.load import Load
from bench.load.people import Size

HEAD = ("fault", "served during the run and the next one", "the operator reads", "mended by the next run")
STATE = f"/var/lib/synapse-workers/{SERVICE}"
REDIS = f"redis-server@{SERVICE}.service"


@dataclass
class Faults:
    """The server, its users, and the table."""

    fleet: Fleet
    users: Load
    folder: Path
    table: list[tuple[str, str, str, str]] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.fleet.main_host

    def sh(self, command: str) -> str:
        return self.fleet.output(self.host, command)

    def begin(self, workers: int, *more: str, path: str = "") -> subprocess.Popen[str]:
        """A roll-out of so many synchrotrons, which goes on by itself."""
        rows = [{**row, "count": workers} if row["type"] == "synchrotron" else row for row in self.fleet.rows]
        inventory = self.fleet.edited(self.folder, rows)
        environment = {**self.fleet.environment, "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
        return subprocess.Popen(
            ["ansible-playbook", f"--inventory={inventory}", "synapse.workers.roll_out", *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )

    def run(self, workers: int, *more: str, path: str = "") -> tuple[int, str]:
        """Exit status and output of a roll-out of so many synchrotrons."""
        process = self.begin(workers, *more, path=path)
        output, _ = process.communicate(timeout=900)
        return process.returncode, output

    def refused(self, workers: int, *words: str, path: str = "") -> str:
        """What the operator reads of a roll-out that fails; it holds ``words``."""
        code, output = self.run(workers, path=path)
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

    def note(self, fault: str, figures: list[Figures], said: str, mended: str = "yes") -> None:
        requests, failed = sum(one.requests for one in figures), sum(one.failed for one in figures)
        self.table.append((fault, f"{requests} requests, {failed} failed", " ".join(said.split()), mended))


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
    with fleet.load(folder, Size(quiet=2, devices=2, rooms=1, talkers=2, pace=0.15)) as users:
        here = Faults(fleet, users, folder)
        yield here
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        for fault, served, said, mended in here.table:
            print(
                f"\n{fault:<48} {served:<28} mended by the next run: {mended}\n{textwrap.indent(textwrap.fill(said, 110), '    ')}"
            )
    lines = [f"| {' | '.join(row)} |" for row in [HEAD, ("---",) * len(HEAD), *here.table]]
    kept = ROOT / ".cache/load/faults.md"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("\n".join(lines) + "\n")


@pytest.fixture
def harmless(faults: Faults, request: pytest.FixtureRequest) -> Iterator[Callable[[str, str], None]]:
    """What happens in the test costs no user a request or a message."""
    said: list[tuple[str, str]] = []
    with faults.users.operation(request.node.name) as operation:
        yield lambda fault, words: said.append((fault, words))
    figures = faults.users.figures(operation)
    for fault, words in said:
        faults.note(fault, [figures], words)
    assert not figures.noticed, faults.users.table()
    assert figures.requests > 5


Harmless = Callable[[str, str], None]


def full(faults: Faults, folder: str) -> Callable[[], str]:
    """Fill what lies under a folder; returns how to end that. A small file system over it, with the same in it."""
    faults.sh(
        f"cp -a {folder} /tmp/full && mount -t tmpfs -o size=256k,mode=755 tmpfs {folder} && cp -a /tmp/full/. {folder}/"
        f" && (dd if=/dev/zero of={folder}/filler bs=4k 2>/dev/null || true)"
    )
    return lambda: faults.sh(f"umount {folder} && rm -r /tmp/full")


def test_a_full_disk_leaves_all_files_as_they_were(faults: Faults, harmless: Harmless) -> None:
    before = faults.fleet.written()
    end = full(faults, f"{CONFIG}/workers")
    try:
        said = faults.refused(3, "No space left on device", "run again")
    finally:
        end()
    assert {path: time for path, time in faults.fleet.written().items() if path in before} == before
    harmless("disk full: the settings of workers", said)
    faults.mended(3)


def test_a_disk_that_is_full_everywhere_ends_the_run_before_it_begins(faults: Faults, harmless: Harmless) -> None:
    end = full(faults, STATE)
    try:
        said = faults.refused(2, "No space left on device", "run again")
    finally:
        end()
    harmless("disk full: what the collection remembers", said)
    faults.mended(2)


def test_nginx_keeps_what_it_has_when_it_would_refuse_the_new(faults: Faults, harmless: Harmless) -> None:
    faults.sh("echo 'server { listen nonsense; }' > /etc/nginx/conf.d/of-the-operator.conf")
    try:
        said = faults.refused(3, "of-the-operator.conf", "the old ones are still in force")
    finally:
        faults.sh("rm /etc/nginx/conf.d/of-the-operator.conf")
    harmless("nginx refuses a file", said)
    faults.mended(3)


def test_a_worker_that_never_gets_ready_gets_no_requests(faults: Faults, harmless: Harmless) -> None:
    drop_in = f"/etc/systemd/system/{SERVICE}-worker@synchrotron-4.service.d"
    faults.sh(
        f"mkdir {drop_in} && printf '[Service]\\nType=exec\\nExecStart=\\nExecStart=/bin/sleep infinity\\n' > {drop_in}/hangs.conf"
        " && systemctl daemon-reload"
    )
    try:
        said = faults.refused(4, "synchrotron-4 did not get ready", "Mend the cause and run again")
        assert "synchrotron-4" not in faults.sh(f"cat /etc/nginx/conf.d/{SERVICE}.conf")
    finally:
        faults.sh(f"rm -r {drop_in} && systemctl daemon-reload && systemctl stop {SERVICE}-worker@synchrotron-4.service")
    harmless("a worker never gets ready", said)
    faults.mended(4)


def broken(faults: Faults, unit: str) -> Callable[[], str]:
    """A service that ended and does not come up again; returns how to mend it."""
    folder = f"/etc/systemd/system/{unit}.d"
    faults.sh(
        f"mkdir -p {folder} && printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\nRestart=no\\n' > {folder}/zz-broken.conf"
        f" && systemctl daemon-reload && systemctl stop {unit}"
    )
    return lambda: faults.sh(f"rm {folder}/zz-broken.conf && systemctl daemon-reload && systemctl reset-failed {unit}")


def test_without_redis_nothing_is_lost(faults: Faults) -> None:
    with faults.users.operation("without Redis") as operation:
        mend = broken(faults, REDIS)
        try:
            said = faults.refused(3, REDIS, "does not come up", "run again")
        finally:
            mend()
        faults.mended(3)
    figures = faults.users.figures(operation)
    assert not figures.lost
    assert not figures.doubled
    faults.note("Redis is absent", [figures], said)


def test_without_postgresql_nobody_is_served_and_nothing_is_lost(faults: Faults) -> None:
    unit = faults.sh("systemctl list-units --plain --no-legend 'postgresql@*' | cut -d' ' -f1")
    with faults.users.operation("without PostgreSQL") as operation:
        mend = broken(faults, unit)
        try:
            said = faults.refused(2, unit, "does not come up", "run again")
        finally:
            mend()
        faults.mended(2)
    figures = faults.users.figures(operation)
    assert not figures.lost
    assert not figures.doubled
    faults.note("PostgreSQL is absent", [figures], said)


def test_a_host_that_is_out_of_reach_in_the_middle_of_a_run_serves_on(faults: Faults, harmless: Harmless, tmp_path: Path) -> None:
    """The way to it breaks when the run holds the host and has written the settings of the third worker."""
    real = subprocess.run(["sh", "-c", "command -v docker"], capture_output=True, text=True, check=True).stdout.strip()
    way = tmp_path / "docker"
    way.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *" exec "*) if {real} exec {faults.host} test -e {CONFIG}/workers/synchrotron-3.yaml; then\n'
        "echo 'the way to the host is broken' >&2; exit 255; fi;; esac\n"
        f'exec {real} "$@"\n'
    )
    way.chmod(0o755)
    code, output = faults.run(3, path=str(tmp_path))
    assert code != 0
    assert "the way to the host is broken" in output, output
    harmless("the host is out of reach in mid-run", "the way to the host is broken (of the connection)")
    faults.mended(3)


def held(faults: Faults) -> dict[str, Any]:
    """Who holds the host, once somebody does."""
    for _ in range(600):
        run = json.loads(faults.sh(f"cat {STATE}/run.json"))
        if not run["ended"]:
            return dict(run)
        time.sleep(0.2)
    raise AssertionError("nobody holds the host")


def test_the_second_of_two_runs_is_refused_and_the_first_goes_on(faults: Faults, harmless: Harmless) -> None:
    first = faults.begin(2)
    run = held(faults)
    said = faults.refused(3, "Another run is at work", f"process {first.pid}", run["id"])
    output, _ = first.communicate(timeout=900)
    assert first.returncode == 0, output
    harmless("two runs at once", said)
    faults.mended(3)


def test_a_killed_run_holds_nobody_here_and_others_until_they_say_so(faults: Faults, harmless: Harmless) -> None:
    killed = faults.begin(2)
    run = held(faults)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    # As another controller sees it.
    faults.sh(f'sed -i \'s/"controller": "[^"]*"/"controller": "elsewhere"/\' {STATE}/run.json')
    said = faults.refused(2, f"synapse_dead_run={run['id']}")
    harmless("a killed run of another machine holds the host", said)
    code, output = faults.run(2, "-e", f"synapse_dead_run={run['id']}")
    assert code == 0, output
    killed = faults.begin(3)
    held(faults)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    faults.mended(3)


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
    """A run that passes over what is settled overlooks none of it, and costs the same however many workers there are."""
    few = faults.fleet.roll_out(faults.fleet.edited(faults.folder, faults.fleet.rows))
    again = faults.fleet.roll_out(faults.fleet.edited(faults.folder, faults.fleet.rows))
    assert few[faults.host]["ok"] > again[faults.host]["ok"]
    for touch, _ask, _right in TOUCHES.values():
        faults.sh(touch)
    faults.fleet.roll_out(faults.fleet.edited(faults.folder, faults.fleet.rows))
    for name, (_touch, ask, right) in TOUCHES.items():
        assert faults.sh(ask).strip() == right, name
    assert faults.fleet.roll_out(faults.fleet.edited(faults.folder, faults.fleet.rows)) == again

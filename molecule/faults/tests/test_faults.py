"""What may go wrong beside a run, in a real server under a small load: does it serve on, what does the operator read, does the next run
mend it? The answers are printed as a table."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from fleet import CONFIG, ROOT, SERVICE, Fleet

from bench.load.book import Figures
from bench.load.load import Load
from bench.load.people import Size

HEAD = ("fault", "served during the run and the next one", "the operator reads", "mended by the next run")
STATE = f"/var/lib/synapse-workers/{SERVICE}"


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
    faults.mended(3)
    harmless("disk full: the settings of workers", said)


def test_a_disk_that_is_full_everywhere_ends_the_run_before_it_begins(faults: Faults, harmless: Harmless) -> None:
    end = full(faults, STATE)
    try:
        said = faults.refused(2, "No space left on device", "run again")
    finally:
        end()
    faults.mended(2)
    harmless("disk full: what the collection remembers", said)


def test_nginx_keeps_what_it_has_when_it_would_refuse_the_new(faults: Faults, harmless: Harmless) -> None:
    faults.sh("echo 'server { listen nonsense; }' > /etc/nginx/conf.d/of-the-operator.conf")
    try:
        said = faults.refused(3, "of-the-operator.conf", "the old ones are still in force")
    finally:
        faults.sh("rm /etc/nginx/conf.d/of-the-operator.conf")
    faults.mended(3)
    harmless("nginx refuses a file", said)

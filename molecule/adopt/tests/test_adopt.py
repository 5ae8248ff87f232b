"""A monolith that somebody set up by hand is taken over under load and given back, and nobody notices.

The tests of this file are one story, in their order. The last one compares what is on the host with what was there before the first.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import Fleet
from outsider.edge import Edge

from bench.load.book import Figures
from bench.load.load import Load
from bench.load.people import Size

HOST = "synapse-adopt-monolith"
VHOST = "/etc/nginx/sites-available/matrix"
SERVICE = "synapse"
# What a client would miss first if it were not taken over.
WORKERS = [{"type": "synchrotron", "count": 2}, {"type": "event_creator"}, {"type": "typing"}, {"type": "media_repository"}]
NAMES = {"synchrotron-1", "synchrotron-2", "event_creator-1", "typing-1", "media_repository-1"}

# Every file, folder and link with its owner and mode, every text, every unit with its state. Account tools keep a copy of the file before
# their last change under a name that ends with a dash.
SNAPSHOT = r"""
find /etc /usr/local /var/lib/synapse /var/lib/synapse-workers \( -name media_store -prune \) -o ! -name '*-' -printf '%y %m %u:%g %p %l\n' 2>/dev/null
find /etc /usr/local -type f ! -name '*-' -exec sha256sum {} +
systemctl list-unit-files --no-legend --no-pager --full
systemctl list-units --type=service,socket --no-legend --no-pager --plain --full --state=active | cut -d' ' -f1 | grep -v '^systemd-\|^user'
"""


def snapshot(fleet: Fleet) -> set[str]:
    return set(fleet.output(HOST, SNAPSHOT).splitlines())


@pytest.fixture(scope="session")
def size() -> Size:
    return Size(quiet=4, devices=2, rooms=2, talkers=3, pace=0.3)


@pytest.fixture(scope="session")
def load(fleet: Fleet, size: Size, pytestconfig: pytest.Config) -> Iterator[Load]:
    """Users who are there from before the first change until after the last; what they have said is data of the server."""
    load = Load(Edge(f"http://{fleet.ip(HOST)}", "monolith.example"), size)
    try:
        with load:
            yield load
    finally:
        capture = pytestconfig.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"\n{load.table()}")


class Server:
    """What was found of it, and where."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "adopted"
        self.report = (self.folder / "report.md").read_text()
        self.inventory = self.folder / "inventory.yml"
        self.before: set[str] = set()

    def play(self, playbook: str, *options: str) -> str:
        command = ["nice", "-n", "10", "ansible-playbook", f"--inventory={self.inventory}", f"synapse.workers.{playbook}", *options]
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=self.fleet.environment)
        assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
        return run.stdout


@pytest.fixture(scope="module")
def server(fleet: Fleet) -> Server:
    return Server(fleet)


def operation(load: Load, name: str, act: Any) -> Figures:
    with load.operation(name) as under_way:
        act()
        # What comes of it shows in the next requests.
        enough = len(load.book.entries) + 30
        while len(load.book.entries) < enough:
            time.sleep(0.1)
    return load.figures(under_way)


def test_the_inventory_says_what_is_there(server: Server) -> None:
    variables = yaml.safe_load(server.inventory.read_text())["synapse"]["vars"]
    assert variables["synapse_service"] == SERVICE
    assert variables["synapse_server_name"] == "monolith.example"
    assert variables["synapse_config_dir"] == "/etc/synapse"
    assert variables["synapse_workers"] == []
    assert "kept-by-hand" not in server.inventory.read_text() + server.report
    assert "include /etc/nginx/snippets/synapse[.]conf;" in server.report


def test_to_look_changes_nothing(fleet: Fleet, server: Server) -> None:
    before = snapshot(fleet)
    server.play("adopt", f"--extra-vars=adopt_dir={server.folder}")
    assert snapshot(fleet) == before


def test_a_dry_run_shows_additions_only(fleet: Fleet, server: Server) -> None:
    inventory = yaml.safe_load(server.inventory.read_text())
    inventory["synapse"]["vars"]["synapse_workers"] = WORKERS
    server.inventory.write_text(yaml.safe_dump(inventory, sort_keys=False))
    before = snapshot(fleet)
    shown = server.play("roll_out", "--check", "--diff")
    there = {line.split(" ")[-2] for line in before if re.match(r"f \d+ \S+ /", line)}
    diffs = re.findall(r"^--- before: (\S+)( \(absent\))?$", shown, re.MULTILINE)
    assert len(diffs) > 15
    assert {path for path, absent in diffs if path in there} == set()
    # It also says what the operator has to do himself.
    assert "include /etc/nginx/snippets/synapse[.]conf;" in shown
    assert snapshot(fleet) == before


def test_without_the_line_in_the_vhost_nothing_begins(fleet: Fleet, server: Server) -> None:
    before = snapshot(fleet)
    with pytest.raises(AssertionError, match="no server block of nginx includes"):
        server.play("roll_out")
    assert snapshot(fleet) == before


def test_nobody_notices_that_it_is_taken_over(fleet: Fleet, server: Server, load: Load) -> None:
    # What the documentation tells the operator.
    line = "include /etc/nginx/snippets/synapse[.]conf;"
    fleet.output(HOST, f"sed -i 's,^    server_name monolith.example;,&\\n    {line},' {VHOST} && systemctl reload nginx")
    assert line in fleet.output(HOST, f"cat {VHOST}")
    server.before = snapshot(fleet)
    figures = operation(load, "taken over", lambda: server.play("roll_out"))
    assert figures.requests > 50
    assert not figures.noticed, load.table()


def test_workers_answer(fleet: Fleet, load: Load) -> None:
    log = fleet.output(HOST, "cat /var/log/nginx/synapse.access.log")
    assert set(re.findall(r"worker=(\w+-\d)", log)) == NAMES
    running = fleet.output(HOST, "systemctl list-units --plain --no-legend --state=active 'synapse-worker@*' | cut -d' ' -f1")
    assert {unit.partition("@")[2].removesuffix(".service") for unit in running.split()} == NAMES


def test_what_the_operator_wrote_is_as_it_was(fleet: Fleet, server: Server) -> None:
    # Groups gain a member, as the account of Synapse reads the socket of Redis; and the package's template of Redis has an instance.
    expected = re.compile(r" /etc/g?(group|shadow)$|^redis-server@\.service ")
    assert {line for line in server.before - snapshot(fleet) if not expected.search(line)} == set()


def test_nobody_notices_that_it_is_given_back(server: Server, load: Load) -> None:
    figures = operation(load, "given back", lambda: server.play("remove", "--extra-vars=remove_secrets=true"))
    assert figures.requests > 50
    assert not figures.noticed, load.table()


def test_the_host_is_byte_for_byte_what_it_was(fleet: Fleet, server: Server) -> None:
    now = snapshot(fleet)
    assert sorted(server.before - now) == []
    assert sorted(now - server.before) == []


def test_to_give_back_twice_changes_nothing(fleet: Fleet, server: Server) -> None:
    assert "nothing of this collection is on the hosts" in server.play("remove")
    assert snapshot(fleet) == server.before

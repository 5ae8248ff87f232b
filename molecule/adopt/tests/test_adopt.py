"""A monolith that somebody set up by hand is taken over under load and given back, and nobody notices.

The tests of this file are one story, in their order. The last one compares what is on the host with what was there before the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml
from by_hand import Server, operation, users
from fleet import Fleet
from outsider.edge import Edge

from bench.load.load import Load

HOST = "synapse-adopt-monolith"
SERVICE = "synapse"
# What a client would miss first if it were not taken over.
WORKERS = [{"type": "synchrotron", "count": 2}, {"type": "event_creator"}, {"type": "typing"}, {"type": "media_repository"}]
NAMES = {"synchrotron-1", "synchrotron-2", "event_creator-1", "typing-1", "media_repository-1"}


@pytest.fixture(scope="module")
def load(fleet: Fleet, pytestconfig: pytest.Config) -> Iterator[Load]:
    """Users who are there from before the first change until after the last; what they have said is data of the server."""
    with users(Edge(f"http://{fleet.ip(HOST)}", "monolith.example"), pytestconfig) as load:
        yield load


@pytest.fixture(scope="module")
def server(fleet: Fleet) -> Server:
    return Server(fleet, HOST)


def test_the_inventory_says_what_is_there(server: Server) -> None:
    variables = yaml.safe_load(server.inventory.read_text())["synapse"]["vars"]
    assert variables["synapse_service"] == SERVICE
    assert variables["synapse_server_name"] == "monolith.example"
    assert variables["synapse_config_dir"] == "/etc/synapse"
    assert variables["synapse_workers"] == []
    assert "kept-by-hand" not in server.inventory.read_text() + server.report
    assert "include /etc/nginx/snippets/synapse[.]conf;" in server.report


def test_to_look_changes_nothing(server: Server) -> None:
    before = server.snapshot()
    server.play("adopt", f"--extra-vars=adopt_dir={server.folder}")
    assert server.snapshot() == before


def test_a_dry_run_shows_additions_only(server: Server) -> None:
    inventory = yaml.safe_load(server.inventory.read_text())
    inventory["synapse"]["vars"]["synapse_workers"] = WORKERS
    server.inventory.write_text(yaml.safe_dump(inventory, sort_keys=False))
    before = server.snapshot()
    shown = server.play("roll_out", "--check", "--diff")
    there = {line.split(" ")[-2] for line in before if re.match(r"f \d+ \S+ /", line)}
    diffs = re.findall(r"^--- before: (\S+)( \(absent\))?$", shown, re.MULTILINE)
    assert len(diffs) > 15
    assert {path for path, absent in diffs if path in there} == set()
    # It also says what the operator has to do himself.
    assert "include /etc/nginx/snippets/synapse[.]conf;" in shown
    assert server.snapshot() == before


def test_without_the_line_in_the_vhost_nothing_begins(server: Server) -> None:
    before = server.snapshot()
    with pytest.raises(AssertionError, match="no server block of nginx includes"):
        server.play("roll_out")
    assert server.snapshot() == before


def test_nobody_notices_that_it_is_taken_over(server: Server, load: Load) -> None:
    server.include("monolith.example", "/etc/nginx/snippets/synapse[.]conf")
    server.before = server.snapshot()
    figures = operation(load, "taken over", lambda: server.play("roll_out"))
    assert figures.requests > 50
    assert not figures.noticed, load.table()


def test_workers_answer(server: Server) -> None:
    log = server.output("cat /var/log/nginx/synapse.access.log")
    assert set(re.findall(r"worker=(\w+-\d)", log)) == NAMES
    assert server.workers(SERVICE) == NAMES


def test_what_the_operator_wrote_is_as_it_was(server: Server) -> None:
    # Groups gain a member, as the account of Synapse reads the socket of Redis; and the package's template of Redis has an instance.
    expected = re.compile(r" /etc/g?(group|shadow)$|^redis-server@\.service ")
    assert {line for line in server.before - server.snapshot() if not expected.search(line)} == set()


def test_nobody_notices_that_it_is_given_back(server: Server, load: Load) -> None:
    figures = operation(load, "given back", lambda: server.play("remove", "--extra-vars=remove_secrets=true"))
    assert figures.requests > 50
    assert not figures.noticed, load.table()


def test_the_host_is_byte_for_byte_what_it_was(server: Server) -> None:
    now = server.snapshot()
    assert sorted(server.before - now) == []
    assert sorted(now - server.before) == []


def test_to_give_back_twice_changes_nothing(server: Server) -> None:
    assert "nothing of this collection is on the hosts" in server.play("remove")
    assert server.snapshot() == server.before

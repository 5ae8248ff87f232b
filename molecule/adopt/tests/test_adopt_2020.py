"""The set-up of an administrator of 2020, alive on the last Synapse that runs it, is rolled out on the newest under load.

The tests of this file are one story, in their order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import yaml
from by_hand import VHOST, Server, operation, users
from fleet import Fleet
from outsider.edge import Edge

from bench.load.book import LONG_POLL
from bench.load.load import Load

HOST = "synapse-adopt-2020"
SERVICE = "matrix-synapse"
BEFORE = {
    "event_creator1",
    "federation_reader1",
    "federation_sender1",
    "media_repository1",
    "pusher1",
    "synchrotron1",
    "synchrotron2",
}
NAMES = {
    "synchrotron-1",
    "synchrotron-2",
    "event_creator-1",
    "media_repository-1",
    "federation_reader-1",
    "federation_sender-1",
    "pusher-1",
}
# What is obsolete → what the report has to say of its successor.
SUCCESSORS = {
    "send_federation: false": "federation_sender_instances",
    "start_pushers: false": "pusher_instances",
    "the listener on port 9092 of type replication": "Redis",
    "worker_replication_port": "Redis",
    "worker_replication_host": "instance_map",
    "worker_replication_http_port": "instance_map",
    "no worker_name": "a name for every worker",
    "send_federation": "federation_sender_instances",
    **{
        f"worker_app: synapse.app.{app}": "synapse.app.generic_worker"
        for app in ("event_creator", "federation_reader", "federation_sender", "media_repository", "pusher", "synchrotron")
    },
}


@pytest.fixture(scope="module")
def load(fleet: Fleet, pytestconfig: pytest.Config) -> Iterator[Load]:
    """Users who came when it was an old Synapse, by the paths that it knows, and who stay."""
    with users(Edge(f"http://{fleet.ip(HOST)}", "old.example"), pytestconfig, "/_matrix/media/v3/download") as load:
        yield load


@pytest.fixture(scope="module")
def server(fleet: Fleet) -> Server:
    return Server(fleet, HOST)


def release(server: Server) -> str:
    """Of the main process that answers."""
    return str(json.loads(server.fleet.get(HOST, "http://127.0.0.1:8008/_matrix/federation/v1/version"))["server"]["version"])


def states(server: Server) -> dict[str, tuple[str, str]]:
    """Worker of before → (whether it runs, whether it is enabled)."""
    found = {}
    for name in BEFORE:
        shown = server.output(f"systemctl show --property=ActiveState,UnitFileState --value matrix-synapse-{name}.service")
        active, enabled = shown.split()
        found[name] = (active, enabled)
    return found


def test_every_obsolete_setting_is_named_with_its_successor(server: Server) -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in server.report.splitlines() if line.startswith("| ")]
    said = {row[0]: row[2] for row in rows if len(row) == 4 and not row[0].startswith("-") and row[0] != "what"}
    assert set(said) == set(SUCCESSORS)
    assert {what for what, successor in SUCCESSORS.items() if successor not in said[what]} == set()
    # What all processes would stumble over is said once.
    assert server.report.count("Using direct TCP replication") == 1


def test_it_lives_on_the_release_that_ran_it(server: Server, load: Load) -> None:
    assert release(server) == "1.66.0"
    assert states(server) == dict.fromkeys(BEFORE, ("active", "enabled"))
    assert load.book.entries


def test_nothing_but_long_polls_is_cut_while_it_is_taken_over(server: Server, load: Load) -> None:
    # As the report says.
    assert "write it as `location ~ ^/_matrix/media/`" in " ".join(server.report.split())
    server.output(f"sed -i 's,location /_matrix/media/,location ~ ^/_matrix/media/,' {VHOST}")
    server.include("old.example", "/etc/nginx/snippets/matrix-synapse[.]conf")
    server.before = server.snapshot()
    figures = operation(load, "taken over, from 1.66 to the newest", lambda: server.play("roll_out"))
    assert figures.requests > 50
    # Those that the old workers were answering when the old main process stopped, and they with it; clients ask them again.
    assert set(figures.failures) <= {(LONG_POLL, "502 of the edge")}, load.table()
    assert figures.failed <= load.size.polls
    assert not figures.harm, load.table()


def test_the_newest_release_answers(server: Server) -> None:
    newest = yaml.safe_load(server.inventory.read_text())["synapse"]["vars"]["synapse_version"]
    assert release(server) == newest
    log = server.output("cat /var/log/nginx/matrix-synapse.access.log")
    # Those of the background take no requests.
    assert set(re.findall(r"worker=(\w+-\d)", log)) == NAMES - {"pusher-1", "federation_sender-1"}
    assert server.workers(SERVICE) == NAMES


def test_the_old_workers_are_kept_and_do_not_come_back(server: Server) -> None:
    assert states(server) == dict.fromkeys(BEFORE, ("inactive", "disabled"))


def test_what_the_operator_wrote_is_as_it_was(server: Server) -> None:
    expected = re.compile(
        r" /etc/g?(group|shadow)$|^redis-server@\.service |matrix-synapse\.service\.wants|^matrix-synapse-\w+1\.service|2\.service"
    )
    assert {line for line in server.before - server.snapshot() if not expected.search(line)} == set()


def test_another_run_changes_nothing(server: Server) -> None:
    assert "nothing changes" in server.play("roll_out")


def test_there_is_no_way_back_to_what_cannot_start(server: Server) -> None:
    before = server.snapshot()
    with pytest.raises(AssertionError, match="TCP replication"):
        server.play("remove")
    assert server.snapshot() == before

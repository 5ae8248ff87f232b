"""Users and other servers are answered, and by the workers that the plan names for it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from fleet import SERVICE, Fleet
from outsider.judge import NOBODY, REFUSED, Row, table


def wrong(rows: list[Row]) -> str:
    """What a failed test says: the rows that went wrong."""
    return table([row for row in rows if row.problems])


def test_every_request_is_answered_by_the_worker_planned_for_it(outcome: list[Row]) -> None:
    asked = [row for row in outcome if row.label != REFUSED]
    assert len(asked) > 150
    assert not [row for row in asked if row.problems], wrong(asked)


def test_no_process_is_asked_what_it_does_not_know(outcome: list[Row]) -> None:
    asked = [row for row in outcome if row.label != REFUSED]
    assert not [row.path for row in asked if row.response.json.get("errcode") == "M_UNRECOGNIZED"]


def test_every_type_that_takes_requests_got_some(outcome: list[Row], fleet: Fleet) -> None:
    silent = {"event_persister", "federation_sender", "pusher", "appservice", "background_worker"}
    planned = {kind for row in fleet.rows for kind in row.get("types", [row.get("type")])} - silent
    answered = {kind for row in outcome for kind in row.expected if not row.problems}
    assert planned <= answered


def test_what_is_private_is_refused_in_every_spelling(outcome: list[Row]) -> None:
    refused = [row for row in outcome if row.label == REFUSED]
    assert len(refused) > 50
    assert not [row for row in refused if row.problems], wrong(refused)


def test_the_log_names_worker_and_upstream(outcome: list[Row]) -> None:
    passed_on = [row for row in outcome if row.worker != NOBODY]
    assert passed_on
    assert not [row.path for row in passed_on if not row.upstreams]


@pytest.fixture(scope="module")
def seen_by_synapse(outcome: list[Row], fleet: Fleet) -> dict[str, tuple[str, str]]:
    """User agent → unit and request target, as Synapse's own request log has them."""
    run = outcome[0].agent.rpartition("-")[0]
    line = re.compile(rf'"[A-Z]+ (\S+) HTTP/1\.[01]" "({re.escape(run)}-\d+)"')
    seen = {}
    for host in fleet.hosts:
        fields = "--output=json --output-fields=_SYSTEMD_UNIT,MESSAGE"
        journal = fleet.output(host, f"journalctl --no-pager {fields} --unit='{SERVICE}*' --grep={run} || true")
        for entry in map(json.loads, journal.splitlines()):
            for target, agent in line.findall(str(entry["MESSAGE"])):
                seen[agent] = (entry["_SYSTEMD_UNIT"], target)
    return seen


@pytest.mark.parametrize(
    ("claim", "meant"),
    [
        ("exclamation mark", lambda path: "%21" in path),
        ("number sign", lambda path: "%23" in path),
        ("colon", lambda path: "%3A" in path),
        ("slash", lambda path: "%2F" in path),
        ("line feed", lambda path: "%0A" in path),
        ("dots between slashes", lambda path: "%2F..%2F" in path),
        ("anything", lambda _path: True),
    ],
)
def test_the_path_reaches_the_worker_byte_for_byte(
    claim: str, meant: Callable[[str], bool], outcome: list[Row], seen_by_synapse: dict[str, tuple[str, str]]
) -> None:
    # Synapse takes tokens out of its log, and logs OPTIONS at DEBUG only.
    logged = [row for row in outcome if row.worker != NOBODY and row.method != "OPTIONS" and "token" not in row.path]
    rows = [row for row in logged if meant(row.path)]
    assert rows, claim
    sent = {row.agent: row.path for row in rows}
    assert {agent: seen_by_synapse.get(agent, ("", "not in the journal"))[1] for agent in sent} == sent


def test_the_log_names_the_worker_that_synapse_says(outcome: list[Row], seen_by_synapse: dict[str, tuple[str, str]]) -> None:
    named = {row.agent: row.worker for row in outcome if row.agent in seen_by_synapse}
    assert len(named) > 150
    units = {agent: SERVICE + (f"-worker@{name}" if name != "main" else "") + ".service" for agent, name in named.items()}
    assert {agent: seen_by_synapse[agent][0] for agent in named} == units

"""Which processes a change of the plan concerns, and how a run is told."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.plugin_utils._change_plan import change_report, process_states

from .plans import good_plan

UNITS = {"main": "main unit", "worker": "worker unit"}
BASE: list[dict[str, Any]] = [
    {"type": "synchrotron", "count": 2},
    {"type": "client_reader"},
    {"type": "federation_sender", "count": 2},
    {"type": "pusher"},
    {"types": ["typing", "presence"], "name": "writers"},
    {"type": "media_repository"},
]


def states(*rows: Any, **changes: Any) -> dict[str, dict[str, Any]]:
    return {state["name"]: state for state in process_states(good_plan(*rows, **changes), "app1", UNITS)}


def concerned(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """{process that both have: the parts that differ}."""
    return {
        name: parts
        for name, state in after.items()
        if name in before and (parts := [part for part in state["parts"] if state["parts"][part] != before[name]["parts"][part]])
    }


ALL = (
    "main",
    "synchrotron-1",
    "synchrotron-2",
    "client_reader-1",
    "federation_sender-1",
    "federation_sender-2",
    "pusher-1",
    "writers-1",
    "media_repository-1",
)
CHANGES: dict[str, tuple[list[dict[str, Any]], dict[str, list[str]]]] = {
    "another synchrotron": ([{**BASE[0], "count": 3}, *BASE[1:]], {}),
    "a reader fewer": ([row for row in BASE if row.get("type") != "client_reader"], {}),
    "another media worker": ([*BASE[:5], {"type": "media_repository", "count": 2}], {}),
    "another pusher": (
        [*BASE[:3], {"type": "pusher", "count": 2}, *BASE[4:]],
        {"main": ["duties"], "pusher-1": ["duties"]},
    ),
    "another sender": (
        [*BASE[:2], {"type": "federation_sender", "count": 3}, *BASE[3:]],
        {name: ["duties"] for name in ("main", "federation_sender-1", "federation_sender-2", "writers-1")},
    ),
    "another writer": ([*BASE, {"type": "receipts"}], {name: ["stream writers"] for name in ALL}),
    "a level of one row": (
        [{**BASE[0], "log_level": "DEBUG"}, *BASE[1:]],
        {name: ["own settings"] for name in ("synchrotron-1", "synchrotron-2")},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_concerns_those_who_read_it(change: str) -> None:
    rows, expected = CHANGES[change]
    assert concerned(states(*BASE), states(*rows)) == expected


def test_a_shared_setting_concerns_everyone() -> None:
    before = states(*BASE)
    after = states(*BASE, extra={"enable_registration": True})
    assert concerned(before, after) == {key: ["shared settings"] for key in before}


def test_senders_and_writers_never_change_one_by_one() -> None:
    value = states(*BASE)
    assert value["federation_sender-1"]["together"] == ["stream writers", "secrets", "duties"]
    assert value["synchrotron-1"]["together"] == ["stream writers", "secrets"]


def test_who_must_be_gone_before_others_take_up_its_duty() -> None:
    value = states(*BASE, {"type": "background_worker"}, {"type": "event_persister"})
    assert {name for name, state in value.items() if state["yields"]} == {
        "federation_sender-1",
        "federation_sender-2",
        "pusher-1",
        "writers-1",
        "background_worker-1",
        "event_persister-1",
    }


def test_a_run_is_told_once_per_process() -> None:
    entries = [
        {"name": "main", "action": "stop", "reason": "stream writers changed for several processes at once"},
        {"name": "typing-1", "action": "stop", "reason": "is no longer planned, and its duty passes to others"},
        {"name": "main", "action": "start", "reason": "is not running"},
        {"name": "synchrotron-1", "action": "keep", "reason": ""},
        {"name": "typing-1", "action": "retire", "reason": "is no longer planned"},
    ]
    assert change_report(entries) == [
        "restart  main      stream writers changed for several processes at once",
        "retire   typing-1  is no longer planned, and its duty passes to others",
        "1 process kept as it is",
    ]
    assert change_report([]) == ["no processes here"]

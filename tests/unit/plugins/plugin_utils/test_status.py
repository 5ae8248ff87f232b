"""What an operator reads of processes: who is not ready, who is near the limit, and what to do about it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.plugin_utils._status import advice, status_report

from .plans import good_plan

NOW = 1_800_000_000.0
ONE_HOST = {"hosts": {"app1": "127.0.0.1"}, "groups": {"synapse": ["app1"]}}


def entry(name: str, busy: float | None = 0.1, **other: Any) -> dict[str, Any]:
    value = {
        "name": name,
        "state": "active",
        "missing": "",
        "memory_bytes": 120_000_000,
        "busy": busy,
        "since": int(NOW) - 7200,
        "restarts": 0,
        "reason": "is new",
    }
    return {**value, **other}


def seen(*entries: dict[str, Any], cores: int = 4, seconds: float = 60.0) -> dict[str, Any]:
    return {"app1": {"processes": list(entries), "cores": cores, "seconds": seconds}}


TWO = good_plan({"type": "synchrotron", "count": 2}, **ONE_HOST)


def test_a_line_for_each_process() -> None:
    counted: list[dict[str, Any]] = [{"answered_by": {"synchrotron-1": {"requests": 900}, "-": {"requests": 4}}}, {"failed": True}]
    value = status_report(TWO, seen(entry("main"), entry("synchrotron-1", 0.3), entry("synchrotron-2")), counted, 15, NOW)
    assert value == [
        "process        state  busy  memory  requests/s  up for  started because",
        "main           ready   10%  120 MB        0.00     2 h  is new",
        "synchrotron-1  ready   30%  120 MB        1.00     2 h  is new",
        "synchrotron-2  ready   10%  120 MB        0.00     2 h  is new",
        "together: 0.5 of 4 cores, 360 MB, 3 processes",
    ]


def test_what_is_not_ready_is_said_with_where_to_look() -> None:
    down = entry("synchrotron-2", None, state="failed", missing="its unit is failed", memory_bytes=None, since=0, reason="")
    value = status_report(TWO, seen(entry("main"), entry("synchrotron-1"), down), [], 15, NOW)
    assert value[3] == "synchrotron-2  failed"
    assert (
        value[-1] == "synchrotron-2: its unit is failed; its journal: journalctl -u matrix-synapse-worker@synchrotron-2.service"
    )


@pytest.mark.parametrize(
    ("rows", "busy", "more", "words"),
    [
        pytest.param(
            {}, {"main": 0.9}, {}, "main was at 90% of a core for 60 s: synapse.workers.analyse_access_log says", id="main"
        ),
        pytest.param(
            {},
            {"synchrotron-1": 0.94, "synchrotron-2": 0.9},
            {},
            "synchrotron was at 92% of a core for 60 s: count: 2 → 3",
            id="both",
        ),
        pytest.param(
            {},
            {"main": 0.1, "synchrotron-1": 0.94, "synchrotron-2": 0.9},
            {"cores": 2},
            "another one needs a core, and their hosts have none to spare",
            id="no core left",
        ),
        pytest.param(
            {},
            {"synchrotron-1": 0.95, "synchrotron-2": 0.1},
            {},
            "synchrotron-1 was at 95% of a core for 60 s, its siblings at 10%: synchrotron keeps a user on one worker",
            id="one of two",
        ),
        pytest.param(
            {},
            {"synchrotron-1": 0.1, "synchrotron-2": 0.1},
            {"seconds": 3600.0},
            "synchrotron: 2 workers were at 10% of a core each for 60 min; 1 would do",
            id="at leisure",
        ),
        pytest.param({"type": "typing"}, {"typing-1": 0.9}, {}, "Synapse allows one of them", id="single writer"),
    ],
)
def test_advice_names_the_change(rows: dict[str, Any], busy: dict[str, float], more: dict[str, Any], words: str) -> None:
    plan = good_plan(rows, **ONE_HOST) if rows else TWO
    (sentence,) = advice(plan, seen(*(entry(name, share) for name, share in busy.items()), **more))
    assert words in sentence


def test_a_busy_day_with_room_needs_no_advice() -> None:
    assert advice(TWO, seen(entry("main", 0.5), entry("synchrotron-1", 0.6), entry("synchrotron-2", 0.7), seconds=3600.0)) == []

"""What an operator is told of a run, before it and after."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.plugin_utils._change_words import (
    chosen_processes,
    interruptions,
    not_rolled_out,
    plan_report,
    run_report,
    waits,
)

from .plans import good_plan

ROWS: list[dict[str, Any]] = [
    {"type": "synchrotron", "host": "app2", "count": 3},
    {"type": "federation_sender", "count": 2},
    {"types": ["typing", "receipts"], "name": "writers"},
    {"type": "media_repository"},
]
TOPOLOGY = good_plan(*ROWS)
SYNCS = ["synchrotron-app2-1", "synchrotron-app2-2", "synchrotron-app2-3"]


def plans(changes: dict[str, tuple[str, str]], **nginx: str) -> dict[str, list[dict[str, Any]]]:
    """{host: entries}: ``changes`` by name, as (action, reason), what is not named is kept."""
    found: dict[str, list[dict[str, Any]]] = {"app1": [], "app2": [], "app3": []}
    for process in [TOPOLOGY["main"], *TOPOLOGY["workers"]]:
        action, reason = changes.get(process["name"], ("keep", ""))
        found[process["host"]].append({"name": process["name"], "action": action, "reason": reason, "stops": False})
    found["app1"].append({"name": "nginx", "action": "keep", "reason": "", "stops": False, **nginx})
    return found


def test_what_stays_as_it_is_takes_one_line() -> None:
    assert plan_report(TOPOLOGY, plans({})) == ["nothing changes: 9 processes stay as they are"]


def test_the_plan_is_a_short_table_in_the_order_of_what_happens() -> None:
    value = plans(
        {
            SYNCS[2]: ("start", "is new"),
            SYNCS[0]: ("restart", "own settings changed"),
            SYNCS[1]: ("restart", "own settings changed"),
            "main": ("restart", "duties changed"),
            "federation_sender-1": ("stop, start", "duties changed"),
        },
        action="reload",
        reason="matrix-synapse.conf changed",
    )
    value["app1"].append({"name": "pusher-1", "action": "retire", "reason": "is no longer planned", "stops": False})
    assert plan_report(TOPOLOGY, value) == [
        "action       process                host  why",
        "stop, start  federation_sender-1    app1  duties changed",
        "restart      main                   app1  duties changed",
        "restart      synchrotron-app2-1..2  app2  own settings changed",
        "start        synchrotron-app2-3     app2  is new",
        "reload       nginx                  app1  matrix-synapse.conf changed",
        "retire       pusher-1               app1  is no longer planned",
        "3 processes stay as they are",
    ]


def test_a_reload_for_the_sake_of_waves_is_in_the_plan() -> None:
    lines = plan_report(TOPOLOGY, plans({SYNCS[0]: ("restart", "asked for")}))
    assert "reload   nginx               app1  sends nothing to workers while they restart" in lines


SOME_SECONDS = "until it is back, some seconds"


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({}, []),
        (dict.fromkeys(SYNCS, ("restart", "asked for")), []),
        ({"main": ("start", "is new"), SYNCS[0]: ("start", "is new")}, []),
        (
            {"main": ("restart", "duties changed")},
            [f"main restarts (duties changed): requests that no worker answers fail {SOME_SECONDS}"],
        ),
        (
            {"writers-1": ("restart", "asked for")},
            [f"writers-1 restarts, and nobody can stand in: requests for typing, receipts fail or wait {SOME_SECONDS}"],
        ),
        (
            dict.fromkeys(("writers-1", "media_repository-1"), ("restart", "asked for")),
            [
                "media_repository-1, writers-1 restart one by one, and nobody can stand in: requests for media_repository, "
                "quarantined_media_changes, typing, receipts fail or wait until each is back, some seconds"
            ],
        ),
        (
            dict.fromkeys(("federation_sender-1", "federation_sender-2"), ("stop, start", "duties changed")),
            [
                "federation_sender-1 and federation_sender-2 stop before anything starts (duties changed): what they do waits "
                "until they are back, some seconds"
            ],
        ),
        (
            dict.fromkeys(["main", "writers-1", *SYNCS], ("stop, start", "stream writers changed")),
            [
                "5 processes stop before anything starts (stream writers changed): nobody is served until they are back, about "
                "half a minute"
            ],
        ),
    ],
)
def test_what_users_notice_is_said(changes: dict[str, tuple[str, str]], sentences: list[str]) -> None:
    assert interruptions(TOPOLOGY, plans(changes)) == sentences


WAIT = "requests wait at nginx until they can be answered"


@pytest.mark.parametrize(
    ("changes", "refusable", "waited_for"),
    [
        ({}, [], []),
        (dict.fromkeys(SYNCS, ("restart", "asked for")), [], []),
        ({"main": ("restart", "duties changed")}, [], [f"main restarts (duties changed): {WAIT}, some seconds"]),
        (
            {"main": ("restart", "duties changed"), "writers-1": ("restart", "asked for")},
            [],
            [f"main and writers-1 restart (duties changed, asked for): {WAIT}, some seconds"],
        ),
        (
            dict.fromkeys(("federation_sender-1", "federation_sender-2"), ("stop, start", "duties changed"))
            | {"main": ("restart", "duties changed")},
            [
                "federation_sender-1 and federation_sender-2 stop before anything starts (duties changed): what they do waits "
                "until they are back, some seconds"
            ],
            [f"main restarts (duties changed): {WAIT}, some seconds"],
        ),
        (
            dict.fromkeys(["main", "writers-1", *SYNCS], ("stop, start", "stream writers changed")),
            [f"5 processes stop before anything starts (stream writers changed): {WAIT}, about half a minute"],
            [],
        ),
    ],
)
def test_with_an_nginx_that_holds_requests_they_wait(
    changes: dict[str, tuple[str, str]], refusable: list[str], waited_for: list[str]
) -> None:
    value = plans(changes)
    value["app1"][-1]["known"] = True
    assert (interruptions(TOPOLOGY, value), waits(TOPOLOGY, value)) == (refusable, waited_for)
    reloads = [line for line in plan_report(TOPOLOGY, value) if "holds requests while processes restart" in line]
    assert bool(reloads) == any("at nginx" in sentence for sentence in refusable + waited_for)


def test_an_nginx_outside_of_the_run_cannot_be_turned_away() -> None:
    value = plans({SYNCS[0]: ("restart", "asked for")})
    del value["app1"]
    assert interruptions(TOPOLOGY, value) == [
        "nginx on app1 is left out of this run (--limit) and goes on asking workers that restart: "
        "requests that are under way are cut"
    ]


def done(name: str, action: str, reason: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name, "action": action, "reason": reason, **more}


def test_a_run_that_did_what_it_said_is_told_in_a_line() -> None:
    value = plans({"main": ("stop, start", "secrets changed"), SYNCS[0]: ("start", "is new"), SYNCS[1]: ("restart", "asked for")})
    happened = {
        "app1": [
            done("main", "stop", "secrets changed"),
            done("main", "start", "is not running"),
            *[done("nginx", "reload")] * 3,
        ],
        "app2": [done(SYNCS[0], "start", "is new"), done(SYNCS[1], "restart"), done(SYNCS[2], "keep")],
    }
    assert run_report(TOPOLOGY, value, happened) == ["done as planned: 1 stopped and started, 1 restarted, 1 started, 1 reloaded"]
    assert run_report(TOPOLOGY, plans({}), {"app1": [], "app2": []}) == ["done as planned: nothing had to change"]


def test_what_went_otherwise_is_told_by_name() -> None:
    value = plans({SYNCS[0]: ("start", "is not running")})
    happened = {"app1": [done("main", "restart", "Synapse 1.162.0 to 1.163.2")], "app2": []}
    assert run_report(TOPOLOGY, value, happened) == [
        "done: 1 restarted",
        "main on app1: restart (Synapse 1.162.0 to 1.163.2), which was not planned",
        "synchrotron-app2-1 on app2: start was planned and not needed",
    ]


def test_requests_that_were_cut_are_told() -> None:
    value = plans({SYNCS[0]: ("restart", "asked for")}, action="reload")
    happened = {"app1": [done("nginx", "reload")], "app2": [done(SYNCS[0], "restart", "asked for", cut=2)]}
    assert run_report(TOPOLOGY, value, happened) == [
        "done as planned: 1 restarted, 1 reloaded",
        "synchrotron-app2-1 on app2: 2 requests were still under way when it had to stop, and were cut (synapse_drain_timeout)",
    ]


def test_requests_that_were_cut_after_they_were_held_are_told_of_who_cut_them() -> None:
    value = plans({"main": ("stop, start", "stream writers changed")})
    happened = {"app1": [done("main", "keep", cut=3), done("main", "stop", "stream writers changed"), done("main", "start")]}
    assert run_report(TOPOLOGY, value, happened)[-1] == (
        "main on app1: 3 requests were still under way when it had to stop, and were cut (synapse_drain_timeout)"
    )


@pytest.mark.parametrize(
    ("only", "main", "names"),
    [
        ("", False, ["synchrotron-app2-1", "synchrotron-app2-2", "synchrotron-app2-3", "media_repository-1", "writers-1",
                     "federation_sender-1", "federation_sender-2"]),
        ("[synchrotron]", False, SYNCS),
        (["receipts", "federation_sender-2"], True, ["main", "writers-1", "federation_sender-2"]),
        ("'main', media_repository", False, ["main", "media_repository-1"]),
    ],
)  # fmt: skip
def test_who_is_meant(only: Any, main: bool, names: list[str]) -> None:
    assert chosen_processes(TOPOLOGY, only, main) == names


def test_whom_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="synchrotrons, pusher: no planned process and no type of one; there are"):
        chosen_processes(TOPOLOGY, "[synchrotrons, typing, pusher]")


def test_what_is_not_on_the_hosts_yet_is_named() -> None:
    value = plans({SYNCS[0]: ("start", "is new"), SYNCS[1]: ("start", "is not running"), "main": ("restart", "secrets changed")})
    assert not_rolled_out(value) == ["main on app1: secrets changed", "synchrotron-app2-1 on app2: is new"]
    value["app2"].append({"name": "pusher-app2-1", "action": "retire", "reason": "is no longer planned"})
    assert not_rolled_out(value, members_only=True) == [
        "synchrotron-app2-1 on app2: is new",
        "pusher-app2-1 on app2: is no longer planned",
    ]
    assert not_rolled_out(plans({}, action="reload", reason="rolled back", rolled_back="yes")) == []

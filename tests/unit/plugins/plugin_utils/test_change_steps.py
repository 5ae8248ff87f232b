"""In which steps processes change, and that no pool is ever without somebody to ask."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.module_utils._worker_types import BY_NAME
from ansible_collections.synapse.workers.plugins.plugin_utils._change_steps import (
    HELD,
    LEFT_OUT,
    ROLLED_BACK,
    change_steps,
    interim_topology,
    rolled_back,
    untouched,
)
from ansible_collections.synapse.workers.plugins.plugin_utils._nginx import (
    explain_route,
    nginx_holds,
    nginx_locations,
    nginx_upstreams,
)
from hypothesis import given
from hypothesis import strategies as st

from .plans import good_plan, lists_of_rows


def plans(topology: dict[str, Any], actions: dict[str, str], **more: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The plans of all hosts: ``actions`` by name of process, 'keep' for all others; ``more`` by name is added to an entry."""
    found: dict[str, list[dict[str, Any]]] = {host: [] for host in topology["hosts"]}
    for process in [topology["main"], *topology["workers"]]:
        name = process["name"]
        entry = {"name": name, "action": actions.get(name, "keep"), "reason": "", **more.get(name.replace("-", "_"), {})}
        found[process["host"]].append(entry)
    return found


def behind_nginx(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The same with an nginx that can hold requests: one has been rolled out."""
    return {**found, "app1": [*found["app1"], {"name": "nginx", "action": "keep", "reason": "", "known": True}]}


def everybody(topology: dict[str, Any], action: str = "restart") -> dict[str, str]:
    return {process["name"]: action for process in [topology["main"], *topology["workers"]]}


def steps(*rows: Any, actions: dict[str, str] | None = None, **more: dict[str, Any]) -> list[dict[str, Any]]:
    topology = good_plan(*rows)
    return change_steps(topology, plans(topology, everybody(topology) if actions is None else actions, **more))


def told(found: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """(label, processes of all hosts)"""
    return [(step["label"], [name for names in step["processes"].values() for name in names]) for step in found]


def test_where_all_stay_as_they_are_there_is_no_step() -> None:
    assert steps({"type": "synchrotron", "count": 3}, actions={}) == []


def test_main_then_what_does_not_run_then_waves_then_one_by_one() -> None:
    found = steps(
        {"type": "synchrotron", "count": 4},
        {"type": "client_reader"},
        {"type": "pusher"},
        {"type": "event_persister", "count": 2},
        {"type": "typing"},
        {"type": "media_repository"},
        {"type": "event_creator", "count": 2},
        actions={**everybody(good_plan({"type": "synchrotron", "count": 3})), "synchrotron-4": "start"}
        | dict.fromkeys(("client_reader-1", "pusher-1", "typing-1", "media_repository-1"), "restart")
        | dict.fromkeys(("event_creator-1", "event_creator-2", "event_persister-1", "event_persister-2"), "restart"),
    )
    assert told(found) == [
        ("the main process", ["main"]),
        ("what does not run", ["synchrotron-4"]),
        ("wave 1 of 2", ["synchrotron-1", "synchrotron-3", "event_creator-1", "pusher-1"]),
        ("wave 2 of 2", ["synchrotron-2", "client_reader-1", "event_creator-2"]),
        ("media_repository-1", ["media_repository-1"]),
        ("event_persister-1", ["event_persister-1"]),
        ("event_persister-2", ["event_persister-2"]),
        ("typing-1", ["typing-1"]),
    ]
    assert [step["out"] for step in found[2:]] == [
        {"synchrotron": ["synchrotron-1", "synchrotron-3"], "event_creator": ["event_creator-1"]},
        {"synchrotron": ["synchrotron-2"], "client_reader": ["client_reader-1"], "event_creator": ["event_creator-2"]},
        *[{}] * 4,
    ]
    # Twice away, and back before those come that nobody stands in for: three reloads, whatever the number of workers.
    assert [step["turn"] for step in found] == [False, False, True, True, True, False, False, False]
    assert [step["drain"] for step in found] == [False, False, True, True, False, False, False, False]
    assert [step["unserved"] for step in found] == [
        ["main"], [], [], [], ["media_repository", "quarantined_media_changes"], ["event_persister"], ["event_persister"], ["typing"],
    ]  # fmt: skip


def test_without_a_pool_nginx_is_left_alone() -> None:
    found = steps({"type": "pusher", "count": 2}, {"type": "typing"})
    assert told(found) == [
        ("the main process", ["main"]),
        ("wave 1 of 2", ["pusher-1"]),
        ("wave 2 of 2", ["pusher-2"]),
        ("typing-1", ["typing-1"]),
    ]
    assert not any(step["turn"] for step in found)


def test_numbers_start_again_on_each_host_and_a_pool_does_not() -> None:
    found = steps(
        {"type": "synchrotron", "group": "others"}, actions=dict.fromkeys(("synchrotron-app2-1", "synchrotron-app3-1"), "restart")
    )
    assert [step["processes"] for step in found] == [{"app2": ["synchrotron-app2-1"]}, {"app3": ["synchrotron-app3-1"]}]


def test_nobody_is_asked_for_a_duty_before_he_has_learned_of_it() -> None:
    rows = {"types": ["synchrotron", "client_reader"], "name": "readers", "count": 2}
    actions = dict.fromkeys(("readers-1", "readers-2"), "restart")
    only_syncs = {"serves": ["synchrotron"]}
    found = steps(
        rows, {"type": "typing"}, actions={**actions, "typing-1": "restart"}, readers_1=only_syncs, readers_2=only_syncs
    )
    assert [step["out"] for step in found] == [
        {"synchrotron": ["readers-1"], "client_reader": ["readers-1", "readers-2"]},
        {"synchrotron": ["readers-2"], "client_reader": ["readers-2"]},
        {},
    ]


def test_until_all_have_restarted_the_routes_of_the_older_release_hold() -> None:
    rows = {"type": "synchrotron", "count": 2}
    old = {"release": "1.144.0", "upgraded": True}
    found = steps(rows, synchrotron_1=old, synchrotron_2=old)
    assert {step["version"] for step in found if step["turn"]} == {"1.144.0"}
    # A release that does not work is then met at the first type.
    assert [step["in_table_order"] for step in found] == [False, True, True]


def held_steps(*rows: Any, actions: dict[str, str], **more: dict[str, Any]) -> list[dict[str, Any]]:
    topology = good_plan(*rows)
    return change_steps(topology, behind_nginx(plans(topology, actions, **more)))


def test_what_requests_wait_for_restarts_first_and_at_once() -> None:
    found = held_steps(
        {"type": "synchrotron", "count": 2},
        {"type": "pusher"},
        {"type": "event_persister", "count": 2},
        {"type": "typing"},
        {"type": "media_repository"},
        {"type": "client_reader"},
        actions={**everybody(good_plan({"type": "synchrotron", "count": 2}, {"type": "pusher"})), "client_reader-1": "start"}
        | dict.fromkeys(("typing-1", "media_repository-1", "event_persister-1", "event_persister-2"), "restart"),
    )
    assert told(found) == [
        ("what requests wait for", ["main", "media_repository-1", "event_persister-1", "event_persister-2", "typing-1"]),
        ("what does not run", ["client_reader-1"]),
        ("wave 1 of 2", ["synchrotron-1", "pusher-1"]),
        ("wave 2 of 2", ["synchrotron-2"]),
    ]
    assert [step["held"] for step in found] == [True, False, False, False]
    # Then nginx is turned at once: to go by way of the helper is for as long as it has to be.
    assert [step["turn"] for step in found] == [False, True, True, True]
    assert [step["out"] for step in found] == [
        *[{"client_reader": ["client_reader-1"]}] * 2,
        {"synchrotron": ["synchrotron-1"]},
        {"synchrotron": ["synchrotron-2"]},
    ]


def test_what_stopped_together_is_held_until_all_of_it_is_back() -> None:
    rows = ({"type": "synchrotron"}, {"type": "typing"}, {"type": "pusher"}, {"type": "federation_sender"})
    found = held_steps(*rows, actions=everybody(good_plan(*rows), "stop, start"))
    assert [(step["label"], step["held"]) for step in found] == [("what requests wait for", True), ("what does not run", False)]
    # Nobody waits for these.
    assert told(found)[1][1] == ["federation_sender-1", "pusher-1"]


def test_the_main_process_of_a_new_release_is_ready_before_its_workers() -> None:
    """All others follow at once, also those that siblings could stand in for: two releases do not always understand each other."""
    rows = ({"type": "synchrotron", "count": 2}, {"type": "typing"}, {"type": "media_repository"})
    names = everybody(good_plan(*rows))
    old = {name.replace("-", "_"): {"release": "1.144.0", "upgraded": True} for name in names}
    found = held_steps(*rows, actions=names, **old)
    assert [label for label, _members in told(found)] == ["the main process", "what requests wait for"]
    assert sorted(told(found)[1][1]) == sorted(name for name in names if name != "main")
    assert all(step["held"] for step in found)


@pytest.mark.parametrize(
    ("rows", "actions"),
    [
        # Others answer meanwhile.
        (
            [{"type": "synchrotron", "count": 2}, {"type": "client_reader"}],
            {"synchrotron-1": "restart", "client_reader-1": "restart"},
        ),
        # What is not there yet is not missed.
        ([{"type": "typing"}], {"main": "start", "typing-1": "start"}),
        # Nobody asks these.
        (
            [{"type": "federation_sender", "count": 2}],
            {"federation_sender-1": "stop, start", "federation_sender-2": "stop, start"},
        ),
    ],
)
def test_nothing_is_held_for_what_nobody_misses(rows: list[Any], actions: dict[str, str]) -> None:
    assert not any(step["held"] for step in held_steps(*rows, actions=actions))


def test_without_a_wave_nginx_is_turned_by_the_end_of_the_run() -> None:
    found = held_steps({"type": "pusher"}, {"type": "typing"}, actions={"typing-1": "restart", "pusher-1": "restart"})
    assert told(found) == [("what requests wait for", ["typing-1"]), ("wave 1 of 1", ["pusher-1"])]
    assert [step["turn"] for step in found] == [False, True]


@pytest.mark.parametrize(
    ("hold", "known", "held"), [(True, True, True), (False, True, False), (True, False, False)], ids=["held", "off", "no nginx"]
)
def test_where_requests_cannot_be_held_the_main_process_restarts_alone(hold: bool, known: bool, held: bool) -> None:
    topology = good_plan({"type": "typing"}, hold=hold)
    found = behind_nginx(plans(topology, everybody(topology)))
    found["app1"][-1]["known"] = known
    assert [step["held"] for step in change_steps(topology, found)] == ([True] if held else [False, False])


@given(lists_of_rows(), st.data())
def test_while_requests_are_held_each_has_somewhere_to_go(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    topology = good_plan(*rows)
    names = list(everybody(topology))
    actions = {name: data.draw(st.sampled_from(["keep", "start", "restart", "stop, start"])) for name in names}
    found = change_steps(topology, behind_nginx(plans(topology, actions)))
    # Each once, what is held first, and nobody who may be missed after that without a drain.
    assert sorted(name for _label, members in told(found) for name in members) == sorted(
        name for name, action in actions.items() if action != "keep"
    )
    assert [step["held"] for step in found] == sorted((step["held"] for step in found), reverse=True)
    assert not any(step["unserved"] for step in found if not step["held"])
    for step in found:
        if not step["held"]:
            continue
        value = interim_topology(topology, step["out"], step["version"], held=True)
        assert value["note"] == HELD
        locations = {location["name"]: location for location in nginx_locations(value)}
        assert set(locations) == {"main", *value["pools"]}
        ends = {f"released_{name}" for name in locations}
        for location in locations.values():
            assert location["kept_back"]["planned"]
            assert location["kept_back"]["again"] == f"released_{location['name']}"
            # Whoever answers in the end is asked whether he is there.
            assert bool(location["hold"]) != bool(location["stand_in"])
        for hold in nginx_holds(value):
            assert hold["again"] in ends
            assert not hold["planned"]


@given(lists_of_rows(), st.data())
def test_no_pool_is_ever_without_somebody_to_ask(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    topology = good_plan(*rows)
    names = list(everybody(topology))
    chosen = data.draw(st.lists(st.sampled_from(names), unique=True))
    found = change_steps(topology, plans(topology, dict.fromkeys(chosen, "restart")))
    # Each once.
    assert sorted(name for _label, members in told(found) for name in members) == sorted(chosen)
    for step in found:
        restarting = {name for members in step["processes"].values() for name in members}
        interim = interim_topology(topology, step["out"], step["version"])
        for pool, members in topology["pools"].items():
            away = restarting.intersection(members)
            if len(members) > 1 and step["drain"]:
                assert len(away) <= (len(members) + 1) // 2
            if not away or pool in step["unserved"]:
                continue
            if len(away) == len(members):
                # Its requests go to main, or to another type that may serve them.
                assert BY_NAME[pool].fallback_to_main
                assert pool not in interim["pools"] or not step["drain"]
            elif step["drain"]:
                assert set(interim["out"][pool]) == away
        # Whoever restarts after a drain has no request left, whoever gets none is not asked by any pool.
        if step["drain"]:
            up = {
                server["worker"] for upstream in nginx_upstreams(interim) for server in upstream["servers"] if not server["down"]
            }
            assert not up & restarting


@given(lists_of_rows())
def test_while_rolled_back_only_what_main_refuses_goes_to_workers(rows: list[dict[str, Any]]) -> None:
    topology = good_plan(*rows)
    value = rolled_back(topology)
    assert set(value["pools"]) == {pool for pool in topology["pools"] if not BY_NAME[pool].fallback_to_main}
    assert value["out"] == {}
    # Every location that a map may name is there.
    assert {location["name"] for location in nginx_locations(value)} == {"main", *value["pools"]}


@pytest.mark.parametrize(
    ("method", "url", "pool"),
    [
        ("GET", "/_matrix/client/v3/sync?since=1", "main"),
        ("PUT", "/_matrix/client/v3/rooms/!r:x/send/m.room.message/1", "main"),
        ("PUT", "/_matrix/client/v3/rooms/!r:x/typing/@u:x", "typing"),
        ("GET", "/_matrix/client/v1/media/download/x/y", "media_repository"),
    ],
)
def test_rolled_back_requests_go_where_they_are_answered(method: str, url: str, pool: str) -> None:
    topology = good_plan(
        {"type": "synchrotron", "count": 2}, {"type": "event_creator"}, {"type": "typing"}, {"type": "media_repository"}
    )
    assert explain_route(rolled_back(topology), method, url)["pool"] == pool


def test_a_pool_whose_members_are_all_out_stays_where_nobody_can_stand_in() -> None:
    topology = good_plan({"type": "typing"}, {"type": "synchrotron", "count": 2})
    value = interim_topology(topology, {"typing": ["typing-1"], "synchrotron": ["synchrotron-2"]})
    assert value["pools"] == topology["pools"]
    assert value["out"] == {"synchrotron": ["synchrotron-2"]}


def test_only_what_differs_from_the_plan_has_a_note() -> None:
    topology = good_plan({"type": "synchrotron", "count": 2}, {"type": "client_reader"})
    assert interim_topology(topology, {})["note"] == ""
    assert interim_topology(topology, {"client_reader": ["client_reader-1"]})["note"] == LEFT_OUT
    assert interim_topology(topology, {"synchrotron": ["synchrotron-1"]})["note"] == LEFT_OUT
    assert rolled_back(topology)["note"] == ROLLED_BACK
    assert interim_topology(topology, {}, held=True)["note"] == HELD
    # What was rolled back is so still when the run that holds requests comes to a bad end.
    assert interim_topology(rolled_back(topology), {}, held=True)["note"] == ROLLED_BACK


def test_before_the_main_process_knows_of_workers_it_is_asked_for_everything() -> None:
    topology = good_plan({"type": "typing"}, {"type": "synchrotron", "count": 2})
    value = untouched(topology)
    assert (value["pools"], value["held"], value["note"]) == ({}, False, LEFT_OUT)
    assert [location["name"] for location in nginx_locations(value)] == ["main"]

"""Which processes a change of the plan concerns, and how a run is told."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.module_utils._process_changes import decide
from ansible_collections.synapse.workers.plugins.plugin_utils._change_plan import change_plan, process_states
from ansible_collections.synapse.workers.plugins.plugin_utils._change_steps import LEFT_OUT, ROLLED_BACK

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
    "another to quarantine media": (
        [*BASE, {"type": "quarantined_media_changes"}],
        {name: ["writers of quarantined media"] for name in ALL if name != "media_repository-1"}
        | {"media_repository-1": ["own settings", "writers of quarantined media"]},
    ),
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
    assert value["federation_sender-1"]["together"] == ["stream writers", "writers of quarantined media", "secrets", "duties"]
    assert value["synchrotron-1"]["together"] == ["stream writers", "writers of quarantined media", "secrets"]


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


# What a host tells: by default everything runs as planned, with the release that is installed.

STAMP = "key@1"
MANIFEST = "/var/lib/synapse-workers/matrix-synapse/nginx.json"
NGINX_FILES = {"/etc/nginx/conf.d/matrix-synapse.conf": "1", "/etc/nginx/sites-enabled/matrix-synapse.conf": "2"}


def host_running(*rows: Any, release: str = "1.163.2") -> dict[str, Any]:
    """What ``processes_info`` tells of a host on which a run has brought ``rows`` to an end."""
    planned = states(*rows)
    remembered = {
        name: {
            "unit": state["unit"],
            "parts": {**state["parts"], "Synapse": release, "secrets": STAMP},
            "listen": state["probe"]["listen"],
            "metrics": state["probe"]["metrics"],
            "serves": state["serves"],
            "yields": state["yields"],
        }
        for name, state in planned.items()
    }
    runs = {"ActiveState": "active", "UnitFileState": "enabled"}
    return {
        "units": {
            unit: dict(runs)
            for unit in [*(state["unit"] for state in planned.values()), "matrix-synapse.target", "nginx.service"]
        },
        "remembered": remembered,
        "release": release,
        "stamp": STAMP,
        "written": {MANIFEST: {"files": dict(NGINX_FILES), "applied": True, "note": ""}},
    }


def planned(seen: dict[str, Any], *rows: Any, **options: Any) -> dict[str, tuple[str, str]]:
    """{name: (action, reason)} of all that does not stay as it is."""
    options.setdefault("nginx_files", NGINX_FILES)
    entries = change_plan(good_plan(*rows), "app1", UNITS, seen, **options)
    return {entry["name"]: (entry["action"], entry["reason"]) for entry in entries if entry["action"] != "keep"}


def test_where_everything_is_as_planned_nothing_changes() -> None:
    assert planned(host_running(*BASE), *BASE) == {}


def test_a_new_worker_starts_and_one_that_is_gone_retires() -> None:
    rows = [{"type": "synchrotron", "count": 3}, *BASE[2:]]
    assert planned(host_running(*BASE), *rows) == {
        "synchrotron-3": ("start", "is new"),
        "client_reader-1": ("retire", "is no longer planned"),
    }


def test_on_a_bare_host_everything_is_new() -> None:
    bare = {
        "units": {},
        "remembered": {},
        "release": "",
        "stamp": "",
        "written": {MANIFEST: {"files": {}, "applied": True, "note": ""}},
    }
    value = planned(bare, *BASE)
    assert set(value.values()) == {("start", "is new")}
    assert set(value) == {*ALL, "nginx"}


def test_what_must_be_gone_first_is_told_apart() -> None:
    entries = change_plan(good_plan(*BASE[:3], *BASE[4:]), "app1", UNITS, host_running(*BASE))
    (pusher,) = [entry for entry in entries if entry["name"] == "pusher-1"]
    assert (pusher["action"], pusher["reason"], pusher["stops"]) == (
        "retire",
        "is no longer planned, and its duty passes to others",
        True,
    )


def test_what_no_longer_runs_starts() -> None:
    seen = host_running(*BASE)
    del seen["units"]["matrix-synapse-worker@client_reader-1.service"]
    assert planned(seen, *BASE) == {"client_reader-1": ("start", "is not running")}


def test_writers_stop_before_they_start() -> None:
    value = planned(host_running(*BASE), *BASE, {"type": "receipts"})
    assert {name for name, (action, _reason) in value.items() if action == "stop, start"} == set(ALL)
    assert value["main"] == ("stop, start", "stream writers changed")
    assert value["receipts-1"] == ("start", "is new")


def test_writers_that_a_release_brings_are_in_nobodys_way() -> None:
    """Of the stream that media workers write, releases before 1.152 know nothing."""
    old, new = (states(*BASE, version=version) for version in ("1.142.0", "1.163.2"))
    assert {name for name, state in new.items() if "writers of quarantined media" in state["parts"]} == set(ALL)
    for before, after, release in ((old, new, "1.163.2"), (new, old, "1.142.0")):
        for name, state in after.items():
            remembered = {"parts": {**before[name]["parts"], "Synapse": "1.150.0"}}
            process = {**state, "parts": {**state["parts"], "Synapse": release}}
            action, reason = decide(process, {"ActiveState": "active"}, remembered)
            assert (action, reason.split(",")[0]) == ("restart", f"Synapse 1.150.0 to {release}")
            assert "writers" not in reason


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("1.164.0", "Synapse 1.163.2 to 1.164.0"),
        ("1.164.0~rc1+bookworm1", "Synapse 1.163.2 to 1.164.0rc1"),
        ("1.163.2+bookworm2", ""),
    ],
)
def test_the_release_that_is_wanted_counts(wanted: str, reason: str) -> None:
    value = planned(host_running(*BASE), *BASE, release=wanted)
    assert {entry[1] for entry in value.values()} == ({reason} if reason else set())
    assert set(value) == (set(ALL) if reason else set())


def test_replaced_secrets_stop_everything_together() -> None:
    value = planned({**host_running(*BASE), "stamp": "key@2"}, *BASE)
    assert value == dict.fromkeys(ALL, ("stop, start", "secrets changed"))


def test_who_is_asked_for_restarts_and_nobody_else_is_looked_at() -> None:
    seen = host_running(*BASE)
    seen["units"]["nginx.service"]["ActiveState"] = "failed"
    entries = change_plan(good_plan(*BASE), "app1", UNITS, seen, forced=["synchrotron-2"], only=["synchrotron-2", "pusher-1"])
    assert [(entry["name"], entry["action"], entry["reason"]) for entry in entries] == [
        ("synchrotron-2", "restart", "asked for"),
        ("pusher-1", "keep", ""),
    ]
    # nor nginx, which is only turned away from them.
    entries = change_plan(good_plan(*BASE), "app1", UNITS, seen, nginx_files={}, only=["pusher-1"])
    assert [(entry["name"], entry["action"]) for entry in entries] == [("pusher-1", "keep"), ("nginx", "keep")]


def test_what_does_not_start_at_boot_is_enabled() -> None:
    seen = host_running(*BASE)
    for unit in ("matrix-synapse.target", "matrix-synapse-worker@pusher-1.service"):
        seen["units"][unit]["UnitFileState"] = "disabled"
    expected = ("enable", "did not start at boot")
    assert planned(seen, *BASE) == {"pusher-1": expected, "matrix-synapse.target": expected}


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ({"files": {**NGINX_FILES, "/etc/nginx/conf.d/matrix-synapse.conf": "0"}}, "matrix-synapse.conf changed"),
        ({"files": {}}, "matrix-synapse.conf changed"),
        ({"files": {**NGINX_FILES, "/etc/nginx/conf.d/old.conf": "3"}}, "old.conf changed"),
        ({"files": {f"/etc/nginx/{number}": "" for number in range(3)}}, "4 files changed"),
        ({"applied": False}, "an earlier run got no further than to write its files"),
        ({"note": LEFT_OUT}, LEFT_OUT),
        ({"note": ROLLED_BACK}, ROLLED_BACK),
    ],
)
def test_nginx_reloads_when_it_has_something_to_read(written: dict[str, Any], reason: str) -> None:
    seen = host_running(*BASE)
    seen["written"][MANIFEST].update(written)
    assert planned(seen, *BASE) == {"nginx": ("reload", reason)}


def test_nginx_that_does_not_run_starts() -> None:
    seen = host_running(*BASE)
    seen["units"]["nginx.service"]["ActiveState"] = "failed"
    assert planned(seen, *BASE) == {"nginx": ("start", "is not running")}
    assert planned(seen, *BASE, nginx_files=None) == {}


@pytest.mark.parametrize(
    ("leads", "files", "known", "first"),
    [(True, {}, True, True), (False, {}, False, False), (True, NGINX_FILES, True, False), (False, NGINX_FILES, True, False)],
)
def test_requests_can_wait_already_where_the_operators_server_block_leads_here(
    leads: bool, files: dict[str, str], known: bool, first: bool
) -> None:
    seen = host_running(*BASE)
    seen["written"][MANIFEST]["files"] = files
    *_others, nginx = change_plan(good_plan(*BASE), "app1", UNITS, seen, nginx_files=NGINX_FILES, nginx_leads_here=leads)
    assert (nginx["known"], nginx["first"]) == (known, first)


OLD_UNITS = [{"unit": "old-sync.service", "listen": {"address": "127.0.0.1", "port": 8083}}, {"unit": "old-typing.service", "duty": True}]


def test_units_of_before_go_as_long_as_they_are_on() -> None:
    seen = host_running(*BASE)
    value = good_plan(*BASE, replaced_units=OLD_UNITS)
    on = {"ActiveState": "active", "UnitFileState": "enabled"}
    seen["units"].update({"old-sync.service": on, "old-typing.service": {"ActiveState": "failed", "UnitFileState": "enabled"}})
    entries = {entry["name"]: entry for entry in change_plan(value, "app1", UNITS, seen) if entry["action"] != "keep"}
    assert {name: (entry["action"], entry["reason"], entry["stops"]) for name, entry in entries.items()} == {
        "old-sync": ("retire", "the plan's workers take over", False),
        # It has failed, so its duty is done by nobody and nothing has to stop for it.
        "old-typing": ("retire", "the plan's workers take over", False),
    }
    seen["units"]["old-typing.service"] = on
    (typing,) = [entry for entry in change_plan(value, "app1", UNITS, seen) if entry["name"] == "old-typing"]
    assert typing["stops"]
    off = {"ActiveState": "inactive", "UnitFileState": "disabled"}
    seen["units"].update({"old-sync.service": off, "old-typing.service": off})
    assert [entry for entry in change_plan(value, "app1", UNITS, seen) if entry["action"] != "keep"] == []
    # On another host there are none.
    assert [entry for entry in change_plan(value, "app2", UNITS, {**seen, "remembered": {}}) if entry["name"].startswith("old")] == []

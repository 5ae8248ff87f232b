"""The views that nginx is written from: what they name exists, what they mean is what the table says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.module_utils import _endpoints
from ansible_collections.synapse.workers.plugins.module_utils._endpoints import TABLE, expand, sample_of
from ansible_collections.synapse.workers.plugins.plugin_utils import _nginx, _nginx_maps
from hypothesis import given

from .plans import good_plan, lists_of_rows, plan

TARGETS = [
    (method, sample_of(path) + query)
    for row in TABLE
    for method in row.methods
    for path in expand(row.path)
    for query in (["", "?since=s1&from=t1", "?full_state=true"] if row.query else ["", "?x=/_matrix/client/v3/sync"])
]


def as_python(pattern: str) -> re.Pattern[str]:
    """A regular expression as Python spells names of groups."""
    return re.compile(pattern.replace("(?<matrix", "(?P<matrix"))


def as_nginx_would(maps: dict[str, Any], method: str, target: str) -> str:
    """The pool that the rendered maps lead to: the first matching line of each, then what its value names."""
    named = looks(maps)
    area = next((one for one in maps["areas"] if as_python(one["pattern"]).search(target)), {"pattern": "", "value": "refused"})
    value = area["value"]
    found = as_python(area["pattern"]).search(target)
    kept = found.groupdict() if found else {}
    call, name = kept.get("matrix_synapse_call", ""), kept.get("matrix_synapse_name", "")
    query = "?" + target.partition("?")[2]
    if value.endswith("_gate"):
        value = maps["gate"]
    while value.startswith("$"):
        looked = named[value]
        value = looked["default"]
        for entry in looked.get("entries", [looked]):
            if "lines" in entry and re.search("\n".join(entry["lines"]), f"{method}:{call}"):
                value = entry["pool"]
                break
            if "meaning" in entry and re.search(entry["pattern"], query):
                value = entry["pool"]
                break
            # nginx does not tell small letters from capitals in such keys.
            if "keys" in entry and f"{method} {name}".lower() in [key.lower() for key in entry["keys"]]:
                value = entry["pool"]
                break
    return value


def looks(maps: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What stands behind each variable that stands for a pool."""
    whose = [one["whose"] for one in maps["maps"] if one["whose"]]
    return {f"${one['variable']}": one for one in maps["maps"] + whose + maps["queries"]}


def every_type() -> dict[str, Any]:
    rows = [{"type": name} for name in dict.fromkeys(name for row in TABLE for name in row.types)]
    return good_plan(*rows)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        ["client_reader"],
        ["synchrotron", "media_repository"],
        ["event_creator", "typing"],
        ["frontend_proxy", "device_lists", "sso"],
        ["federation_inbound", "account_data", "initial_synchrotron"],
        ["all"],
    ],
    ids=",".join,
)
def test_the_maps_mean_what_the_table_says(rows: list[str]) -> None:
    value = every_type() if rows == ["all"] else good_plan(*({"type": name} for name in rows))
    maps = _nginx_maps.nginx_maps(value, admin_allowed=True, well_known_here=False)
    for method, target in TARGETS:
        if method == "OPTIONS":
            continue
        assert as_nginx_would(maps, method, target) == _endpoints.route(method, target, value["pools"], (1, 163)).pool, (
            method,
            target,
        )


def test_logins_and_registrations_are_counted() -> None:
    value = every_type()
    maps = _nginx_maps.nginx_maps(value, admin_allowed=True, well_known_here=False, limited=True)
    rows = _endpoints.rows_for((1, 163))
    counted = set()
    for method, target in TARGETS:
        if method == "OPTIONS":
            continue
        row = _endpoints.matching_row(method, target, rows)
        pool = _endpoints.route(method, target, value["pools"], (1, 163)).pool
        limited = row is not None and row.limited
        counted |= {target.partition("?")[0].rpartition("/")[2]} if limited else set()
        assert as_nginx_would(maps, method, target) == ("limited_" if limited else "") + pool, (method, target)
    assert counted == {"login", "register", "available", "validity", "requestToken"}
    assert maps["limited"] == ["client_reader", "main"]
    # Nothing else changes: not the maps either, while nothing is counted.
    assert _nginx_maps.nginx_maps(value)["limited"] == []


def test_the_short_way_leads_where_the_long_one_does() -> None:
    maps = _nginx_maps.nginx_maps(every_type(), admin_allowed=True, well_known_here=False)
    for _, target in TARGETS:
        # nginx takes the longest.
        for short in sorted(maps["short"], key=lambda one: -len(one["path"])):
            if target.startswith(short["path"]):
                found = [area["name"] for area in short["areas"] if as_python(area["pattern"]).search(target)]
                # No area takes from the next what is its own, so their order is free.
                assert found in ([], [_endpoints.area_of(target)]), target
                break


def _told(*lines: str) -> _nginx_maps.Names:
    """How lines of ``pool METHOD path`` are told apart."""
    rows = [
        (pool, _endpoints.Endpoint("client", (method,), f"/_matrix/client/{path}"))
        for pool, method, path in (line.split() for line in lines)
    ]
    return _nginx_maps.told_by_name(_endpoints.AREA["client"], rows)


@pytest.mark.parametrize(
    ("lines", "pattern", "pools", "default", "apart"),
    [
        # One pool: nothing to tell.
        (["a GET v3/x", "a POST v3/y"], "[^/?]*", {}, "a", []),
        (["a GET v3/x", "a GET v3/z", "b POST {r0}/x"], "[^/?]*", {"POST x": "b"}, "a", []),
        (["a PUT v3/x", "a PUT v3/z", "b GET v3/x"], "[^/?]*", {"GET x": "b", "HEAD x": "b"}, "a", []),
        # One segment does not tell, two do.
        (["a POST v3/keys/up", "b POST v3/keys/down", "b POST v3/z"], "(?:keys)/[^/?]*|[^/?]*", {"POST keys/up": "a"}, "b", []),
        (["a PUT v3/x", "b PUT v3/x/{id}"], "(?:x)/[^/?]*|[^/?]*", {"PUT x": "a"}, "b", []),
        # A segment that the client chooses tells nothing; with several of them, or in the way of a key, only an expression does.
        (["a PUT v3/{id}", "b POST v3/x"], "[^/?]*", {"POST x": "b"}, "a", []),
        (["a PUT v3/{id}", "b PUT v3/x/{id}"], "(?:x)/[^/?]*|[^/?]*", {}, "a", ["b"]),
        (["a PUT v3/x/{id}", "b PUT v3/x/{id}/y"], "(?:x)/[^/?]*|[^/?]*", {}, "a", ["b"]),
        (["main PUT v3/x", "a PUT v3/{id}"], "[^/?]*", {}, "a", ["main"]),
    ],
)
def test_method_and_name_tell_calls_apart(
    lines: list[str], pattern: str, pools: dict[str, str], default: str, apart: list[str]
) -> None:
    said = _told(*lines)
    assert (said.pattern, said.pools, said.default, [pool for pool, _ in said.apart]) == (pattern, pools, default, apart)


@given(lists_of_rows())
def test_every_pool_that_is_named_exists(rows: list[dict[str, Any]]) -> None:
    value = plan(*rows)
    if value["problems"]:
        return
    upstreams = {upstream["name"] for upstream in _nginx.nginx_upstreams(value)}
    locations = _nginx.nginx_locations(value)
    assert {location["upstream"] for location in locations} == upstreams
    names = {location["name"] for location in locations} | {"refused", "main_once"}
    maps = _nginx_maps.nginx_maps(value, admin_allowed=True, well_known_here=False)
    variables = looks(maps)
    values = [one["value"] for one in maps["areas"]] + [maps["gate"]]
    for one in (one for one in variables.values() if "entries" in one):
        values += [one["default"], *(entry["pool"] for entry in one["entries"])]
    assert set(values) <= names | set(variables) | {f"${maps['prefix']}_admin_gate"}
    assert {one[key] for one in maps["queries"] for key in ("pool", "default")} <= names
    assert len({one["variable"] for one in maps["queries"]}) == len(maps["queries"])
    keys = {f"${key['variable']}" for key in _nginx.nginx_keys(value)}
    hashed = {word for upstream in _nginx.nginx_upstreams(value) for word in upstream["balance"].split() if word[0] == "$"}
    assert hashed == keys


def test_expressions_are_short_enough_for_nginx_and_for_people() -> None:
    maps = _nginx_maps.nginx_maps(every_type(), admin_allowed=True, well_known_here=False)
    for entry in (entry for one in maps["maps"] for entry in one["entries"]):
        # nginx reads a parameter into a buffer of 4096 bytes, where blanks count.
        assert len("\n".join(entry["lines"])) < 4000
        assert max(map(len, entry["lines"])) <= 160


def test_a_call_in_a_room_means_the_same_in_every_version() -> None:
    # The maps see what follows the room, without the version before it.
    rows = [row for row in _endpoints.rows_for() if row.area == "rooms" and row.call != "{rest}"]
    for row in rows:
        for other in rows:
            if set(row.methods) & set(other.methods) and re.fullmatch(_endpoints.regex_of(other.call), sample_of(row.call)):
                assert row.types == other.types, (row.name, other.name)


def test_administration_is_closed_by_default() -> None:
    maps = _nginx_maps.nginx_maps(every_type())
    assert as_nginx_would(maps, "GET", "/_synapse/admin/v1/rooms/!r:s") == "refused"
    assert maps["gate"] == ""


def test_only_what_is_safe_is_repeated() -> None:
    stand_ins = {one["name"]: one["stand_in"] for one in _nginx.nginx_locations(every_type())}
    assert stand_ins["synchrotron"] == "main"
    assert {name for name, stand_in in stand_ins.items() if stand_in == "main_once"} == {
        "client_reader", "event_creator", "user_dir", "frontend_proxy", "federation_reader", "federation_inbound"
    }  # fmt: skip
    assert not any("non_idempotent" in one["next_upstream"] for one in _nginx.nginx_locations(every_type()))


def test_workers_are_named_by_address() -> None:
    names = _nginx.nginx_worker_names(good_plan({"type": "synchrotron"}, {"type": "pusher"}))
    assert names == [{"address": "10.0.0.1:8008", "worker": "main"}, {"address": "10.0.0.1:11100", "worker": "synchrotron-1"}]


def test_a_long_address_is_a_regular_expression() -> None:
    long_name = "the_one_worker_that_writes_both_of_the_two"
    value = good_plan({"type": "thread_subscriptions"}, {"types": ["typing", "receipts"], "name": long_name}, unix_sockets=True)
    names = {one["worker"]: one["address"] for one in _nginx.nginx_worker_names(value)}
    assert names["thread_subscriptions-1"] == "thread_subscriptions-1.sock"
    assert re.match(names[f"{long_name}-1"].lstrip("~"), f"{long_name}-1.sock")


def test_a_type_that_stands_in_gets_what_the_plan_lacks() -> None:
    value = good_plan({"type": "synchrotron"}, default_type="synchrotron")
    maps = _nginx_maps.nginx_maps(value)
    create = "/_matrix/client/v3/createRoom"
    assert as_nginx_would(maps, "POST", create) == "synchrotron"
    assert _nginx.explain_route(value, "POST", create)["reason"] == (
        "no event_creator, client_reader is planned, so synchrotron serves it"
    )
    for method, target in TARGETS:
        if method != "OPTIONS":
            assert as_nginx_would(maps, method, target) in (
                "refused",
                _endpoints.route(method, target, value["pools"], (1, 163), "synchrotron").pool,
            )


def test_what_a_stand_in_may_have_done_is_not_repeated() -> None:
    def stand_in(default_type: str) -> Any:
        value = good_plan({"type": "synchrotron"}, {"type": "client_reader"}, default_type=default_type)
        (location,) = [one for one in _nginx.nginx_locations(value) if one["name"] == "synchrotron"]
        return location["stand_in"]

    assert stand_in("") == "main"
    assert stand_in("synchrotron") == "main_once"


def test_a_stand_in_has_the_time_that_joining_a_large_room_takes() -> None:
    value = good_plan({"type": "client_reader"}, default_type="client_reader")
    assert [one["timeout"] for one in _nginx.nginx_locations(value)] == ["600s", "600s"]


def test_a_route_is_explained() -> None:
    value = good_plan({"type": "synchrotron", "count": 2})
    said = _nginx.explain_route(value, "get", "https://example.org/_matrix/client/v3/sync?since=s1#top")
    text = said.pop("text")
    why = "one user's requests stay on one worker, which has the user's rooms and devices cached"
    assert said == {
        "request": "GET /_matrix/client/v3/sync?since=s1",
        "pool": "synchrotron",
        "upstream": "matrix_synapse_synchrotron",
        "workers": ["synchrotron-1", "synchrotron-2"],
        "servers": [
            {"server": "10.0.0.1:11100", "worker": "synchrotron-1", "down": False, "host": "app1"},
            {"server": "10.0.0.1:11101", "worker": "synchrotron-2", "down": False, "host": "app1"},
        ],
        "balance": "user",
        "hash_key": "$matrix_synapse_user",
        "spread": why,
        "fallback": "main",
        "stand_in": "the main process takes the request",
        "endpoint": "GET /_matrix/client/{r0}/sync",
        "reason": "served by synchrotron",
    }
    assert text == [
        "request:      GET /_matrix/client/v3/sync?since=s1",
        "goes to:      synchrotron (/sync, sliding sync, /events: the long-polls that are most of all requests)",
        "because:      served by synchrotron",
        "endpoint:     GET /_matrix/client/{r0}/sync",
        "pool:         upstream matrix_synapse_synchrotron in nginx",
        "server:       10.0.0.1:11100 synchrotron-1 on app1",
        "server:       10.0.0.1:11101 synchrotron-2 on app1",
        f"which one:    by $matrix_synapse_user: {why}",
        "none answers: the main process takes the request",
    ]


@pytest.mark.parametrize(
    ("method", "target", "pool", "stand_in"),
    [
        ("GET", "/_matrix/client/v3/login", "client_reader", "the main process takes the request"),
        ("POST", "/_matrix/client/v3/login", "client_reader", _nginx.STAND_IN["main_once"]),
        ("GET", "/_matrix/media/v3/config", "main", _nginx.STAND_IN["hold"]),
        ("POST", "/_matrix/client/v3/pushers/set", "main", _nginx.STAND_IN["hold_once"]),
        ("GET", "/_synapse/admin/v1/rooms/!r:s", "", ""),
        ("GET", "/.well-known/matrix/client", "", ""),
        ("GET", "/robots.txt", "", ""),
    ],
)
def test_who_stands_in_is_explained(method: str, target: str, pool: str, stand_in: str) -> None:
    value = good_plan({"type": "client_reader"})
    said = _nginx.explain_route(value, method, target, admin_allowed=False, well_known_here=True)
    assert (said["pool"], said["stand_in"]) == (pool, stand_in)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("/_matrix/client/v3/sync?since=s", "/_matrix/client/v3/sync?since=s"),
        ("HTTPS://example.org:8448/_matrix/x%2F?a=%23#b", "/_matrix/x%2F?a=%23"),
        ("https://example.org", "/"),
        ("https://example.org?x=/y", "/?x=/y"),
        ("//_matrix/x", "//_matrix/x"),
    ],
)
def test_a_url_is_cut_to_what_a_client_sends(url: str, target: str) -> None:
    assert _nginx.target_of(url) == target


@pytest.mark.parametrize("url", ["", "_matrix/client/v3/sync", "example.org/_matrix/", "/a b"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is no URL and no path"):
        _nginx.target_of(url)


def test_the_same_plan_gives_the_same_bytes_under_any_hash_seed() -> None:
    code = (
        "import json, sys; from ansible_collections.synapse.workers.plugins.plugin_utils import _nginx as n, _nginx_maps as m; "
        "t = json.load(sys.stdin); "
        "print(json.dumps([n.nginx_upstreams(t), m.nginx_maps(t, True, False), n.nginx_locations(t), n.nginx_keys(t)]))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(every_type()),
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (0, 1)
    }
    assert len(said) == 1


def test_what_nobody_stands_in_for_waits() -> None:
    value = good_plan({"type": "typing"}, {"type": "media_repository"}, {"type": "synchrotron", "count": 2})
    assert _nginx.nginx_holds(value) == [
        {"name": f"hold_{pool}", "again": pool, "servers": [server], "once": once, "planned": False}
        for pool, server, once in (
            ("media_repository", "10.0.0.1:11700", True),
            ("typing", "10.0.0.1:12200", False),
            ("quarantined_media_changes", "10.0.0.1:11700", True),
            ("main", "10.0.0.1:8008", True),
        )
    ]
    assert {one["name"] for one in _nginx.nginx_locations(value) if one["hold"]} == {
        "media_repository", "typing", "quarantined_media_changes", "main",
    }  # fmt: skip
    off = good_plan({"type": "typing"}, hold=False)
    assert _nginx.nginx_holds(off) == []
    assert not any(one["hold"] or one["kept_back"] for one in _nginx.nginx_locations(off))
    assert _nginx.explain_route(off, "GET", "/_matrix/media/v3/config")["stand_in"] == _nginx.STAND_IN[""]

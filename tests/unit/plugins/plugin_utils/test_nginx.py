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
from ansible_collections.synapse.workers.plugins.plugin_utils import _nginx
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
    named = {f"${one['variable']}": one for one in maps["methods"] + maps["maps"] + maps["queries"]}
    area = next((one for one in maps["areas"] if as_python(one["pattern"]).search(target)), {"pattern": "", "value": "refused"})
    value = area["value"]
    found = as_python(area["pattern"]).search(target)
    call = found.group(1) if found and found.groups() else ""
    query = "?" + target.partition("?")[2]
    if value.endswith("_gate"):
        value = maps["gate"]
    while value.startswith("$"):
        looked = named[value]
        value = looked["default"]
        for entry in looked.get("entries", [looked]):
            if "method" in entry and entry["method"] == method:
                value = entry["value"]
                break
            if "lines" in entry and re.search("\n".join(entry["lines"]), call):
                value = entry["pool"]
                break
            if "meaning" in entry and re.search(entry["pattern"], query):
                value = entry["pool"]
                break
    return value


def every_type() -> dict[str, Any]:
    rows = [{"type": name} for name in dict.fromkeys(name for row in TABLE for name in row.types)]
    return good_plan(*rows)


@pytest.mark.parametrize("rows", [[], ["client_reader"], ["synchrotron", "media_repository"], ["all"]], ids=str)
def test_the_maps_mean_what_the_table_says(rows: list[str]) -> None:
    value = every_type() if rows == ["all"] else good_plan(*({"type": name} for name in rows))
    maps = _nginx.nginx_maps(value, admin_allowed=True, well_known_here=False)
    for method, target in TARGETS:
        if method == "OPTIONS":
            continue
        assert as_nginx_would(maps, method, target) == _endpoints.route(method, target, value["pools"], (1, 163)).pool, (
            method,
            target,
        )


@given(lists_of_rows())
def test_every_pool_that_is_named_exists(rows: list[dict[str, Any]]) -> None:
    value = plan(*rows)
    if value["problems"]:
        return
    upstreams = {upstream["name"] for upstream in _nginx.nginx_upstreams(value)}
    locations = _nginx.nginx_locations(value)
    assert {location["upstream"] for location in locations} == upstreams
    names = {location["name"] for location in locations} | {"refused", "main_once"}
    maps = _nginx.nginx_maps(value, admin_allowed=True, well_known_here=False)
    variables = {f"${one['variable']}" for one in maps["methods"] + maps["maps"] + maps["queries"]}
    values = [one["value"] for one in maps["areas"]] + [maps["gate"]]
    for one in maps["methods"] + maps["maps"]:
        values += [one["default"], *(entry.get("value") or entry["pool"] for entry in one["entries"])]
    assert set(values) <= names | variables | {f"${maps['prefix']}_admin_gate"}
    assert {one[key] for one in maps["queries"] for key in ("pool", "default")} <= names
    assert len({one["variable"] for one in maps["queries"]}) == len(maps["queries"])
    keys = {f"${key['variable']}" for key in _nginx.nginx_keys(value)}
    hashed = {word for upstream in _nginx.nginx_upstreams(value) for word in upstream["balance"].split() if word[0] == "$"}
    assert hashed == keys


def test_expressions_are_short_enough_for_nginx_and_for_people() -> None:
    maps = _nginx.nginx_maps(every_type(), admin_allowed=True, well_known_here=False)
    for entry in (entry for one in maps["maps"] for entry in one["entries"]):
        # nginx reads a parameter into a buffer of 4096 bytes.
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
    maps = _nginx.nginx_maps(every_type())
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


def test_a_route_is_explained() -> None:
    value = good_plan({"type": "synchrotron", "count": 2})
    assert _nginx.explain_route(value, "GET", "/_matrix/client/v3/sync?since=s1") == {
        "pool": "synchrotron",
        "workers": ["synchrotron-1", "synchrotron-2"],
        "balance": "user",
        "fallback": "main",
        "endpoint": "GET /_matrix/client/{r0}/sync",
        "reason": "served by synchrotron",
    }


def test_the_same_plan_gives_the_same_bytes_under_any_hash_seed() -> None:
    code = (
        "import json, sys; from ansible_collections.synapse.workers.plugins.plugin_utils import _nginx as n; "
        "t = json.load(sys.stdin); "
        "print(json.dumps([n.nginx_upstreams(t), n.nginx_maps(t, True, False), n.nginx_locations(t), n.nginx_keys(t)]))"
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

"""The table of endpoints: every row says one thing, in one area, and is reached."""

from __future__ import annotations

import re

import pytest
from ansible_collections.synapse.workers.plugins.module_utils import _endpoints
from ansible_collections.synapse.workers.plugins.module_utils._endpoints import AREA, TABLE, Endpoint, expand, route, sample_of
from ansible_collections.synapse.workers.plugins.module_utils._worker_types import BY_NAME, NEWEST_TESTED_SYNAPSE, OLDEST_SYNAPSE

EVERYTHING = {row.name: [f"{row.name}-1"] for row in BY_NAME.values() if row.takes_requests}
# A row for a preflight means every path of its area.
PLAIN = [row for row in TABLE if row.path != "/{rest}"]


@pytest.mark.parametrize("row", PLAIN, ids=lambda row: row.name)
def test_every_row_lies_in_its_area_and_is_reached(row: Endpoint) -> None:
    release = row.until or NEWEST_TESTED_SYNAPSE
    rows = _endpoints.rows_for(release)
    for path in expand(row.path):
        sample = sample_of(path) + (f"?{_endpoints.QUERIES[row.query].sample}" if row.query else "")
        assert _endpoints.area_of(sample) == row.area
        for method in row.methods:
            found = _endpoints.matching_row(method, sample, rows)
            assert found is not None
            # Rows that overlap agree, or the narrower one stands first: by its query, or as one of several paths.
            assert found == row or found.query or found.types == row.types or found.path != row.path


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_every_row_names_known_types_and_releases(row: Endpoint) -> None:
    assert row.area in AREA
    assert set(row.types) <= set(EVERYTHING)
    assert set(row.methods) <= {"GET", "POST", "PUT", "DELETE", "OPTIONS"}
    for release in (row.since, row.until):
        assert release is None or OLDEST_SYNAPSE <= release <= NEWEST_TESTED_SYNAPSE
    re.compile(row.pattern)


def test_no_two_rows_say_the_same() -> None:
    said = [
        (method, path, row.query, row.since, row.until) for row in PLAIN for method in row.methods for path in expand(row.path)
    ]
    assert sorted(entry for entry in set(said) if said.count(entry) > 1) == []


def test_paths_are_written_out() -> None:
    assert expand("/a/(b|c)(/{x})?") == ["/a/b", "/a/b/{x}", "/a/c", "/a/c/{x}"]
    assert expand("{new}/x") == ["v1/x", "unstable/x"]
    assert sample_of("/_matrix/client/{v1}/rooms/{room}/send/{type}") == "/_matrix/client/v3/rooms/!room:example.org/send/type"


@pytest.mark.parametrize(
    ("method", "target", "pool"),
    [
        ("GET", "/_matrix/client/v3/pushrules/", "client_reader"),
        ("PUT", "/_matrix/client/v3/pushrules/global/content/x/enabled", "push_rules"),
        ("GET", "/_matrix/client/v3/user/@u:s/account_data/m.direct", "client_reader"),
        ("PUT", "/_matrix/client/v3/user/@u:s/account_data/m.direct", "account_data"),
        ("GET", "/_matrix/client/v3/rooms/!r:s/state/m.room.name", "client_reader"),
        ("PUT", "/_matrix/client/v3/rooms/!r:s/state/m.room.name/", "event_creator"),
        ("PUT", "/_matrix/client/v3/rooms/!r:s/typing/@u:s", "typing"),
        ("PUT", "/_matrix/client/v3/sendToDevice/m.room.encrypted/1", "to_device"),
        ("HEAD", "/_matrix/client/v3/rooms/!r:s/messages", "client_reader"),
        ("GET", "/_matrix/client/v3/rooms/a%2Fb/messages", "client_reader"),
        ("GET", "/_matrix/client/v3/rooms/a/b/messages", "main"),
        ("GET", "/_matrix/client/v3/sync/", "main"),
        ("GET", "/_matrix/client/v3/sync?since=s", "synchrotron"),
        ("GET", "/_matrix/client/v3/sync", "initial_synchrotron"),
        ("POST", "/_matrix/client/v3/rooms/!r:s/report/$e", "main"),
        ("GET", "/_matrix/client/../../_synapse/admin/v1/rooms", "main"),
        ("GET", "/_synapse/metrics", ""),
        ("GET", "//_matrix/client/v3/sync", ""),
        ("GET", "/_matrix/clientele", ""),
    ],
)
def test_method_and_raw_path_decide(method: str, target: str, pool: str) -> None:
    assert route(method, target, EVERYTHING).pool == pool


@pytest.mark.parametrize(
    ("pools", "default_type", "pool", "words"),
    [
        (["event_creator"], "", "event_creator", "served by event_creator"),
        (["client_reader"], "", "client_reader", "no event_creator is planned, so client_reader serves it"),
        (["synchrotron"], "", "main", "no event_creator, client_reader is planned, so main serves it"),
        (["synchrotron"], "synchrotron", "synchrotron", "no event_creator, client_reader is planned, so synchrotron serves it"),
    ],
)
def test_what_the_plan_lacks_falls_to_the_next_best(pools: list[str], default_type: str, pool: str, words: str) -> None:
    found = route("POST", "/_matrix/client/v3/createRoom", dict.fromkeys(pools), default_type=default_type)
    assert (found.pool, found.reason) == (pool, words)


def test_a_stand_in_takes_only_what_its_listeners_offer() -> None:
    pools: dict[str, list[str]] = {"client_reader": [], "federation_reader": []}
    version = "/_matrix/federation/v1/version"
    assert route("GET", version, {"client_reader": []}, default_type="client_reader").pool == "main"
    assert route("GET", "/_matrix/client/v3/sync", pools, default_type="federation_reader").pool == "main"
    assert route("GET", "/_matrix/client/v3/sync", pools, default_type="client_reader").pool == "client_reader"


@pytest.mark.parametrize(
    "request_line",
    [
        "PUT /_matrix/client/v3/rooms/!r:s/typing/@u:s",
        "GET /_matrix/media/v3/download/s/m",
        "GET /_matrix/client/v3/login/sso/redirect",
        "POST /_matrix/client/v3/logout",
    ],
)
def test_nobody_stands_in_for_what_only_one_can_do(request_line: str) -> None:
    method, target = request_line.split()
    assert route(method, target, {"client_reader": [], "synchrotron": []}, default_type="client_reader").pool == "main"


def test_releases_differ() -> None:
    user = "/_synapse/admin/v2/users/@u:s"
    assert [route("GET", user, EVERYTHING, (1, minor)).pool for minor in (144, 145)] == ["main", "client_reader"]
    restart = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/x/restart"
    assert [route("POST", restart, EVERYTHING, (1, minor)).pool for minor in (143, 144)] == ["main", "client_reader"]

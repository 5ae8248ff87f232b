"""A table that does not fit the installed Synapse is named by its endpoints; tests/routing asks real releases."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.module_utils import _endpoints
from ansible_collections.synapse.workers.plugins.module_utils._endpoints import Endpoint
from ansible_collections.synapse.workers.plugins.plugin_utils._route_check import route_check
from ansible_collections.synapse.workers.plugins.plugin_utils._servlets import Router, paths_of

JOINED = ["GET", r"^/_matrix/client/(api/v1|r0|v3|unstable)/joined_rooms$"]
LOGOUT = ["POST", r"^/_matrix/client/(api/v1|r0|v3|unstable)/logout$"]
STATE = (
    r"^/_matrix/client/(api/v1|r0|v3|unstable)/rooms/(?P<room_id>[^/]*)/state/(?P<event_type>[^/]*)(?:/(?P<state_key>[^/]*))?$"
)
RULES = r"^/_matrix/client/(api/v1|r0|v3|unstable)/(?P<path>pushrules/.*)$"


def check(main: list[list[str]], worker: list[list[str]], release: str = "1.163.2", version: str = "1.163.2") -> dict[str, Any]:
    return route_check({"release": release, "main": main, "worker": worker}, version)


def test_what_fits_is_counted_and_what_was_not_seen_is_said() -> None:
    said = check([JOINED, LOGOUT, ["GET", STATE], ["PUT", STATE]], [JOINED, ["GET", STATE], ["PUT", STATE]])
    assert (said["problems"], said["notes"], said["compared"]) == ([], [], 4)
    assert said["summary"][0] == "4 servlets of Synapse 1.163.2 fit the routes"
    assert "single sign-on" in said["summary"][1]


@pytest.mark.parametrize(
    ("main", "worker", "problem"),
    [
        (
            [JOINED],
            [],
            "GET /_matrix/client/v3/joined_rooms: workers of this release do not serve it, but the table sends it to client_reader; "
            "they would refuse it",
        ),
        (
            [LOGOUT],
            [LOGOUT],
            "POST /_matrix/client/v3/logout: workers of this release serve it, but the table leaves it to the main process",
        ),
        (
            [],
            [["PUT", r"^/_matrix/client/v1/new/(?P<thing>[^/]*)$"]],
            "PUT /_matrix/client/v1/new/{thing}: workers of this release serve it, but no row of the table names it; it would stay "
            "with the main process",
        ),
        (
            [["GET", "^/_matrix/elsewhere$"]],
            [],
            "GET /_matrix/elsewhere: no part of the table takes it; nginx would answer 404",
        ),
        # One of several paths of a servlet.
        (
            [["GET", r"^/_matrix/client/(v3|v9)/joined_rooms$"]],
            [["GET", r"^/_matrix/client/(v3|v9)/joined_rooms$"]],
            "GET /_matrix/client/v9/joined_rooms: workers of this release serve it, but no row of the table names it; it would stay "
            "with the main process",
        ),
        # A row that means a path for which no example of Synapse's pattern stands.
        (
            [["GET", "^/_matrix/client/v3/joined.*$"]],
            [],
            "GET /_matrix/client/v3/joined_rooms: workers of this release do not serve it, but the table sends it to client_reader; "
            "they would refuse it",
        ),
    ],
    ids=["misrouted", "left to main", "unnamed", "refused", "one path", "by the row"],
)
def test_what_does_not_fit_is_named(main: list[list[str]], worker: list[list[str]], problem: str) -> None:
    assert check(main, worker)["problems"] == [problem]


@pytest.mark.parametrize(
    ("main", "worker"),
    [
        # Denied to workers in the list, as none of them is named there as the writer.
        ([["GET", RULES], ["PUT", RULES]], [["GET", RULES]]),
        # Registered on workers, where it fails: the table says so.
        ([["GET", "^/_matrix/federation/v1/openid/userinfo$"]], [["GET", "^/_matrix/federation/v1/openid/userinfo$"]]),
        # Of these Synapse lists only a part.
        ([["GET", "^/_matrix/client/v1/media/config$"]], []),
        ([["GET", "^/_matrix/client/(v3)/admin/whois/(?P<user_id>[^/]*)$"], ["OPTIONS", "^/_matrix/client/new$"]], []),
    ],
    ids=["writer", "fails on workers", "media", "main alone"],
)
def test_what_is_as_it_should_be_is_not_named(main: list[list[str]], worker: list[list[str]]) -> None:
    assert check(main, worker)["problems"] == []


def broken(monkeypatch: pytest.MonkeyPatch, name: str, **changes: Any) -> None:
    rows: list[Endpoint] = [row._replace(**changes) if row.name == name else row for row in _endpoints.TABLE]
    assert tuple(rows) != _endpoints.TABLE
    monkeypatch.setattr(_endpoints, "TABLE", tuple(rows))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"path": "/_matrix/client/{v1}/joined_roms"}, "no row of the table names it"),
        ({"methods": ("POST",)}, "no row of the table names it"),
        ({"until": (1, 150)}, "no row of the table names it"),
        ({"types": ()}, "the table leaves it to the main process"),
    ],
    ids=str,
)
def test_a_broken_row_is_named(changes: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, "GET /_matrix/client/{v1}/joined_rooms", **changes)
    (problem,) = check([JOINED], [JOINED])["problems"]
    assert problem.startswith("GET /_matrix/client/v3/joined_rooms: ")
    assert words in problem


def test_other_releases_are_named_with_the_way_out() -> None:
    (problem,) = check([], [], release="1.139.0")["problems"]
    assert problem == (
        "Synapse 1.139.0 is installed; 1.140 is the oldest release whose workers this collection knows. Upgrade Synapse first"
    )
    (problem,) = check([], [], release="1.144.0", version="")["problems"]
    assert problem.startswith(
        "Synapse 1.144.0 is installed, but nginx would get the routes of the newest release known, which differ in "
    )
    assert "GET /_synapse/admin/v2/users/{user}" in problem
    assert problem.endswith(". Set synapse_version: 1.144.0")
    (problem,) = check([], [], version="1.140.0")["problems"]
    assert problem.endswith(". Set synapse_version: 1.163.2")
    said = check([], [], release="1.162.0")
    assert said["problems"] == []
    assert said["notes"] == ["synapse_version is 1.163.2, but Synapse 1.162.0 is installed; their routes are the same"]
    said = check([], [], release="1.170.0rc1", version="")
    assert said["problems"] == []
    assert said["notes"] == ["Synapse 1.170.0rc1 is newer than 1.163, the newest that this collection was tested with"]
    with pytest.raises(ValueError, match="'main' is no release of Synapse"):
        check([], [], release="main")


def test_that_synapse_could_not_be_asked_is_a_problem() -> None:
    said = route_check({"error": "there is none"})
    assert (said["problems"], said["summary"]) == (["Synapse could not be asked: there is none"], [])


def test_paths_are_made_from_the_patterns_of_synapse() -> None:
    def name(group: str) -> str:
        return f"{{{group}}}"

    assert paths_of(r"^/a/(v1|v3)/x(?P<room_id>[^/]*)(?:/(?P<key>[^/]+))?/?$", name)[:4] == [
        "/a/v1/x{room_id}",
        "/a/v1/x{room_id}/",
        "/a/v1/x{room_id}/{key}",
        "/a/v1/x{room_id}/{key}/",
    ]
    assert paths_of(r"^/a/(?P<path>rules/.*)$", name) == ["/a/rules/{/}"]
    assert paths_of(r"^/(?P<kind>b|c)/[^/]*$", name) == ["/b/{}", "/c/{}"]


def test_the_first_pattern_that_matches_decides() -> None:
    router = Router([("GET", "^/a/.*", "first"), ("PUT", "^/a/b$", "second"), ("PUT", "^/c$", "third")])
    assert [router.answers(method, "/a/b") for method in ("GET", "HEAD", "PUT")] == ["first", "first", ""]
    assert [router.answers("PUT", path) for path in ("/c", "/d")] == ["third", ""]
    assert [router.knows(path) for path in ("/a/b", "/d")] == [True, False]

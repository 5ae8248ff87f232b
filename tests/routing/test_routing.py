"""Every request that a real Synapse has a servlet for goes through a real nginx to a process that answers it.

Three errors are looked for: *misrouted* (the chosen process has no servlet for it, while another has), *unrouted* (left to
the main process although a planned worker could answer), *wrong writer* (a process that may not write the stream).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.module_utils import _endpoints
from ansible_collections.synapse.workers.plugins.module_utils._worker_types import BY_NAME, parse_version

from .edge import Edge
from .judge import DUTY, FAILS_ON_WORKERS, SPELLINGS, WRITER_BEST, WRITER_ONLY, Judge, Request
from .plans import PLANS, everything
from .releases import releases

# What may follow a path: tokens, signs that mean something elsewhere, and a whole other endpoint.
QUERIES = ["", "?access_token=x", "?x=/_matrix/client/v3/sync", "?a=%2F..&b=../..//rooms/!r/typing/@u", "?"]
RELEASES = list(releases())
NEWEST = RELEASES[0]
EVERYTHING = everything(parse_version(NEWEST) or (1, 0))


def kind_of(pools: list[str]) -> str:
    """Which of the judge's kinds of processes a worker is."""
    if pools == ["main"]:
        return "main"
    return "media" if any(BY_NAME[pool].media for pool in pools) else "worker"


def can_speak(pools: list[str], path: str) -> bool:
    """Whether the worker's listener has the resource that a path belongs to."""
    if pools == ["main"] or path.startswith("/_matrix/media/"):
        return True
    wanted = "federation" if path.startswith(("/_matrix/federation/", "/_matrix/key/")) else "client"
    return any(wanted in BY_NAME[pool].resources for pool in pools)


class Verdicts:
    """Collects what went wrong, and how much was tried."""

    def __init__(self) -> None:
        self.tried = 0
        self.wrong: list[str] = []

    def look(self, judge: Judge, edge: Edge, request: Request, target: str) -> None:
        """Send one request and judge who answered."""
        answer = edge.ask(request.method, target)
        self.tried += 1
        if request.method == "HEAD":
            return
        said = answer.said
        if not said:
            self.wrong.append(f"refused ({answer.status}): {request.method} {target}")
            return
        if said["line"] != f"{request.method} {target} HTTP/1.1":
            self.wrong.append(f"changed on the way: {request.method} {target} became {said['line']}")
        for error in self.errors(judge, edge, request, said["worker"]):
            self.wrong.append(f"{error}: {request.method} {target} ({request.servlet}) went to {said['worker']}")

    def errors(self, judge: Judge, edge: Edge, request: Request, worker: str) -> list[str]:
        """What is wrong with a worker having got a request."""
        pools = edge.pools_of[worker]
        planned = edge.plan["pools"]
        media_moved = any(BY_NAME[pool].media for pool in planned)
        kinds = {
            "main": judge.servlets("main" if media_moved else "media_main", request.method, request.path),
            "worker": judge.servlets("worker", request.method, request.path),
            "media": judge.servlets("media", request.method, request.path) if media_moved else {},
        }
        stream, methods = WRITER_ONLY.get(request.servlet, ("", []))
        if stream in edge.plan["streams"] and request.method in methods:
            return [] if stream in pools else ["wrong writer"]
        if stream and request.method in methods and kinds["main"]:
            return [] if worker == "main" else ["wrong writer"]
        # Names of servlets repeat in the administration API, where they have no such duty.
        plain_name = "" if request.path.startswith("/_synapse/admin/") else request.servlet
        stream, methods = WRITER_BEST.get(plain_name, ("", []))
        if stream in planned and request.method in methods and stream not in pools:
            return ["past the writer"]
        everybody = set().union(*kinds.values())
        fails = request.servlet in FAILS_ON_WORKERS
        if (everybody - set(kinds[kind_of(pools)])) or not can_speak(pools, request.path) or (fails and worker != "main"):
            return ["misrouted"]
        able = set(planned) if kinds["worker"] else {pool for pool in planned if BY_NAME[pool].media and kinds["media"]}
        if worker == "main" and not fails and self.somebody_should(able, request):
            return ["unrouted"]
        duty = DUTY.get(plain_name)
        # A first sync is apart; test_a_first_sync_waits_apart looks at that.
        if duty in planned and duty not in pools and "initial_synchrotron" not in pools:
            return [f"not the duty of {duty}"]
        return []

    @staticmethod
    def somebody_should(able: set[str], request: Request) -> bool:
        """Whether a planned type would be right: with readers planned, what any worker can answer is theirs."""
        if request.path.startswith(("/_matrix/federation/", "/_matrix/key/")):
            return bool(able & {"federation_reader"})
        if all(BY_NAME[pool].media for pool in able):
            return bool(able)
        long_poll = request.servlet in ("SyncRestServlet", "SlidingSyncRestServlet", "EventStreamRestServlet")
        sso = request.servlet in ("SsoRedirectServlet", "CasTicketServlet") or request.path.startswith("/_synapse/client/")
        if long_poll or "nitialSync" in request.path:
            return bool(able & {"synchrotron"})
        return bool(able & ({"sso"} if sso else {"client_reader"}))


def judged(judge: Judge, edge: Edge, spellings: list[str], queries: list[str]) -> Verdicts:
    """Send everything that the judge knows through the edge."""
    verdicts = Verdicts()
    for number, request in enumerate(judge.requests(spellings)):
        if request.path == "/health":
            continue
        # Each path with one of the endings in turn; all endings are tried below.
        verdicts.look(judge, edge, request, request.path + queries[number % len(queries)])
    return verdicts


# Everything answers, and as fast as it is asked: log-ins go through their limit, which is far away.
OPEN: dict[str, Any] = {
    "synapse_nginx_admin_allowed_from": ["0.0.0.0/0"],
    "synapse_nginx_well_known": False,
    "synapse_nginx_login_burst": 100_000,
}


@pytest.mark.parametrize("release", RELEASES)
def test_every_request_reaches_a_process_that_answers_it(
    release: str,
    judges: Callable[[str], Judge],
    edges: Callable[..., Edge],
    record_property: Callable[[str, object], None],
) -> None:
    judge = judges(release)
    version = parse_version(release)
    assert version
    edge = edges(everything(version), synapse_version=release, **OPEN)
    started = time.monotonic()
    verdicts = judged(judge, edge, list(SPELLINGS), QUERIES)
    record_property("requests", verdicts.tried)
    print(f"\nSynapse {release}: {verdicts.tried} requests, {len(verdicts.wrong)} wrong, {time.monotonic() - started:.1f} s")
    assert verdicts.wrong == []


@pytest.mark.parametrize("plan", PLANS)
def test_every_plan_sends_requests_where_they_are_answered(
    plan: str, judges: Callable[[str], Judge], edges: Callable[..., Edge]
) -> None:
    edge = edges(PLANS[plan], synapse_version=NEWEST, **OPEN)
    verdicts = judged(judges(NEWEST), edge, ["plain", "v12"], [""])
    print(f"\nplan {plan}: {verdicts.tried} requests, {len(verdicts.wrong)} wrong")
    assert verdicts.wrong == []


@pytest.mark.parametrize("default_type", ["synchrotron", "federation_reader"])
def test_a_type_that_stands_in_gets_only_what_it_can_answer(
    default_type: str, judges: Callable[[str], Judge], edges: Callable[..., Edge]
) -> None:
    edge = edges(PLANS["one_host"], synapse_version=NEWEST, synapse_default_type=default_type, **OPEN)
    verdicts = judged(judges(NEWEST), edge, ["plain"], [""])
    print(f"\n{default_type} stands in: {verdicts.tried} requests, {len(verdicts.wrong)} wrong")
    assert verdicts.wrong == []
    stands_in = default_type == "synchrotron"
    assert (edge.ask("GET", "/_matrix/client/v3/joined_rooms").worker == "main") is not stands_in
    assert edge.ask("POST", "/_matrix/client/v3/logout").worker == "main"


def test_nginx_and_the_table_agree(judges: Callable[[str], Judge], edges: Callable[..., Edge]) -> None:
    """The rendered regular expressions mean what ``_endpoints.route`` says, for every request and ending."""
    edge = edges(EVERYTHING, synapse_version=NEWEST, **OPEN)
    different = []
    for request in judges(NEWEST).requests(["plain", "slash"]):
        for query in QUERIES if request.servlet in ("SyncRestServlet", "EventStreamRestServlet") else [""]:
            route = _endpoints.route(request.method, request.path + query, edge.plan["pools"], parse_version(NEWEST))
            worker = edge.ask(request.method, request.path + query).worker
            if route.pool not in (edge.pools_of[worker] if worker else [""]):
                different.append((request.method, request.path + query, route.pool, worker))
    assert different == []


@pytest.mark.parametrize(
    ("query", "pool"),
    [
        ("", "initial_synchrotron"),
        ("?timeout=30000", "initial_synchrotron"),
        ("?since=", "initial_synchrotron"),
        ("?since=s1&full_state=true", "initial_synchrotron"),
        ("?full_state=true&since=s1", "initial_synchrotron"),
        ("?since=s1", "synchrotron"),
        ("?timeout=30000&since=s1_2&full_state=false", "synchrotron"),
        ("?xsince=s1", "initial_synchrotron"),
        ("?filter=%7B%22since%22%3A1%7D&timeout=0", "initial_synchrotron"),
    ],
)
def test_a_first_sync_waits_apart(query: str, pool: str, edges: Callable[..., Edge]) -> None:
    edge = edges(EVERYTHING, synapse_version=NEWEST, **OPEN)
    assert pool in edge.pools_of[edge.ask("GET", f"/_matrix/client/v3/sync{query}").worker]


def test_a_request_before_the_browser_calls_goes_to_a_worker(edges: Callable[..., Edge]) -> None:
    edge = edges(EVERYTHING, synapse_version=NEWEST, **OPEN)
    for target in ("/_matrix/client/v3/sync?since=s1", "/_matrix/client/v3/rooms/!r:s/typing/@u:s", "/_matrix/client/v3/login"):
        assert edge.ask("OPTIONS", target).worker != "main"

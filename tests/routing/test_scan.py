"""A scan of the edge: what is private stays so in every spelling, and no request hides another. With ``-s`` it prints both tables."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from outsider.scan import HIDDEN, OPEN, ask, attempts, probes, table

from .edge import Edge
from .plans import PLANS

Edges = Callable[..., Edge]


@pytest.mark.parametrize("allowed_from", [[], ["10.0.0.0/8"]], ids=["admin closed", "admin for others"])
def test_no_process_is_asked_for_what_is_private(allowed_from: list[str], edges: Edges) -> None:
    edge = edges(PLANS["seven"], synapse_server_name="scan.example.org", synapse_nginx_admin_allowed_from=allowed_from)
    edge.workers.seen.clear()
    rows, wrong = [], []
    for probe in probes("scan.example.org"):
        statuses = ask(("127.0.0.1", edge.port), probe.data)
        passed_on = [line.split(" ")[1] for line in edge.workers.seen]
        edge.workers.seen.clear()
        if probe.asks_open:
            right = statuses == [200] and passed_on == [OPEN]
        elif probe.below and passed_on:
            # Synapse gets it as it was sent, and has no such path.
            right = len(passed_on) == 1 and passed_on[0].startswith(("/_matrix/", "/_synapse/client/", "/.well-known/"))
        else:
            right = not passed_on and all(status >= 400 or status == 0 for status in statuses)
        answer = " ".join(map(str, statuses)) or "none"
        rows.append((probe.spelling, probe.what, "as sent" if probe.below and passed_on else answer))
        if not right:
            wrong.append((probe.what, probe.spelling, statuses, passed_on))
    print(f"\n{table(rows)}\n{len(rows)} requests, {len(wrong)} wrong")
    assert wrong == []


def test_no_request_hides_another(edges: Edges) -> None:
    edge = edges(PLANS["seven"], synapse_server_name="scan.example.org")
    edge.workers.seen.clear()
    edge.log()
    logged = len(edge.log())
    rows, wrong, asked = [], [], 0
    for attempt in attempts("scan.example.org"):
        statuses = ask(("127.0.0.1", edge.port), attempt.data)
        passed_on = list(edge.workers.seen[asked:])
        asked += len(passed_on)
        rows.append((attempt.name, "answer", " ".join(map(str, statuses)) or "none"))
        rows.append((attempt.name, "passed on", str(len(passed_on))))
        # One request of the two at most, and the other is for the edge to refuse.
        if len(passed_on) > 1 or not set(statuses) <= {100, 200, 400, 404, 405, 411, 413, 501} or statuses.count(200) > 1:
            wrong.append((attempt.name, statuses, passed_on))
    print(f"\n{table(rows)}\n{len(rows) // 2} attempts, {len(wrong)} wrong")
    assert wrong == []
    assert not [line for line in edge.workers.seen if HIDDEN in line.partition("?")[0] or line.startswith(f"GET {HIDDEN}")]
    # Every request that a worker has seen is one that nginx knows of.
    lines = [line for line in edge.log()[logged:] if 'upstream="-"' not in line]
    assert len(lines) == len(edge.workers.seen)


def test_a_path_that_hides_a_request_is_one_path(edges: Edges) -> None:
    edge = edges(PLANS["seven"], synapse_server_name="scan.example.org")
    target = f"{OPEN}%20HTTP/1.1%0d%0aX:%20y%0d%0a%0d%0aGET%20/x"
    assert edge.ask("GET", target).said["line"] == f"GET {target} HTTP/1.1"

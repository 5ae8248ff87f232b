"""Whether the hosts can hold the plan."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.plugin_utils._host_problems import host_problems

from .plans import good_plan

ROOM: dict[str, Any] = {
    "cores": 4,
    "memory": {"total": 8000, "available": 4000, "swap": 0},
    "used_mb": {},
    "listeners": [],
    "address_here": True,
    "nginx": {"connections": 768, "files": 1024},
    "postgresql": {"max_connections": 300, "reserved": 3, "others": 0, "connected": 0},
}
PLAN: dict[str, Any] = {"postgresql_max_connections": 300}


def listener(port: int, address: str = "", program: str = "python3", unit: str = "other.service") -> dict[str, Any]:
    return {"address": address, "port": port, "program": program, "unit": unit}


FAILS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a worker's port": (
        {"listeners": [listener(11100, "10.0.0.1")]},
        {},
        "synapse_workers[0]: port 11100 (listen of synchrotron-1) on app1 is taken by python3 of other.service; "
        "give the row a `port` of its own, or stop that",
    ),
    "a port of main, at all addresses, by what is no service": (
        {"listeners": [listener(8008, program="node", unit="")]},
        {},
        "synapse_main_port: port 8008 (listen of main) on app1 is taken by node; choose another, or stop that",
    ),
    "the port of the site": (
        {"listeners": [listener(80, program="apache2", unit="apache2.service")]},
        {},
        "synapse_nginx_listen_http: port 80 (nginx) on app1 is taken by apache2 of apache2.service; choose another, or stop that",
    ),
    "a worker of another homeserver": (
        {"listeners": [listener(11101, "10.0.0.1", unit="second-worker@synchrotron-2.service")]},
        {},
        "synapse_workers[0]: port 11101 (listen of synchrotron-2) on app1 is taken by python3 of second-worker@synchrotron-2.service; "
        "give the row a `port` of its own, or stop that",
    ),
    "an address of nobody": (
        {"address_here": False},
        {},
        "synapse_address: app1 has 10.0.0.1 in the inventory, and no interface of it has that address; name one that it has",
    ),
    "memory": (
        {"memory": {"total": 300, "available": 200, "swap": 0}},
        {},
        "memory of app1: 3 processes take 360 MB when they have just started, and it has 300 MB and 0 MB of swap; 1 would fit",
    ),
    "connections of our PostgreSQL, which others use too": (
        {"postgresql": {"max_connections": 300, "reserved": 3, "others": 290, "connected": 290}},
        {},
        "connections of PostgreSQL on app1: 3 processes may open 18, 290 are others' now and 3 reserved, and 300 are all there are; "
        "raise synapse_postgresql_max_connections to 311, or lower synapse_database_pool_max from 5 to 1",
    ),
    "connections of the operator's PostgreSQL": (
        {"postgresql": {"max_connections": 30, "reserved": 3, "others": 5, "connected": 5, "pool": 10}},
        {"postgresql_host": "", "database": {"name": "psycopg2", "args": {"cp_max": 10}}},
        "connections of PostgreSQL: 3 processes may open 33, 5 are others' now and 3 reserved, and 30 are all there are; "
        "raise its max_connections to 41, or lower cp_max from 10 to 6, or plan 1 workers at most",
    ),
    "a collation that Synapse refuses": (
        {"postgresql": {**ROOM["postgresql"], "collation": "C.UTF-8", "ctype": "C.UTF-8", "unsafe_locale": False}},
        {},
        "collation of the database: C.UTF-8 (C.UTF-8), with which no process of Synapse starts; dump it and load it into one made with "
        "LC_COLLATE and LC_CTYPE C (docs/adopt.md)",
    ),
}


@pytest.mark.parametrize("case", FAILS)
def test_what_would_fail_is_a_problem(case: str) -> None:
    facts, changes, problem = FAILS[case]
    plan = good_plan({"type": "synchrotron", "count": 2}, **PLAN, **changes)
    assert host_problems(plan, {"app1": {**ROOM, **facts}}) == {"problems": [problem], "warnings": []}


MAY_FAIL: dict[str, tuple[dict[str, Any], int, str]] = {
    "memory that is taken": (
        {"memory": {"total": 8000, "available": 500, "swap": 0}},
        0,
        "memory of app1: 3 more processes, 200 MB each as is usual, are 600 MB, and 500 MB are available; 2 would fit",
    ),
    "memory by what runs here": (
        {"memory": {"total": 8000, "available": 500, "swap": 0}, "used_mb": {"matrix-synapse.service": 700}},
        0,
        "memory of app1: 2 more processes, 700 MB each as those take that run here now, are 1400 MB, and 500 MB are available; 0 would fit",
    ),
    "PostgreSQL that must be restarted for it": (
        {"postgresql": {"max_connections": 100, "reserved": 3, "others": 2, "connected": 9}},
        0,
        "PostgreSQL on app1 runs with max_connections 100 and must be restarted for 300; 9 connections would be cut, so this run stops "
        "there unless postgresql_restart_allowed is true",
    ),
    "a collation that the settings allow": (
        {"postgresql": {**ROOM["postgresql"], "collation": "en_US.UTF-8", "ctype": "en_US.UTF-8", "unsafe_locale": True}},
        0,
        "collation of the database: en_US.UTF-8 (en_US.UTF-8), which allow_unsafe_locale lets pass; indexes may break with the next upgrade "
        "of the system, so dump it and load it into one made with LC_COLLATE and LC_CTYPE C (docs/adopt.md) some day",
    ),
    "idle connections": (
        {},
        1024,
        "nginx on app1: each of its processes takes 768 connections (worker_connections), and may keep 1024 idle ones to workers; raise "
        "worker_connections to 2048, or lower nginx_keepalive",
    ),
    "open files": (
        {"nginx": {"connections": 4096, "files": 1024}},
        0,
        "nginx on app1: each of its processes may open 1024 files, fewer than the 4096 connections it takes; set worker_rlimit_nofile to 8192",
    ),
}


@pytest.mark.parametrize("case", MAY_FAIL)
def test_what_may_fail_is_said(case: str) -> None:
    facts, idle, warning = MAY_FAIL[case]
    plan = good_plan({"type": "synchrotron", "count": 2}, **PLAN)
    assert host_problems(plan, {"app1": {**ROOM, **facts}}, {"app1": idle}) == {"problems": [], "warnings": [warning]}


def test_few_cores_are_said() -> None:
    plan = good_plan({"type": "synchrotron", "count": 8})
    assert host_problems(plan, {"app1": {**ROOM, "cores": 1}})["warnings"] == [
        "cores of app1: 9 processes share 1, more than 8 for each; they will wait for each other when many are busy, and 8 would fit"
    ]


def test_what_an_earlier_run_started_is_no_problem() -> None:
    plan = good_plan({"type": "synchrotron", "host": "app2"}, **PLAN)
    ours = [
        listener(8008, "10.0.0.1", unit="matrix-synapse.service"),
        listener(80, "", "nginx", "nginx.service"),
        listener(8089, "127.0.0.1", "nginx", "nginx.service"),
        listener(5432, "10.0.0.1", "postgres", "postgresql@15-main.service"),
        listener(6379, "10.0.0.1", "redis-server", "redis-server@matrix-synapse.service"),
        # The distribution's own Redis, at another address of the same host.
        listener(6379, "127.0.0.1", "redis-server", "redis-server.service"),
        # A port of no process here.
        listener(11100, "", "python3", "other.service"),
    ]
    there = [listener(11100, "10.0.0.2", unit="matrix-synapse-worker@synchrotron-app2-1.service")]
    seen = {"app1": {**ROOM, "listeners": ours}, "app2": {**ROOM, "listeners": there, "postgresql": None}}
    assert host_problems(plan, seen) == {"problems": [], "warnings": []}


def test_a_host_that_was_not_asked_is_left_out() -> None:
    assert host_problems(good_plan({"type": "synchrotron"}), {"app1": {}, "app3": ROOM}) == {"problems": [], "warnings": []}

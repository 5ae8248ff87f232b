"""Whether the hosts can hold the plan: ports, addresses, cores, memory, connections of PostgreSQL and of nginx.

Compared with what the module ``processes_info`` saw there before the first change. Refused is what surely fails; of the rest the operator
is told, with what would fit.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import fnmatch
import statistics
from collections.abc import Iterator
from typing import Any

from ._plan_problems import Port, connections_of, planned_ports, way_out
from ._topology import processes
from ._words import integer

# MB. What a process of Synapse 1.163 takes when it has just started (118 to 128 measured), and with caches of some hundred users.
FRESH_PROCESS = 120
USUAL_PROCESS = 200
# Most processes wait; more than this for each core and they wait for each other.
PROCESSES_PER_CORE = 8


def host_problems(
    plan: dict[str, Any], seen: dict[str, dict[str, Any]], nginx_idle: dict[str, int] | None = None
) -> dict[str, list[str]]:
    """What speaks against the plan on its hosts.

    Args:
        plan: the topology.
        seen: for each host what the module ``processes_info`` returned for it; hosts that were not asked are left out.
        nginx_idle: for each host with nginx the idle connections that one of its processes keeps to workers at most.

    Returns:
        ``problems``, sentences on what would fail, and ``warnings``, sentences on what may.
    """
    problems: list[str] = []
    warnings: list[str] = []
    for host, facts in seen.items():
        if host not in plan["hosts"] or not plan["hosts"][host]["parts"]:
            continue
        problems += _ports(plan, host, facts)
        problems += _address(plan, host, facts)
        for sentence, fails in [*_memory(plan, host, facts), *_connections(plan, host, facts), *_collation(facts)]:
            (problems if fails else warnings).append(sentence)
        warnings += _cores(plan, host, facts)
        warnings += _nginx(host, facts, (nginx_idle or {}).get(host, 0))
    return {"problems": problems, "warnings": warnings}


def _is_ours(plan: dict[str, Any], port: Port, listener: dict[str, Any]) -> bool:
    """Whether who listens at a port is who shall, from an earlier run."""
    service, unit, program = plan["service"], listener["unit"], listener["program"]
    if port.what == "nginx":
        return bool(unit == "nginx.service")
    if port.what == "PostgreSQL":
        return program.startswith("postgres") or unit.startswith("postgresql")
    if port.what == "Redis":
        return bool(unit == f"redis-server@{service}.service")
    return unit == f"{service}.service" or fnmatch.fnmatch(unit, f"{plan['settings']['worker_unit']}@*.service")


def _ports(plan: dict[str, Any], host: str, facts: dict[str, Any]) -> Iterator[str]:
    planned = planned_ports(plan, host)
    for listener in facts.get("listeners") or []:
        port = planned.get(listener["port"])
        if not port or _is_ours(plan, port, listener):
            continue
        # At different addresses of the host there is room for both.
        if port.address and listener["address"] and port.address != listener["address"]:
            continue
        who = listener["program"] or "another program"
        of = f" of {listener['unit']}" if listener["unit"] else ""
        yield f"{port.where}: port {port.port} ({port.what}) on {host} is taken by {who}{of}; {way_out(port)}, or stop that"


def _address(plan: dict[str, Any], host: str, facts: dict[str, Any]) -> Iterator[str]:
    if facts.get("address_here") is False:
        yield (
            f"synapse_address: {host} has {plan['hosts'][host]['address']} in the inventory, and no interface of it has that address; "
            f"name one that it has"
        )


def _units(plan: dict[str, Any], host: str) -> list[str]:
    return [process["unit"] for process in processes(plan, host)]


def _memory(plan: dict[str, Any], host: str, facts: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    units, memory, used = _units(plan, host), facts.get("memory") or {}, facts.get("used_mb") or {}
    if not units or not memory.get("total"):
        return
    all_of_it = memory["total"] + memory.get("swap", 0)
    if len(units) * FRESH_PROCESS > all_of_it:
        yield (
            (
                f"memory of {host}: {len(units)} processes take {len(units) * FRESH_PROCESS} MB when they have just started, and it has "
                f"{memory['total']} MB and {memory.get('swap', 0)} MB of swap; {max(all_of_it // USUAL_PROCESS, 1)} would fit"
            ),
            True,
        )
        return
    running = [size for unit, size in used.items() if unit in units and size]
    each = max(int(statistics.mean(running)) if running else USUAL_PROCESS, FRESH_PROCESS)
    new = len([unit for unit in units if unit not in used])
    free = memory["available"] + sum(size for unit, size in used.items() if unit not in units)
    if new * each > free:
        source = "as those take that run here now" if running else "as is usual"
        yield (
            (
                f"memory of {host}: {new} more processes, {each} MB each {source}, are {new * each} MB, and {free} MB are available; "
                f"{free // each} would fit"
            ),
            False,
        )


def _cores(plan: dict[str, Any], host: str, facts: dict[str, Any]) -> Iterator[str]:
    count, cores = len(_units(plan, host)), facts.get("cores") or 0
    if cores and count > PROCESSES_PER_CORE * cores:
        yield (
            f"cores of {host}: {count} processes share {cores}, more than {PROCESSES_PER_CORE} for each; they will wait for each other when "
            f"many are busy, and {PROCESSES_PER_CORE * cores} would fit"
        )


def _connections(plan: dict[str, Any], host: str, facts: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    found = facts.get("postgresql")
    if not found:
        return
    settings, count = plan["settings"], len(plan["workers"]) + 1
    pool = integer(found.get("pool", settings["database_pool_max"])) or 0
    needed = connections_of(count, pool)
    taken = found["reserved"] + found["others"]
    is_ours = plan["postgresql"]["host"] == host
    wanted = integer(settings["postgresql_max_connections"]) or 0
    offered = max(wanted, found["max_connections"]) if is_ours else found["max_connections"]
    if needed + taken > offered:
        fits = max((offered - taken) // count - 1, 0)
        pool_variable = "synapse_database_pool_max" if is_ours or not settings.get("database") else "cp_max"
        raised = "synapse_postgresql_max_connections" if is_ours else "its max_connections"
        ways = [f"raise {raised} to {needed + taken}"]
        if fits:
            ways.append(f"lower {pool_variable} from {pool} to {fits}")
        if (most := (offered - taken) // (pool + 1) - 1) > 0:
            ways.append(f"plan {most} workers at most")
        yield (
            (
                f"connections of PostgreSQL{f' on {host}' if is_ours else ''}: {count} processes may open {needed}, {found['others']} are others' now "
                f"and {found['reserved']} reserved, and {offered} are all there are; {', or '.join(ways)}"
            ),
            True,
        )
    elif is_ours and found["max_connections"] < wanted and found["connected"]:
        yield (
            (
                f"PostgreSQL on {host} runs with max_connections {found['max_connections']} and must be restarted for {wanted}; "
                f"{found['connected']} connections would be cut, so this run stops there unless postgresql_restart_allowed is true"
            ),
            False,
        )


def _collation(facts: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Synapse does not start with another one than C, unless its settings allow that (``storage/engines/postgres.py``, 1.163.2)."""
    found = facts.get("postgresql") or {}
    if not found.get("collation") or (found["collation"], found["ctype"]) == ("C", "C"):
        return
    said = f"collation of the database: {found['collation']} ({found['ctype']})"
    way = "dump it and load it into one made with LC_COLLATE and LC_CTYPE C (docs/adopt.md)"
    if found.get("unsafe_locale"):
        yield (
            f"{said}, which allow_unsafe_locale lets pass; indexes may break with the next upgrade of the system, so {way} some day",
            False,
        )
    else:
        yield f"{said}, with which no process of Synapse starts; {way}", True


def _nginx(host: str, facts: dict[str, Any], idle: int) -> Iterator[str]:
    limits = facts.get("nginx")
    if not limits:
        return
    connections, files = limits["connections"], limits["files"]
    if idle > connections:
        yield (
            f"nginx on {host}: each of its processes takes {connections} connections (worker_connections), and may keep {idle} idle ones to "
            f"workers; raise worker_connections to {2 * idle}, or lower nginx_keepalive"
        )
    if files and files < connections:
        yield (
            f"nginx on {host}: each of its processes may open {files} files, fewer than the {connections} connections it takes; set "
            f"worker_rlimit_nofile to {2 * connections}"
        )

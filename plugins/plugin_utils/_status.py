"""How the processes of a homeserver are doing, as a table to read, and which worker type is near its limit.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from typing import Any

from ..module_utils._endpoints import MAIN
from ..module_utils._worker_types import BY_NAME

# A process of Synapse is one thread of Python: with a whole core it can do no more. From here on requests wait for each other.
NEAR_THE_LIMIT = 0.8
# Below this, one process fewer would not be near its limit.
AT_LEISURE = 0.3
LONG = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def status_report(
    topology: dict[str, Any], seen: dict[str, dict[str, Any]], counted: list[dict[str, Any]], minutes: float, now: float
) -> list[str]:
    """One line per process, and what to do about it.

    Args:
        topology: ``synapse_topology``.
        seen: inventory name → what the module ``processes_status`` returned for that host.
        counted: what the module ``access_log`` returned for each nginx; what it could not read counts for nothing.
        minutes: over how many minutes was counted.
        now: seconds since 1970.
    """
    requests: dict[str, int] = {}
    for one in counted:
        for name, answers in one.get("answered_by", {}).items():
            requests[name] = requests.get(name, 0) + answers["requests"]
    processes = [topology[MAIN], *topology["workers"]]
    told = {entry["name"]: entry for value in seen.values() for entry in value["processes"]}
    head = ("process", "host", "state", "busy", "memory", "requests/s", "up for", "started because")
    rows = [head, *(_row(process, told.get(process["name"]), requests, minutes, now) for process in processes)]
    shown = [column for column in range(len(head)) if _tells(column, head[column], topology, requests)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    numbers = (3, 4, 5, 6)
    lines = [
        "  ".join(
            f"{row[column]:>{widths[column]}}" if column in numbers else f"{row[column]:<{widths[column]}}" for column in shown
        )
        for row in rows
    ]
    return [*(line.rstrip() for line in lines), *_summary(topology, seen, told), *advice(topology, seen)]


def advice(topology: dict[str, Any], seen: dict[str, dict[str, Any]]) -> list[str]:
    """What to change in ``synapse_workers``, by how busy the processes were; one sentence for each type that it concerns.

    Args:
        topology: ``synapse_topology``.
        seen: inventory name → what the module ``processes_status`` returned for that host.
    """
    busy = {entry["name"]: entry["busy"] for value in seen.values() for entry in value["processes"] if entry["busy"] is not None}
    seconds = max((value["seconds"] for value in seen.values()), default=0.0)
    span = _long(seconds)
    sentences = []
    if busy.get(MAIN, 0.0) >= NEAR_THE_LIMIT:
        sentences.append(
            f"main was at {busy[MAIN]:.0%} of a core for {span}: "
            "synapse.workers.analyse_access_log says which workers would relieve it"
        )
    for name, members in _by_type(topology).items():
        shares = [busy[worker["name"]] for worker in members if worker["name"] in busy]
        if not shares:
            continue
        mean, count, row = sum(shares) / len(shares), len(members), BY_NAME[name]
        if mean >= NEAR_THE_LIMIT:
            sentences.append(_near(name, mean, count, span, _spare(topology, seen, members)))
        elif max(shares) >= NEAR_THE_LIMIT and count > 1:
            fullest = max(members, key=lambda worker: busy.get(worker["name"], 0.0))["name"]
            sentences.append(
                f"{fullest} was at {max(shares):.0%} of a core for {span}, its siblings at {(sum(shares) - max(shares)) / (count - 1):.0%}: "
                + (
                    f"{name} keeps a {_kept(row.balance)} on one worker, and one has much to do"
                    if row.balance
                    else "look at its journal"
                )
            )
        elif count > 1 and sum(shares) / (count - 1) < AT_LEISURE and seconds >= 600:
            sentences.append(f"{name}: {count} workers were at {mean:.0%} of a core each for {span}; {count - 1} would do")
    return sentences


def _near(name: str, mean: float, count: int, span: str, spare: float) -> str:
    row = BY_NAME[name]
    words = f"{name} was at {mean:.0%} of a core for {span}: "
    if not row.several:
        return words + "Synapse allows one of them, so give it a process of its own and a faster core"
    if spare < mean / (count + 1):
        return words + f"another one needs a core, and {'its host has' if count == 1 else 'their hosts have'} none to spare"
    return words + f"count: {count} → {count + 1}"


def _spare(topology: dict[str, Any], seen: dict[str, dict[str, Any]], members: list[dict[str, Any]]) -> float:
    """Cores that processes of Synapse leave idle on the hosts of these workers."""
    hosts = {worker["host"] for worker in members}
    return sum(
        seen[host]["cores"] - sum(entry["busy"] or 0.0 for entry in seen[host]["processes"]) for host in hosts if host in seen
    )


def _by_type(topology: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """{worker type: its workers}; a process with several duties counts for the first."""
    members: dict[str, list[dict[str, Any]]] = {}
    for worker in topology["workers"]:
        members.setdefault(worker["types"][0], []).append(worker)
    return members


def _kept(balance: str) -> str:
    return {"user": "user", "room": "room", "origin": "server"}.get(balance, "request")


def _row(
    process: dict[str, Any], entry: dict[str, Any] | None, requests: dict[str, int], minutes: float, now: float
) -> tuple[str, ...]:
    name, host = process["name"], process["host"]
    rate = f"{requests.get(name, 0) / (minutes * 60):.2f}" if minutes else ""
    if entry is None:
        return (name, host, "not asked", "", "", rate, "", "")
    state = "ready" if not entry["missing"] else entry["missing"].removeprefix("its unit is ")
    return (
        name,
        host,
        state,
        "" if entry["busy"] is None else f"{entry['busy']:.0%}",
        "" if entry["memory_bytes"] is None else f"{entry['memory_bytes'] / 1e6:.0f} MB",
        rate,
        _long(now - entry["since"]) if entry["since"] else "",
        entry["reason"],
    )


def _tells(column: int, title: str, topology: dict[str, Any], requests: dict[str, int]) -> bool:
    if title == "host":
        return len(topology["hosts"]) > 1
    return bool(requests) if title == "requests/s" else True


def _summary(topology: dict[str, Any], seen: dict[str, dict[str, Any]], told: dict[str, dict[str, Any]]) -> list[str]:
    """What is not as it should be, and what all of them take together."""
    wrong = [entry for entry in told.values() if entry["missing"]]
    lines = []
    for host, value in seen.items():
        busy = sum(entry["busy"] or 0.0 for entry in value["processes"])
        memory = sum(entry["memory_bytes"] or 0 for entry in value["processes"])
        where = f" on {host}" if len(topology["hosts"]) > 1 else ""
        if value["processes"]:
            lines.append(
                f"together{where}: {busy:.1f} of {value['cores']} cores, {memory / 1e6:.0f} MB, {len(value['processes'])} processes"
            )
    units = {process["name"]: process["unit"] for process in [topology[MAIN], *topology["workers"]]}
    lines += [f"{entry['name']}: {entry['missing']}; its journal: journalctl -u {units[entry['name']]}" for entry in wrong]
    return lines


def _long(seconds: float) -> str:
    """``5400`` → ``90 min``, ``200000`` → ``2 d``: the largest unit of which there are at least two."""
    return next((f"{seconds / length:.0f} {unit}" for unit, length in LONG if seconds >= 2 * length), f"{seconds:.0f} s")

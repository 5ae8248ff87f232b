"""Which workers are worth their while: counts of an access log in, a plan and what it would bring out.

Requests per second and their share are counted. What a request costs is measured only by Synapse's own log; without it every
request counts as the same ``cpu_ms_per_request``. Its default of 6 ms lies between what an empty server took (3 to 5 ms: 1000
requests, nine of ten of them ``/sync``, took 3.2 to 3.7 s of the main process, or 3.8 to 4.7 s of workers; Synapse 1.163.2 on two
cores of an AMD EPYC) and what one with 400 users and large rooms did (7 to 9 ms: 140 requests a second kept its process at 100 to
120 % of a core; Synapse 1.12). A process takes 118 to 128 MB (the same Synapse), more with fuller caches.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any, NamedTuple

from ..module_utils._endpoints import MAIN
from ..module_utils._worker_types import BY_NAME

ASSUMPTIONS: dict[str, float] = {
    # Milliseconds of CPU time of a request, where the log does not say them.
    "cpu_ms_per_request": 6.0,
    # How busy a process may be in its busiest hour; the rest is for its busiest minutes.
    "busy_at_most": 0.6,
    # Below this share of a core in the busiest hour the main process needs no help.
    "main_alone_up_to": 0.5,
    # Memory of a process, in MB.
    "process_mb": 200,
    # Share of the memory that is available now that workers may take.
    "memory_share": 0.8,
    # CPU time of PostgreSQL and nginx beside each second of Synapse.
    "besides": 0.4,
}
"""Each can be given anew; the text names those that mattered."""

WRITERS = ("typing", "to_device", "account_data", "receipts", "presence")
# What is tried in all combinations. Writers share a process: each alone has little to do.
CANDIDATES: tuple[tuple[str, ...], ...] = (
    ("synchrotron",),
    ("client_reader",),
    ("event_creator",),
    ("media_repository",),
    ("federation_reader",),
    ("user_dir",),
    ("frontend_proxy",),
    WRITERS,
)


class Plan(NamedTuple):
    """One combination and what it does."""

    parts: tuple[tuple[str, ...], ...]
    counts: tuple[int, ...]
    moved: float
    """Share of the CPU time that leaves the main process, 0 to 1."""
    busy: tuple[float, ...]
    """Cores that each part keeps busy in its busiest hour."""
    main_busy: float
    """The same of the main process."""

    @property
    def processes(self) -> int:
        return sum(self.counts)


def pool_for(types: Iterable[str], planned: Iterable[str]) -> str:
    """The first type of a group that a plan has, else ``main``: as requests are routed."""
    has = set(planned)
    return next((one for one in types if one in has), MAIN)


class Load:
    """CPU time of the counted requests: by group and hour."""

    def __init__(self, counted: Mapping[str, Any], cpu_ms: float) -> None:
        self.counted = counted
        self.measured = bool(counted.get("cpu_seconds"))
        self.groups: list[tuple[tuple[str, ...], float, dict[str, float]]] = []
        for group in counted["groups"]:
            each = (group["cpu_seconds"] or 0.0) / group["requests"] if self.measured else cpu_ms / 1000
            hours = {hour: count * each for hour, count in group["hours"].items()}
            self.groups.append((tuple(group["types"]), group["requests"] * each, hours))
        if counted["unknown"]:
            each = 0.0 if self.measured else cpu_ms / 1000
            self.groups.append(((), counted["unknown"] * each, {}))
        self.total = sum(total for _types, total, _hours in self.groups)
        self.hour_seconds = min(3600, counted["span_seconds"] or 3600)

    def busy(self, groups: Iterable[int]) -> float:
        """Cores that these groups keep busy in the busiest hour they have together."""
        by_hour: dict[str, float] = {}
        for number in groups:
            for hour, seconds in self.groups[number][2].items():
                by_hour[hour] = by_hour.get(hour, 0.0) + seconds
        return max(by_hour.values(), default=0.0) / self.hour_seconds

    def pools(self, planned: Iterable[str]) -> dict[str, list[int]]:
        """Numbers of the groups by the pool that would serve them."""
        has, found = list(planned), {}  # type: ignore[var-annotated]
        for number, (types, _total, _hours) in enumerate(self.groups):
            found.setdefault(pool_for(types, has), []).append(number)
        return found


def _plan(load: Load, parts: tuple[tuple[str, ...], ...], settings: Mapping[str, float], cores: int) -> Plan:
    pools = load.pools(name for part in parts for name in part)
    counts, busy = [], []
    for part in parts:
        cores_busy = load.busy(number for name in part for number in pools.get(name, ()))
        several = len(part) == 1 and BY_NAME[part[0]].several
        wanted = max(1, math.ceil(cores_busy / settings["busy_at_most"] - 1e-9))
        counts.append(min(wanted, max(1, cores)) if several else 1)
        busy.append(cores_busy)
    stays = sum(load.groups[number][1] for number in pools.get(MAIN, ()))
    moved = 1 - stays / load.total if load.total else 0.0
    return Plan(parts, tuple(counts), moved, tuple(busy), load.busy(pools.get(MAIN, ())))


def recommend(
    counted: Mapping[str, Any],
    share: float = 0.9,
    cores: int = 0,
    memory_mb: int = 0,
    assumptions: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The smallest set of workers that takes at least ``share`` of the CPU time off the main process.

    ``counted`` is the answer of the module ``access_log``. ``cores`` and ``memory_mb`` (what is available) are the host's unless
    given; ``assumptions`` replaces what ``ASSUMPTIONS`` takes for granted. Smallest is: of all combinations of ``CANDIDATES`` that
    fit into the memory the one with the fewest processes, and of those the one that moves most. Raises ValueError.
    """
    assumed = {name: float(value) for name, value in (assumptions or {}).items()}
    unknown = set(assumed) - set(ASSUMPTIONS)
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: no such assumption; there are {', '.join(ASSUMPTIONS)}")
    if not 0 < share < 1:
        raise ValueError(f"share is a number between 0 and 1, not {share}")
    bad = [name for name, value in assumed.items() if not value > 0]
    if bad:
        raise ValueError(f"{', '.join(sorted(bad))} must be more than 0")
    settings = {**ASSUMPTIONS, **assumed}
    host = counted.get("host") or {}
    cores = int(cores or host.get("cores") or 1)
    memory = int(memory_mb or host.get("available_mb") or 0)
    fit = int(memory * settings["memory_share"] / settings["process_mb"]) if memory else 0
    load = Load(counted, settings["cpu_ms_per_request"])
    everything = load.busy(range(len(load.groups)))
    plans = [
        _plan(load, parts, settings, cores) for size in range(1, len(CANDIDATES) + 1) for parts in combinations(CANDIDATES, size)
    ]
    fitting = [plan for plan in plans if not memory or plan.processes <= fit]
    enough = [plan for plan in fitting if plan.moved >= share - 1e-9]
    alone = everything <= settings["main_alone_up_to"]
    chosen = None
    if enough:
        chosen = min(enough, key=lambda plan: (plan.processes, -round(plan.moved, 6), plan.parts))
    elif fitting:
        chosen = min(fitting, key=lambda plan: (-round(plan.moved, 3), plan.processes, plan.parts))
    verdict = "none_needed" if alone else "no_memory" if chosen is None else "enough" if enough else "best_possible"
    plan = None if alone else chosen
    return {
        "verdict": verdict,
        "workers": _rows(plan) if plan else [],
        "synapse_workers": _yaml(plan) if plan else "synapse_workers: []\n",
        "effect": _effect(plan, everything) if plan else _effect(Plan((), (), 0.0, (), everything), everything),
        "pools": [
            {
                "types": list(part),
                "count": count,
                "busy_percent_each": round(100 * busy / count, 1),
            }
            for part, count, busy in (zip(plan.parts, plan.counts, plan.busy, strict=True) if plan else ())
        ],
        "text": _text(verdict, plan, everything, share, load, cores, memory, fit, settings),
    }


def _rows(plan: Plan) -> list[dict[str, Any]]:
    """The plan as ``synapse_workers``."""
    rows: list[dict[str, Any]] = []
    for part, count in zip(plan.parts, plan.counts, strict=True):
        if len(part) > 1:
            rows.append({"types": list(part), "name": "writers"})
        else:
            rows.append({"type": part[0], **({"count": count} if count > 1 else {})})
    return rows


def _yaml(plan: Plan) -> str:
    """The same to paste."""
    lines = ["synapse_workers:"]
    for row in _rows(plan):
        if "types" in row:
            lines.append(f"  - {{types: [{', '.join(row['types'])}], name: {row['name']}}}")
        else:
            count = f", count: {row['count']}" if "count" in row else ""
            lines.append(f"  - {{type: {row['type']}{count}}}")
    return "\n".join(lines) + "\n"


def _effect(plan: Plan, everything: float) -> dict[str, float]:
    return {
        "moved_percent": round(100 * plan.moved, 1),
        "main_busy_percent_before": round(100 * everything, 1),
        "main_busy_percent_after": round(100 * plan.main_busy, 1),
        "processes": plan.processes,
    }


def _text(
    verdict: str,
    plan: Plan | None,
    everything: float,
    share: float,
    load: Load,
    cores: int,
    memory: int,
    fit: int,
    settings: Mapping[str, float],
) -> list[str]:
    cost = "as Synapse's log has it" if load.measured else f"taken as {settings['cpu_ms_per_request']:g} ms of CPU time a request"
    peak = f"{100 * everything:.0f} % of a core in the busiest hour"
    lines: list[str] = []
    if verdict == "none_needed":
        lines.append(f"You need no workers: one process would be at {peak} ({cost}).")
        lines.append(f"They are worth their while from about {100 * settings['main_alone_up_to']:.0f} % on.")
    elif plan is None:
        lines.append(
            f"One process would be at {peak} ({cost}), but the memory that is available ({memory} MB) holds no worker of "
            f"{settings['process_mb']:g} MB."
        )
    else:
        lines.append(f"One process would be at {peak} ({cost}).")
        many = "1 worker" if plan.processes == 1 else f"{plan.processes} workers"
        lines.append(
            f"{many} would take {100 * plan.moved:.0f} % of it off the main process, which keeps {100 * plan.main_busy:.0f} %:"
        )
        for part, count, busy in zip(plan.parts, plan.counts, plan.busy, strict=True):
            name = part[0] if len(part) == 1 else "writers"
            crowded = "   more than one can do" if busy / count > 1 else ""
            lines.append(f"  {count} × {name:<18} {100 * busy / count:4.0f} % of a core each{crowded}")
        if verdict == "best_possible":
            lines.append(
                f"No set of workers that fits here reaches the {100 * share:.0f} % that you asked for; this one comes nearest."
            )
    needed = everything * (1 + settings["besides"])
    if needed > cores:
        lines.append(
            f"All of Synapse, PostgreSQL and nginx together want about {needed:.1f} cores in the busiest hour; this host has {cores}."
        )
    if memory and plan is not None:
        lines.append(
            f"Memory: {plan.processes} × {settings['process_mb']:g} MB of the {memory} MB that are available; {fit} workers would fit."
        )
    return lines


def shares(counted: Mapping[str, Any], types: Iterable[str]) -> list[dict[str, Any]]:
    """A table for a plan of just these types: each request counted once, at the type that would serve it; ``others`` stay on main."""
    names = list(types)
    wrong = [name for name in names if name not in BY_NAME]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: no such worker type; there are {', '.join(BY_NAME)}")
    found = dict.fromkeys([*names, MAIN], 0)
    for group in counted["groups"]:
        found[pool_for(group["types"], names)] += group["requests"]
    found[MAIN] += counted["unknown"]
    total = counted["total"]
    return [
        {
            "type": "others" if name == MAIN else name,
            "requests": count,
            "percent": round(100.0 * count / total, 2) if total else 0.0,
        }
        for name, count in found.items()
    ]

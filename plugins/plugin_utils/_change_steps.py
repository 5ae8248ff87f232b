"""In which order processes are started and restarted, and where nginx sends their requests meanwhile.

A process of Synapse cuts its requests when it is told to stop (``synapse/app/_base.py``, release 1.163.2, knows no way to wait for
them), so it has to be without any by then: nginx marks it ``down``, what is under way ends, and only then it restarts. Marking
costs a reload, and each reload closes idle connections of clients; hence as few steps as keep every pool alive, whatever the
number of workers.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..module_utils._process_changes import ENABLE, RESTART, START, STOP_START
from ..module_utils._worker_types import BY_NAME, parse_version

# Why nginx sees another topology than the plan's: remembered beside its files, and told by the next run.
LEFT_OUT = "a run ended while workers got no requests"
HELD = "a run ended while requests were held"
ROLLED_BACK = "rolled back: the main process takes what it can"


def change_steps(topology: dict[str, Any], plans: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The steps from the processes that run to those that are planned; what has to stop together has been stopped.

    The main process first: workers of a new release may ask it for something new, it asks nothing of them. Then what does not
    run, which takes nobody's capacity away. Then, of what runs, the workers that others can stand in for, in waves that leave
    each pool the larger half of its members, or the main process; and at last, one by one, those that nobody can stand in for.
    Where requests can be held, those come first instead, all at once with the main process, while nginx holds every request: also
    what others answer may need one of them. So does everything that changes its release, once main is ready with it.

    Args:
        topology: ``synapse_topology``.
        plans: inventory name → what ``change_plan`` returns for that host.

    Returns:
        A list of ``label`` (words for the name of a task); ``processes`` ({host: names}); ``turn`` (whether nginx has to be turned
        before), ``out`` ({pool: names of workers that nginx does not ask during the step}) and ``version`` (release whose routes hold
        meanwhile); ``drain`` (whether requests under way come to an end, as no new ones come); ``in_table_order`` (whether
        one type follows the other, so that a release that does not work is met at the first); ``unserved`` (worker types,
        or ``main``, whose requests nobody answers during the step); and ``held`` (whether nginx holds all requests from before the
        step; those steps come first).
    """
    entries = {entry["name"]: entry for plan in plans.values() for entry in plan}
    everyone = [topology["main"], *topology["workers"]]
    version = _older_version(topology["version"], entries)
    missed = _missed(topology, entries) if holds_requests(topology, plans) else []
    main = _action(entries, "main")
    upgraded = any(entry.get("upgraded") for entry in entries.values())
    steps = []
    if main in (START, STOP_START, RESTART) and (upgraded or missed in ([], [topology["main"]])):
        # What has stopped is missed already.
        steps.append(_step("the main process", [topology["main"]], ["main"] if main == RESTART and not missed else []))
    if workers := [process for process in missed if process["name"] != "main"]:
        # All at once, unless it is yet to be seen whether a new release works at all.
        with_main = main in (START, STOP_START, RESTART) and not steps
        steps.append(_step("what requests wait for", [topology["main"], *workers] if with_main else workers))
    done = {"main", *(process["name"] for process in missed)} - ({"main"} if main == ENABLE else set())
    starting = [process for process in everyone if _action(entries, process["name"]) in (START, STOP_START, ENABLE)]
    starting = [process for process in starting if process["name"] not in done]
    restarting = [
        worker for worker in topology["workers"] if _action(entries, worker["name"]) == RESTART and worker["name"] not in done
    ]
    # What is yet to start, or to learn of a duty, is not asked when the requests that were held go on.
    away = [process for process in starting if _action(entries, process["name"]) != ENABLE]
    out = _out(topology, away, restarting, entries) if missed else {}
    for step in steps:
        step.update(held=bool(missed), out=out, version=version)
    targets = [host for host, plan in plans.items() if any(entry["name"].endswith(".target") for entry in plan)]
    if starting or targets:
        steps.append(_step("what does not run", starting))
        for host in targets:
            steps[-1]["processes"].setdefault(host, [])
    seen: dict[str, list[str]] | None = {}
    if missed:
        # nginx goes on by way of the helper until it is turned again.
        seen = None
        if not steps[-1]["held"]:
            steps[-1].update(turn=True, out=out, version=version)
            seen = out
    return [*steps, *_restarts(topology, restarting, entries, version, seen)]


def holds_requests(topology: dict[str, Any], plans: dict[str, list[dict[str, Any]]]) -> bool:
    """Whether requests can wait at nginx for processes that restart: not before one has been rolled out."""
    entries = (entry for host in topology["nginx_hosts"] for entry in plans.get(host, []))
    return topology["settings"]["hold"] and any(entry.get("known") for entry in entries)


def _missed(topology: dict[str, Any], entries: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the processes that stop during a run for which requests have to be held; main first."""
    found = []
    for process in [topology["main"], *topology["workers"]]:
        name, action = process["name"], _action(entries, process["name"])
        if (
            (name == "main" and action in (RESTART, STOP_START))
            or (action == STOP_START and (process["streams"] or _pools_of(topology, name)))
            or (action == RESTART and name != "main" and not _can_be_spared(topology, process))
            # What goes from one process to another differs from release to release: of two that run two of them one may be refused.
            or (action == RESTART and entries[name].get("upgraded"))
        ):
            found.append(process)
    return found


def _restarts(
    topology: dict[str, Any],
    pending: list[dict[str, Any]],
    entries: dict[str, dict[str, Any]],
    version: str,
    before: dict[str, list[str]] | None,
) -> Iterator[dict[str, Any]]:
    """``before``: the workers that nginx does not ask when this begins; None when it is to be turned in any case."""
    upgraded = any(entries[worker["name"]].get("upgraded") for worker in pending)
    waves = _waves(topology, [worker for worker in pending if _can_be_spared(topology, worker)])
    groups = [(f"wave {number} of {len(waves)}", wave) for number, wave in enumerate(waves, 1)]
    groups += [(worker["name"], [worker]) for worker in pending if not _can_be_spared(topology, worker)]
    for number, (label, processes) in enumerate(groups):
        away = processes if number < len(waves) else []
        # Without a wave nginx keeps its old files until everything has restarted.
        out = _out(topology, away, pending, entries) if waves else {}
        step = _step(label, processes, [] if away else _unserved(topology, processes[0]))
        step.update(turn=out != before, out=out, version=version, drain=bool(away), in_table_order=upgraded)
        yield step
        before = out
        pending = [worker for worker in pending if worker not in processes]


def interim_topology(
    topology: dict[str, Any],
    out: dict[str, list[str]],
    version: str = "",
    held: bool = False,
) -> dict[str, Any]:
    """``topology`` as nginx has to see it while some workers get no requests, or while all requests are held.

    Args:
        topology: ``synapse_topology``.
        out: {pool: names of its workers that are not asked}.
        version: the release whose routes hold meanwhile; '' for that of the topology.
        held: whether all requests wait until the run says that they may go on.

    Returns:
        The same shape, with ``out`` and ``held`` as above and ``note`` (why it is not the plan's, in words; '' when it is). A pool
        without a member left is gone where the main process can stand in: its requests then go the way of those whose type is not planned.
        Where nobody can, the pool stays as it was.
    """
    pools, marked = {}, {}
    for pool, names in topology["pools"].items():
        absent = [name for name in names if name in out.get(pool, [])]
        if len(absent) == len(names):
            if BY_NAME[pool].fallback_to_main:
                continue
            absent = []
        pools[pool] = names
        if absent:
            marked[pool] = absent
    note = LEFT_OUT if marked or len(pools) < len(topology["pools"]) else ""
    return {
        **topology,
        "pools": pools,
        "out": marked,
        "version": version or topology["version"],
        "held": held,
        # Traffic that was rolled back is so still when a restart of main has come to a bad end.
        "note": topology.get("note") or (HELD if held else note),
    }


def rolled_back(topology: dict[str, Any]) -> dict[str, Any]:
    """``topology`` as nginx has to see it while the main process takes all that it can.

    Writers of streams, media workers and single sign-on keep their requests: the main process refuses those as long as the
    settings name the workers.
    """
    return {**interim_topology(topology, topology["pools"]), "note": ROLLED_BACK}


def untouched(topology: dict[str, Any]) -> dict[str, Any]:
    """``topology`` as nginx has to see it while the main process still runs as it did before there was a plan, and answers everything."""
    return {**interim_topology(topology, {}), "pools": {}, "note": LEFT_OUT}


def _action(entries: dict[str, dict[str, Any]], name: str) -> str:
    return str(entries[name]["action"]) if name in entries else ""


def _pools_of(topology: dict[str, Any], name: str) -> list[str]:
    """The pools in which nginx asks a worker."""
    return [pool for pool, names in topology["pools"].items() if name in names]


def _can_be_spared(topology: dict[str, Any], worker: dict[str, Any]) -> bool:
    """Whether others answer while the worker restarts: siblings or the main process, in each of its pools."""
    if worker["streams"] and not _pools_of(topology, worker["name"]):
        # Events of its rooms wait for an event persister.
        return False
    return all(len(topology["pools"][pool]) > 1 or BY_NAME[pool].fallback_to_main for pool in _pools_of(topology, worker["name"]))


def _waves(topology: dict[str, Any], workers: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """``workers`` in as few waves as leave no pool without a member that was not all by itself anyway."""
    members = {**topology["pools"]}
    for worker in workers:
        if not _pools_of(topology, worker["name"]):
            # Without requests, but two with one duty still do not pause at once.
            members[worker["types"][0]] = [one["name"] for one in topology["workers"] if worker["types"][0] in one["types"]]
    waves: list[list[dict[str, Any]]] = [[], []]
    taken: list[dict[str, int]] = [{}, {}]
    for worker in workers:
        pools = [pool for pool, names in members.items() if worker["name"] in names]
        wave = min(
            (number for number in range(len(waves)) if _fits(pools, members, taken[number])),
            # The emptiest for its pools; of two, the shorter one.
            key=lambda number: (max(taken[number].get(pool, 0) for pool in pools), len(waves[number])),
            default=len(waves),
        )
        if wave == len(waves):
            waves.append([])
            taken.append({})
        waves[wave].append(worker)
        for pool in pools:
            taken[wave][pool] = taken[wave].get(pool, 0) + 1
    return [wave for wave in waves if wave]


def _fits(pools: list[str], members: dict[str, list[str]], taken: dict[str, int]) -> bool:
    """Whether one more may be out: half of a pool, rounded up, but never all of several."""
    return all(
        len(members[pool]) == 1 or taken.get(pool, 0) + 1 <= min((len(members[pool]) + 1) // 2, len(members[pool]) - 1)
        for pool in pools
    )


def _step(label: str, processes: Iterable[dict[str, Any]], unserved: list[str] | None = None) -> dict[str, Any]:
    hosts: dict[str, list[str]] = {}
    for process in processes:
        hosts.setdefault(process["host"], []).append(process["name"])
    return {
        "label": label,
        "processes": hosts,
        "turn": False,
        "out": {},
        "version": "",
        "drain": False,
        "in_table_order": False,
        "unserved": unserved or [],
        "held": False,
    }


def _out(
    topology: dict[str, Any],
    away: list[dict[str, Any]],
    pending: list[dict[str, Any]],
    entries: dict[str, dict[str, Any]],
) -> dict[str, list[str]]:
    """{pool: workers} that get no requests: those that restart now, and whoever has yet to learn of a duty by its restart."""
    out = {}
    for pool, members in topology["pools"].items():
        names = {worker["name"] for worker in away}
        names |= {worker["name"] for worker in pending if pool not in _served(entries[worker["name"]], pool)}
        if absent := [name for name in members if name in names]:
            out[pool] = absent
    return out


def _unserved(topology: dict[str, Any], worker: dict[str, Any]) -> list[str]:
    """What nobody answers while a worker restarts that cannot be spared."""
    return [
        name
        for name in worker["types"]
        if (topology["pools"].get(name) == [worker["name"]] and not BY_NAME[name].fallback_to_main)
        or (BY_NAME[name].streams and not BY_NAME[name].takes_requests)
    ]


def _served(entry: dict[str, Any], pool: str) -> list[str]:
    """The pools that a process has answered for so far; what nobody remembers is taken for unchanged."""
    serves = entry.get("serves")
    return [pool] if serves is None else serves


def _older_version(version: str, entries: dict[str, dict[str, Any]]) -> str:
    """The oldest release among those that run and the planned one: all of them know its routes, newer ones only some."""
    found = [(parsed, text) for text in [version, *_releases(entries)] if text and (parsed := parse_version(text))]
    return min(found)[1] if found else version


def _releases(entries: dict[str, dict[str, Any]]) -> Iterator[str]:
    for entry in entries.values():
        yield entry.get("release") or ""

"""What a run is going to do and what it did, in words for the operator.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import re
from typing import Any

from ..module_utils._process_changes import ENABLE, KEEP, NEW, NOT_RUNNING, RELOAD, RESTART, RETIRE, START, STOP, STOP_START
from ._change_plan import NGINX
from ._change_steps import change_steps, holds_requests

# What becomes of requests that are held.
WAIT = "requests wait at nginx until they can be answered"

Plans = dict[str, list[dict[str, Any]]]

# In the order in which it happens.
ACTIONS = (STOP_START, RESTART, START)
PAST = {
    STOP_START: "stopped and started",
    RESTART: "restarted",
    START: "started",
    ENABLE: "enabled",
    RELOAD: "reloaded",
    RETIRE: "retired",
}


def announced(topology: dict[str, Any], plans: Plans) -> Plans:
    """``plans`` with nginx reloaded where waves need that, or to hold requests."""
    steps = change_steps(topology, plans)
    if not any(step["turn"] or step["held"] for step in steps):
        return plans
    held = any(step["held"] for step in steps)
    reason = "holds requests while processes restart" if held else "sends nothing to workers while they restart"
    turned = {"name": NGINX, "action": RELOAD, "reason": reason}
    return {host: [turned if _is_turned(entry, held) else entry for entry in entries] for host, entries in plans.items()}


def _is_turned(entry: dict[str, Any], held: bool) -> bool:
    """Whether nginx is turned for the sake of restarts; when it was rolled back only to hold requests."""
    return entry["name"] == NGINX and entry["action"] == KEEP and (held or not entry.get("rolled_back"))


def plan_report(topology: dict[str, Any], plans: Plans) -> list[str]:
    """What a run is going to do with all processes and nginx, as a table to read; what stays as it is in one line.

    Args:
        topology: ``synapse_topology``.
        plans: inventory name → what ``change_plan`` returns for that host.
    """
    entries = [(host, entry) for host, plan in announced(topology, plans).items() for entry in plan]
    changes = [(host, entry) for host, entry in entries if entry["action"] != KEEP]
    kept = _kept(len(entries) - len(changes))
    if not changes:
        return [f"nothing changes: {kept}"]
    # Sorted only by what happens first: within that the plan's own order stays.
    changes.sort(key=lambda change: ACTIONS.index(change[1]["action"]) if change[1]["action"] in ACTIONS else len(ACTIONS))
    rows = [("action", "process", "host", "why"), *_merged(changes)]
    shown = [0, 1, 2, 3] if len(topology["hosts"]) > 1 else [0, 1, 3]
    widths = [max(len(row[column]) for row in rows) for column in shown]
    lines = ["  ".join(f"{row[column]:<{width}}" for column, width in zip(shown, widths, strict=True)).rstrip() for row in rows]
    return [*lines, *([kept] if len(entries) > len(changes) else [])]


def interruptions(topology: dict[str, Any], plans: Plans) -> list[str]:
    """What users or other servers are going to notice of a run and may be refused; one sentence each.

    That some requests wait for some seconds is no interruption: ``waits``.

    Args:
        topology: ``synapse_topology``.
        plans: inventory name → what ``change_plan`` returns for that host.
    """
    sentences = []
    held = holds_requests(topology, plans)
    entries = {entry["name"]: entry for plan in plans.values() for entry in plan}
    together = [entry for entry in entries.values() if entry["action"] == STOP_START]
    main = entries.get("main", {"action": KEEP})
    if together:
        names = f"{len(together)} processes" if len(together) > 3 else " and ".join(entry["name"] for entry in together)
        effect = (
            (f"{WAIT}, about half a minute" if held else "nobody is served until they are back, about half a minute")
            if main["action"] == STOP_START
            else "what they do waits until they are back, some seconds"
        )
        sentences.append(
            f"{names} stop{'s' if len(together) == 1 else ''} before anything starts ({together[0]['reason']}): {effect}"
        )
    if main["action"] == RESTART and not held:
        sentences.append(f"main restarts ({main['reason']}): requests that no worker answers fail until it is back, some seconds")
    steps = change_steps(topology, plans)
    alone = [step for step in steps if step["unserved"] and step["unserved"] != ["main"]]
    if alone:
        names = ", ".join(step["label"] for step in alone)
        duties = ", ".join(dict.fromkeys(duty for step in alone for duty in step["unserved"]))
        sentences.append(
            f"{names} restart{'s' if len(alone) == 1 else ' one by one'}, and nobody can stand in: "
            f"requests for {duties} fail or wait until {'it is' if len(alone) == 1 else 'each is'} back, some seconds"
        )
    absent = [host for host in topology["nginx_hosts"] if host not in plans]
    if absent and any(step["turn"] or step["held"] for step in steps):
        sentences.append(
            f"nginx on {', '.join(absent)} is left out of this run (--limit) and goes on asking workers that restart: "
            f"requests that are under way are cut"
        )
    return sentences


def waits(topology: dict[str, Any], plans: Plans) -> list[str]:
    """What users are going to wait for during a run, where no request fails for it; one sentence each.

    Args:
        topology: ``synapse_topology``.
        plans: inventory name → what ``change_plan`` returns for that host.
    """
    entries = {entry["name"]: entry for plan in plans.values() for entry in plan}
    held = [step for step in change_steps(topology, plans) if step["held"]]
    names = [name for step in held for members in step["processes"].values() for name in members]
    if not names or any(entries[name]["action"] == STOP_START for name in names):
        # The latter is for ``interruptions`` to say.
        return []
    who = f"{len(names)} processes" if len(names) > 3 else " and ".join(names)
    reasons = ", ".join(dict.fromkeys(part for name in names for part in entries[name]["reason"].split(", ") if part))
    duration = "about half a minute" if any(entries[name].get("upgraded") for name in names) else "some seconds"
    return [f"{who} restart{'s' if len(names) == 1 else ''} ({reasons}): {WAIT}, {duration}"]


def run_report(topology: dict[str, Any], plans: Plans, done: Plans) -> list[str]:
    """What a run did, compared with what it was going to do: one line when it is the same.

    Args:
        topology: ``synapse_topology``.
        plans: inventory name → what ``change_plan`` returned for that host.
        done: inventory name → what was done there, in the order in which it was done: ``name``, ``action``, ``reason``, and
            ``cut`` where requests were cut.
    """
    planned = {(host, entry["name"]): entry for host, plan in announced(topology, plans).items() for entry in plan}
    happened = {(host, entry["name"]): entry for host, entries in done.items() for entry in _told(entries)}
    lines = []
    for key in [*planned, *(key for key in happened if key not in planned)]:
        plan, fact = planned.get(key, {}).get("action", KEEP), happened.get(key, {}).get("action", KEEP)
        if plan != fact:
            reason = happened[key]["reason"] if key in happened else ""
            where = f"{key[1]} on {key[0]}"
            lines.append(
                f"{where}: {fact}{f' ({reason})' if reason else ''}, which was not planned"
                if fact != KEEP
                else f"{where}: {plan} was planned and not needed"
            )
    cut = [
        f"{name} on {host}: {entry['cut']} requests were still under way when it had to stop, and were cut (synapse_drain_timeout)"
        for (host, name), entry in happened.items()
        if entry.get("cut")
    ]
    actions = [entry["action"] for entry in happened.values()]
    counts = [f"{actions.count(action)} {words}" for action, words in PAST.items() if action in actions]
    return [f"{'done' if lines else 'done as planned'}: {', '.join(counts) or 'nothing had to change'}", *lines, *cut]


def _told(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry per process: what was stopped to be started again is one thing, for the reason for which it was stopped."""
    told: dict[str, dict[str, Any]] = {}
    for entry in entries:
        before = told.get(entry["name"], {"action": KEEP})
        cut = before.get("cut", 0) + entry.get("cut", 0)
        if before["action"] == STOP:
            action = entry["action"] if entry["action"] == RETIRE else STOP_START
            entry = {**entry, "action": action, "reason": before["reason"]}
        chosen = entry if entry["action"] != KEEP or before["action"] == KEEP else before
        told[entry["name"]] = {**chosen, **({"cut": cut} if cut else {})}
    return [entry for entry in told.values() if entry["action"] != KEEP or entry.get("cut")]


def _kept(number: int) -> str:
    return f"{number} process{'es stay as they are' if number != 1 else ' stays as it is'}"


def _merged(changes: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, str, str, str]]:
    """Rows of the table; of neighbours that differ by their number only one."""
    rows: list[tuple[str, str, str, str]] = []
    stem, first, last = "", 0, 0
    for host, entry in changes:
        name, _dash, number = entry["name"].rpartition("-")
        row = (entry["action"], entry["name"], host, entry["reason"])
        same = rows and rows[-1][0] == row[0] and rows[-1][2:] == row[2:]
        if same and number.isdigit() and name == stem and int(number) == last + 1:
            last = int(number)
            rows[-1] = (row[0], f"{stem}-{first}..{last}", *row[2:])
            continue
        stem, first, last = (name, int(number), int(number)) if number.isdigit() else ("", 0, 0)
        rows.append(row)
    return rows


def chosen_processes(topology: dict[str, Any], only: list[str] | str = "", main: bool = False) -> list[str]:
    """Names of the processes that an operator means.

    Args:
        topology: ``synapse_topology``.
        only: worker types and names of processes, as a list or, as the command line has it, in words; all workers when empty.
        main: whether the main process is meant too.

    Returns:
        Names, main first, in the order of the plan.

    Raises:
        ValueError: something is neither a planned type nor a planned process.
    """
    words = re.findall(r"[^\s,\[\]'\"]+", only) if isinstance(only, str) else [str(word) for word in only]
    processes = [topology["main"], *topology["workers"]]
    known = {word for process in processes for word in (process["name"], *process["types"])}
    unknown = [word for word in words if word not in known]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no planned process and no type of one; there are {', '.join(sorted(known))}")
    chosen = {process["name"] for process in processes if {process["name"], *process["types"]}.intersection(words)}
    if not words:
        chosen = {worker["name"] for worker in topology["workers"]}
    if main:
        chosen.add("main")
    return [process["name"] for process in processes if process["name"] in chosen]


def not_rolled_out(plans: Plans, members_only: bool = False) -> list[str]:
    """What of the plan is not on the hosts yet, one sentence each; that a process is not running, or that traffic is rolled
    back, is no matter of the plan.

    Args:
        plans: inventory name → what ``change_plan`` returns for that host.
        members_only: tell only which processes are new, or no longer planned.
    """
    return [
        f"{entry['name']} on {host}: {entry['reason']}"
        for host, entries in plans.items()
        for entry in entries
        if entry["action"] not in (KEEP, ENABLE) and entry["reason"] != NOT_RUNNING and not entry.get("rolled_back")
        if not members_only or entry["action"] == RETIRE or entry["reason"] == NEW
    ]

"""From one release of Synapse to another, or back: whether the database allows it, and what is said of it.

Sources: Synapse 1.163.2, ``synapse/storage/prepare_database.py`` and ``docs/development/database_schema.md``. A release names the
schema that it expects (``SCHEMA_VERSION``) and the oldest schema that a release may expect so that it still understands what this
one makes of the database (``SCHEMA_COMPAT_VERSION``, kept in the table ``schema_compat_version``). A release refuses a database
whose ``compat_version`` is greater than its own ``SCHEMA_VERSION``. Workers refuse one that lacks a delta of theirs; only the main
process, or ``update_synapse_database``, applies deltas.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import re
from typing import Any

from ..module_utils._process_changes import KEEP, RETIRE

Plans = dict[str, list[dict[str, Any]]]


def version_number(release: str) -> tuple[int, ...]:
    """``'1.163.2'`` → ``(1, 163, 2)``, to compare releases; a release candidate counts as what it becomes."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"rc|[~+-]", release)[0]))


def release_change(plans: Plans) -> dict[str, Any]:
    """What becomes of the release of the processes that run.

    Args:
        plans: inventory name → what ``change_plan`` returns for that host.

    Returns:
        ``before`` (releases that run and go, oldest first), ``after`` (the one that all will run) and ``back`` (whether that is older
        than any of them); empty when no process changes its release.
    """
    entries = [
        entry for plan in plans.values() for entry in plan if entry.get("upgraded") and entry["action"] not in (KEEP, RETIRE)
    ]
    if not entries:
        return {}
    before = sorted({entry["release"] for entry in entries}, key=version_number)
    after = entries[0]["becomes"]
    return {"before": before, "after": after, "back": version_number(after) < version_number(before[-1])}


def release_words(change: dict[str, Any], done: bool = False) -> list[str]:
    """What a change of the release means.

    Args:
        change: what ``release_change`` returns.
        done: whether it has happened, for the end of a run; else for its announcement.
    """
    if not change:
        return []
    before = " and ".join(change["before"])
    if done:
        return [
            f"all processes run Synapse {change['after']}; {'forth again' if change['back'] else 'the way back'}: ansible-playbook "
            f"-i INVENTORY synapse.workers.upgrade -e synapse_version={change['before'][-1]}"
        ]
    if change["back"]:
        return [
            f"Synapse goes back from {before} to {change['after']}, if the database allows that: the workers first, the main process "
            f"last; the database stays as it is"
        ]
    return [
        f"Synapse {before} becomes {change['after']}: the database first, then the main process, then the workers; until all of them "
        f"run it, nginx goes by the routes of {change['before'][0]}"
    ]


def schema_check(answer: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Whether the database allows a change of the release.

    Args:
        answer: what ``roles/synapse/files/schema.py`` says: ``database`` and ``release``, each with ``version`` and ``compat``; or
            ``error``: why it could not be asked.
        change: what ``release_change`` returns.

    Returns:
        ``problems`` (sentences; a refusal when there are any), ``update`` (whether the database has to be brought to the schema of the
        release before its first process starts) and ``summary`` (sentences for the good case).
    """
    result: dict[str, Any] = {"problems": [], "update": False, "summary": []}
    if not change:
        return result
    after, before = change["after"], change["before"][0]
    if answer.get("error"):
        result["problems"].append(f"the database could not be asked for its schema: {answer['error']}")
        return result
    database, release = answer["database"], answer["release"]
    if database["compat"] > release["version"]:
        result["problems"].append(
            f"Synapse {after} does not understand the database any more: it knows schemas up to {release['version']}, and the database "
            f"has been made for {database['compat']} or later. The way back from {change['before'][-1]} ends at the releases that know "
            f"schema {database['compat']}; an older one needs a backup of the database from before the upgrade"
        )
    elif not change["back"] and release["compat"] > database["version"]:
        result["problems"].append(
            f"Synapse {after} makes of the database what {before} would not understand: it allows schemas from {release['compat']} on, "
            f"and {before} expects {database['version']}. Upgrade first to a release in between, whose schema is {release['compat']} or "
            f"later and which allows {database['version']}; the table is in Synapse's upgrade notes"
        )
    elif not change["back"]:
        result["update"] = True
        result["summary"].append(
            f"the database has schema {database['version']}, and Synapse {after} expects {release['version']}; {before} goes on with "
            f"either"
        )
    else:
        result["summary"].append(
            f"the database keeps schema {database['version']}: Synapse {after} expects {release['version']} and understands it, as it "
            f"allows schemas from {database['compat']} on"
        )
    return result


def stopped_report(plans: Plans, change: dict[str, Any], now: dict[str, dict[str, Any]], returned: list[str]) -> list[str]:
    """What runs what after a change of the release came to a stop, and how to go on.

    Args:
        plans: inventory name → what ``change_plan`` returned for that host before the run did anything.
        change: what ``release_change`` returned then.
        now: inventory name → what ``processes_info`` says after it.
        returned: names of processes that have been started with their old release again.
    """
    rows = []
    for host, plan in plans.items():
        remembered, units = now[host]["remembered"], now[host]["units"]
        for entry in plan:
            known = remembered.get(entry["name"], {})
            if not known:
                continue
            state = units.get(known["unit"], {}).get("ActiveState", "unknown")
            release = known.get("parts", {}).get("Synapse", "unknown")
            if state != "active":
                release, state = "-", f"not ready ({state})"
            elif entry["name"] in returned:
                state = f"went back to {release}"
            rows.append((entry["name"], host, release, state))
    shown = [("process", "host", "runs", "state"), *rows]
    widths = [max(len(row[column]) for row in shown) for column in range(3)]
    table = ["  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[3]]) for row in shown]
    older = change["before"][0]
    back = (
        f"Back: ansible-playbook -i INVENTORY synapse.workers.upgrade -e synapse_version={older}"
        if not change["back"]
        else f"The other way: ansible-playbook -i INVENTORY synapse.workers.upgrade -e synapse_version={change['before'][-1]}"
    )
    return [
        *table,
        f"Both releases understand the database, and nginx sends nothing to a process that is not ready and can be spared: the server "
        f"goes on with Synapse {' and '.join([*change['before'], change['after']])}.",
        "Forth: mend the cause and run the same again; it goes on where this run stopped.",
        back,
    ]

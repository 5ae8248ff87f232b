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


def release_words(change: dict[str, Any], moment: str) -> list[str]:
    """What a change of the release means.

    Args:
        change: what ``release_change`` returns.
        moment: ``planned``, before anything has changed; ``stopped``, when a process did not get ready; or ``done``, at the end.
    """
    if not change:
        return []
    after, before = change["after"], " and ".join(change["before"])
    way_back = f"ansible-playbook -i INVENTORY synapse.workers.upgrade -e synapse_version={change['before'][-1]}"
    if moment == "done":
        return [f"all processes run Synapse {after}; {'forth again' if change['back'] else 'the way back'}: {way_back}"]
    if moment == "stopped":
        return [
            f"What has changed so far runs Synapse {after}, the rest goes on with {before}, and both understand the database.",
            "Forth: mend the cause and run the same again; it goes on with what is left.",
            f"{'The other way' if change['back'] else 'Back'}: {way_back}",
        ]
    if change["back"]:
        return [f"Synapse goes back from {before} to {after}, if the database allows that: the main process, then the workers"]
    return [f"Synapse {before} becomes {after}: the database first, then the main process, then the workers"]


def schema_check(answer: dict[str, Any], change: dict[str, Any], token_loss_allowed: bool = False) -> dict[str, Any]:
    """Whether the database allows a change of the release.

    Args:
        answer: what ``roles/synapse/files/schema.py`` says: ``database`` and ``release``, each with ``version`` and ``compat``; or
            ``error``: why it could not be asked.
        change: what ``release_change`` returns.
        token_loss_allowed: whether clients may be left with tokens of /sync that the release refuses.

    Returns:
        ``problems`` (sentences; a refusal when there are any), ``outdated`` (whether the database has to be brought to the schema of the
        release before its first process starts) and ``summary`` (sentences for the good case).
    """
    result: dict[str, Any] = {"problems": [], "outdated": False, "summary": []}
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
        result["outdated"] = True
        result["summary"].append(
            f"the database has schema {database['version']}, and Synapse {after} expects {release['version']}; {before} goes on with "
            f"either"
        )
    else:
        result["summary"].append(
            f"the database keeps schema {database['version']}: Synapse {after} expects {release['version']} and understands it, as it "
            f"allows schemas from {database['compat']} on"
        )
    knows, gives = release.get("tokens", 0), answer.get("running", {}).get("tokens", 0)
    if change["back"] and 0 < knows < gives:
        # StreamToken.from_string (synapse/types/__init__.py, 1.142.0 and 1.163.2) fills up what is missing and refuses what is too much.
        words = (
            f"Synapse {after} refuses the tokens of /sync that {change['before'][-1]} has given out (they have {gives} keys, it knows {knows}): "
            f"apps that were in use since then get 400 `Invalid stream token`, until they have logged in anew or the newer release is back"
        )
        if token_loss_allowed:
            result["summary"].append(words)
        else:
            result["problems"].append(f"{words}; -e synapse_token_loss_allowed=true goes back all the same")
    return result

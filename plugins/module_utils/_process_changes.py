"""What has to be done with a process, by what it was started with and what it shall be started with.

The controller announces by these functions what a run will do, and the host does it by the same.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

KEEP = "keep"
ENABLE = "enable"
START = "start"
RESTART = "restart"
# Not one by one: all that are concerned stop before the first one starts.
STOP_START = "stop, start"
STOP = "stop"
RETIRE = "retire"
RELOAD = "reload"

# The parts that the host adds to those of the plan.
RELEASE = "Synapse"
SECRETS = "secrets"

RUNNING = ("active", "reloading")

NEW = "is new"
NOT_RUNNING = "is not running"
NOT_AT_BOOT = "did not start at boot"
NOT_PLANNED = "is no longer planned"
REPLACED = "the plan's workers take over"
CUT_SHORT = "a run ended before it was ready"
DUTY_PASSES = "is no longer planned, and its duty passes to others"


def with_host_parts(process: Dict[str, Any], release: str, secrets: str) -> Dict[str, Any]:
    """``process`` with the parts that only its host knows; '' leaves one out."""
    parts = dict(process["parts"])
    if release:
        parts[RELEASE] = release
    if secrets:
        parts[SECRETS] = secrets
    return dict(process, parts=parts)


def decide(process: Dict[str, Any], unit: Dict[str, str], remembered: Dict[str, Any], forced: bool = False) -> Tuple[str, str]:
    """(action, reason in words) for a planned process.

    Args:
        process: ``parts`` ({name: digest}) and ``together`` (names of parts).
        unit: systemd's properties ``ActiveState`` and ``UnitFileState``; empty for a unit that is not loaded.
        remembered: what the process was started with; empty when this collection never started it.
        forced: whether it shall be restarted in any case.
    """
    if unit.get("ActiveState") not in RUNNING:
        return START, NOT_RUNNING if remembered else NEW
    if "parts" not in remembered:
        return RESTART, CUT_SHORT if remembered else "was not started by this collection"
    changed = changed_parts(process, remembered)
    if changed:
        # What the release brings, the release before knows nothing of that could be in its way.
        brought = _brought(changed, remembered["parts"])
        together = [part for part in changed if part in process["together"] and part not in brought]
        return STOP_START if together else RESTART, _words(changed, process["parts"], remembered["parts"])
    if forced:
        return RESTART, "asked for"
    if unit.get("UnitFileState") != "enabled":
        return ENABLE, NOT_AT_BOOT
    return KEEP, ""


def changed_parts(process: Dict[str, Any], remembered: Dict[str, Any]) -> List[str]:
    """Names of the parts that differ from what the process was started with."""
    before = remembered.get("parts", {})
    return [part for part in sorted(process["parts"]) if before.get(part) != process["parts"][part]]


def _brought(changed: List[str], before: Dict[str, str]) -> List[str]:
    """Names of the parts that are there because of another release."""
    return [part for part in changed if RELEASE in changed and part not in before]


def old_processes(planned: List[str], remembered: Dict[str, Dict[str, Any]]) -> List[Dict[str, Any]]:
    """What is remembered and no longer planned: ``name`` and what ``Memory.remember`` keeps."""
    blank = {"unit": "", "listen": None, "metrics": None, "yields": False}
    return [{**blank, **remembered[name], "name": name} for name in sorted(remembered) if name not in planned]


def replaced_processes(replaced: List[Dict[str, Any]], units: Dict[str, Dict[str, str]]) -> Dict[str, Dict[str, Any]]:
    """Of units that were here before this collection, those that still run or would start with the host, as if remembered."""

    def lives(unit: Dict[str, str]) -> bool:
        return unit.get("ActiveState") in (*RUNNING, "activating") or unit.get("UnitFileState") == "enabled"

    return {
        row["name"]: {key: row[key] for key in ("unit", "listen", "metrics", "yields")}
        for row in replaced
        if lives(units.get(row["unit"], {}))
    }


def _words(changed: List[str], now: Dict[str, str], before: Dict[str, str]) -> str:
    words = [part for part in changed if part != RELEASE and part not in _brought(changed, before)]
    said = ["{} changed".format(" and ".join(words))] if words else []
    if RELEASE in changed:
        said.insert(0, "Synapse {} to {}".format(before.get(RELEASE) or "unknown", now[RELEASE]))
    return ", ".join(said)

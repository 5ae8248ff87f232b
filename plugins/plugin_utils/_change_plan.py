"""What each process was started with, in parts, so that a run can tell which processes a change concerns.

A process is restarted when a part of what it read at its start differs from the plan. The parts are hashed here and kept on
the host by the module ``processes`` once the process answers; a run that was interrupted therefore leaves its work to the
next one, which handlers would not.

Source of the restart rules: Synapse 1.163.2, ``docs/workers.md`` and ``config_documentation.md``; see the column ``restart``
of ``_worker_types.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from ..module_utils._worker_types import BY_NAME, TABLE, WorkerType
from ._homeserver import base_config, log_config, shared_config, worker_config
from ._topology import processes

OWN = "own settings"
SHARED = "shared settings"
WRITERS = "stream writers"
DUTIES = "duties"
UNIT = "unit"
# Known to the host only; the module `processes` looks.
SECRETS = "secrets"

# Two writers of one stream at a time, or one that another process still looks for at its old place, lose data: when these
# differ, all processes concerned stop before the first one starts.
# Processes with different replication secrets refuse each other.
TOGETHER = (WRITERS, SECRETS)
TOGETHER_OF_SENDERS = (*TOGETHER, DUTIES)

_WRITER_KEYS = ("instance_map", "stream_writers")
_DUTY_KEYS = (
    *(row.setting for row in TABLE if row.setting),
    "enable_media_repo",
    "media_instance_running_background_jobs",
)


def process_states(plan: dict[str, Any], host: str, units: dict[str, str]) -> list[dict[str, Any]]:
    """How the processes on ``host`` shall run, main first.

    Args:
        plan: the topology.
        host: inventory name.
        units: text of the unit files, ``{'main': …, 'worker': …}``.

    Returns:
        A list of ``{name, unit, parts, together, yields, wave, probe}``: ``parts`` ({name of a part: digest}), ``together`` (names of
        parts whose change needs all processes concerned to stop first), ``yields`` (whether it must be gone, when it is no longer
        planned, before its duty is taken up elsewhere), ``wave`` (0 or 1: members of a pool never restart at
        once), ``probe`` (how to ask whether it is ready: ``listen``, ``metrics``,
        ``client``, ``replicates``).
    """
    read = _read_on(plan, host)
    states = []
    for process in processes(plan, host):
        states.append(
            {
                "name": process["name"],
                "unit": process["unit"],
                "parts": _parts(plan, process, units, read),
                "together": list(TOGETHER_OF_SENDERS if "federation_sender" in process["types"] else TOGETHER),
                "yields": any(_yields(BY_NAME[name]) for name in process["types"] if name in BY_NAME),
                "wave": (process["number"] - 1) % 2,
                "probe": {
                    "listen": process["listen"],
                    "metrics": process["metrics"],
                    "client": "client" in process["resources"],
                    # Main alone has nobody to hear from.
                    "replicates": process["name"] != "main",
                },
            }
        )
    return states


def change_report(entries: list[dict[str, Any]]) -> list[str]:
    """What a run did with the processes of a host, as lines to read: the changes first, then how many were kept.

    Args:
        entries: ``{name, action, reason}`` in the order in which it happened, as the module ``processes`` returns them in
            ``plan``. A process that was stopped to be started again was restarted, for the reason for which it was stopped.
    """
    told: dict[str, dict[str, Any]] = {}
    for entry in entries:
        before = told.get(entry["name"])
        if before and before["action"] == "stop":
            action = entry["action"] if entry["action"] == "retire" else "restart"
            entry = {**before, "action": action}
        told[entry["name"]] = entry
    changes = [entry for entry in told.values() if entry["action"] != "keep"]
    width = max((len(entry["name"]) for entry in changes), default=0)
    lines = [f"{entry['action']:<8} {entry['name']:<{width}}  {entry['reason']}".rstrip() for entry in changes]
    kept = len(told) - len(changes)
    if kept:
        lines.append(f"{kept} process{'es' if kept > 1 else ''} kept as {'they are' if kept > 1 else 'it is'}")
    return lines or ["no processes here"]


def _yields(row: WorkerType) -> bool:
    """Whether two processes with this duty that do not know of each other would do harm.

    Two would write one stream, or send everything twice. Media may be served twice, and main goes on writing the stream of
    quarantined media anyway.
    """
    return (bool(row.streams) and not row.media) or bool(row.setting)


class _Read(NamedTuple):
    """What the processes of a host read besides their own files, sorted by whom a change of it concerns."""

    listeners: list[dict[str, Any]]
    writers: dict[str, Any]
    duties: dict[str, Any]
    shared: dict[str, Any]


def _read_on(plan: dict[str, Any], host: str) -> _Read:
    shared = shared_config(plan, host)
    listeners = shared.pop("listeners")
    writers = {key: shared.pop(key) for key in _WRITER_KEYS if key in shared}
    duties = {key: shared.pop(key) for key in _DUTY_KEYS if key in shared}
    if plan["settings"]["base_settings_managed"]:
        shared["base"] = base_config(plan)
    return _Read(listeners, writers, duties, shared)


def _parts(plan: dict[str, Any], process: dict[str, Any], units: dict[str, str], read: _Read) -> dict[str, str]:
    is_main = process["name"] == "main"
    own: dict[str, Any] = {"log": log_config(plan, process), "environment": process["environment"]}
    if is_main:
        own["listeners"] = read.listeners
    else:
        own["worker"] = worker_config(plan, process)
    parts = {
        OWN: own,
        SHARED: read.shared,
        WRITERS: read.writers,
        DUTIES: read.duties if is_main else _duties_of(process, read.duties),
        UNIT: units["main" if is_main else "worker"],
    }
    return {name: _digest(value) for name, value in parts.items()}


def _duties_of(process: dict[str, Any], duties: dict[str, Any]) -> dict[str, Any]:
    """The duties that concern one worker: its own, and for whoever hands something to the senders, theirs."""
    keys = {BY_NAME[name].setting for name in process["types"]} - {""}
    if process["media"]:
        keys.add("media_instance_running_background_jobs")
    if "presence" in process["types"]:
        # The presence writer queues for the senders by name (synapse/handlers/presence.py).
        keys.add("federation_sender_instances")
    return {key: duties[key] for key in sorted(keys) if key in duties}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
